"""`Project` and `Projects`: the namespaces of runs. Attributes ask nobody: everything came with the project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runtap.errors import UnsupportedError
from runtap.freshness import Freshness
from runtap.history import checked_number
from runtap.paged import Paged
from runtap.run_attributes import Path
from runtap.spellings import BothSpellings
from runtap.sweep_objects import Sweeps
from runtap.v1 import projects_pb2

if TYPE_CHECKING:
    from runtap.session import Session


class Project(BothSpellings):
    """A namespace of runs. Made by `api.project(...)` and `api.projects(...)`, not by hand.

    Attributes may be written in camelCase too (`project.createdAt`).
    """

    _kind = "a project"

    def __init__(self, session: Session, message: projects_pb2.Project, freshness: Freshness) -> None:
        self._session = session
        self._message = message
        self._freshness = freshness

    @property
    def id(self) -> str:
        """The server's own id of the project."""
        return self._message.id

    @property
    def name(self) -> str:
        """The name, unique within the entity."""
        return self._message.name

    @property
    def entity(self) -> str:
        """The owner: a user or a team."""
        return self._message.entity

    @property
    def path(self) -> Path:
        """`[entity, name]`; `str(project.path)` joins them, and `api.runs` takes either."""
        return Path((self._message.entity, self._message.name))

    @property
    def url(self) -> str:
        """The page people open."""
        return self._message.url

    @property
    def description(self) -> str | None:
        """Free text; None when never set, or where the server does not say."""
        return self._message.description if self._message.HasField("description") else None

    @property
    def created_at(self) -> str:
        """When it was made, in ISO 8601."""
        return self._message.created_at

    @property
    def is_benchmark(self) -> bool:
        """True for public benchmarks."""
        return self._message.is_benchmark

    def sweeps(self, per_page: int | None = 50, filters: Mapping[str, Any] | None = None) -> Sweeps:
        """The sweeps of this project, in the server's order. Nothing is fetched until they are looked at.

        Arguments:
            per_page: how many to fetch at once, at most 1,000.
            filters: None; sweeps are few enough to choose in Python.

        Raises:
            UnsupportedError: (a ValueError) for filters. InvalidRequestError: (a ValueError) when `per_page` means
            nothing. What only the server can tell is a CommError when the sweeps are first looked at.
        """
        if filters:
            message = (
                "sweeps are not filtered: choose in Python, as in "
                "[sweep for sweep in project.sweeps() if sweep.state == 'RUNNING']"
            )
            raise UnsupportedError(
                message, ValueError(message), reason="INVALID_FIELD", metadata={"field": "filters"}
            )
        size = 0 if per_page is None else checked_number("per_page", per_page, least=1, bits=31)
        return Sweeps(self._session, str(self.path), size)

    @property
    def freshness(self) -> Freshness:
        """Where this came from, and how old it is."""
        return self._freshness

    def __repr__(self) -> str:
        return f"<Project {self._message.entity}/{self._message.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Project) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str, str, str]:
        return self._session.account, self._message.entity, self._message.name


class Projects(Paged[Project]):
    """The projects of an entity, in the server's order. Made by `api.projects(...)`, not by hand."""

    def __init__(self, session: Session, entity: str, per_page: int) -> None:
        super().__init__(session)
        self.entity = entity
        """The owner of them all."""
        self._per_page = per_page

    def __repr__(self) -> str:
        return f"<Projects {self.entity}>"

    def _page(self, token: str) -> tuple[list[Project], str, Freshness]:
        request = projects_pb2.ListProjectsRequest(
            entity=self.entity,
            page_size=self._per_page,
            page_token=token,
            options=self._session.options(),
        )
        answer: projects_pb2.ListProjectsResponse = self._session.call("projects.ListProjects", request)
        freshness = self._session.fresh(answer.freshness, f"the list of projects of {self.entity}")
        found = [Project(self._session, message, freshness) for message in answer.projects]
        return found, answer.next_page_token, freshness
