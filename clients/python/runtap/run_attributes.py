"""What a run has: its attributes, its documents, and what was edited in them. Attributes ask nobody.

The exceptions are documents too large for a list, fetched when first touched. What asks the server is a method, and
lies in `run_object.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from runtap import edits
from runtap.documents import INTERNAL_KEYS, Documents, unwrapped
from runtap.errors import InvalidRequestError
from runtap.freshness import Freshness
from runtap.spellings import BothSpellings
from runtap.v1 import runs_pb2
from runtap.values import check_text, json_text, plain

if TYPE_CHECKING:
    from runtap.session import Session


class Path(list[str]):
    """A path in its parts, whose `str()` joins them: `entity/project`, `entity/project/run_id`."""

    def __str__(self) -> str:
        return "/".join(self)


class RunPath(Path):
    """`[entity, project, run_id]`, whose `str()` is `entity/project/run_id`."""


class User:
    """Who logged a run. `str()` is the name."""

    def __init__(self, name: str, username: str) -> None:
        self.name = name
        """The name people read."""
        self.username = username
        """The login name."""

    def __str__(self) -> str:
        return self.name or self.username

    def __repr__(self) -> str:
        return f"<User {self.username}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(self.username)


class RunAttributes(BothSpellings):
    """Everything of a run that can be had without asking, and the edits."""

    _kind = "a run"
    _texts: Mapping[str, str | None] = MappingProxyType({})
    """Edited texts by field; an object has a dict of its own from its first edit on."""

    def __init__(self, session: Session, message: runs_pb2.Run, freshness: Freshness) -> None:
        self._session = session
        self._documents = Documents(session, message)
        self._tags: list[str] | None = None
        self._freshness = freshness

    @property
    def _message(self) -> runs_pb2.Run:
        return self._documents.message

    # What it is

    @property
    def id(self) -> str:
        """The id in the path, usually eight characters."""
        return self._message.run_id

    @property
    def entity(self) -> str:
        """The owner of the project."""
        return self._message.entity

    @property
    def project(self) -> str:
        """The project."""
        return self._message.project

    @property
    def path(self) -> RunPath:
        """`[entity, project, run_id]`; `str(run.path)` joins them, and `api.run` takes either."""
        return RunPath((self._message.entity, self._message.project, self._message.run_id))

    @property
    def url(self) -> str:
        """The page people open."""
        return self._message.url

    @property
    def storage_id(self) -> str:
        """The server's own id of the run."""
        return self._message.storage_id

    @property
    def state(self) -> str:
        """`running`, `finished`, `crashed`, `failed`, `killed`, `preempting`, `preempted` or `pending`."""
        return self._documents.message.state

    @property
    def user(self) -> User:
        """Who logged it; `str(run.user)` is the name."""
        return User(self._message.user.name, self._message.user.username)

    @property
    def username(self) -> str:
        """The login name of who logged it."""
        return self._message.user.username

    @property
    def created_at(self) -> str:
        """When it began, in ISO 8601."""
        return self._message.created_at

    @property
    def heartbeat_at(self) -> str | None:
        """Its last sign of life, in ISO 8601; None when there was none."""
        return self._optional("heartbeat_at")

    @property
    def updated_at(self) -> str | None:
        """When anything of it last changed, in ISO 8601; None where the server does not say."""
        return self._optional("updated_at")

    @property
    def commit(self) -> str | None:
        """The git commit of the program; None when unknown."""
        return self._optional("commit")

    @property
    def sweep_name(self) -> str | None:
        """The id of its sweep; None when it belongs to none. `run.sweep` is the sweep itself."""
        return self._optional("sweep_name")

    @property
    def read_only(self) -> bool:
        """True when this account may not change it."""
        return self._message.read_only

    @property
    def history_line_count(self) -> int | None:
        """How many rows its history has; None where the server does not say."""
        message = self._message
        return message.history_line_count if message.HasField("history_line_count") else None

    @property
    def freshness(self) -> Freshness:
        """Where this came from, and how old it is."""
        return self._freshness

    # Documents

    @property
    def config(self) -> dict[str, Any]:
        """The config, a plain dict without the logger's internal keys; changes are sent by `update()`."""
        return self._documents.live("config")

    @property
    def rawconfig(self) -> dict[str, Any]:
        """A copy of the config with the logger's internal keys before the user's."""
        whole = self._documents.json("config")
        internal = {key: unwrapped(whole[key]) for key in INTERNAL_KEYS if key in whole}
        return {**internal, **self.config, **internal}

    @property
    def json_config(self) -> str:
        """JSON text of the config as servers keep it, each value wrapped."""
        wrapped = {key: {"value": value, "desc": None} for key, value in self.rawconfig.items()}
        return json_text(plain(wrapped, "config"))

    @property
    def summary_metrics(self) -> dict[str, Any]:
        """The plain dict behind `summary`."""
        return self._documents.live("summary")

    @property
    def system_metrics(self) -> dict[str, Any]:
        """The last system metrics; {} when there are none."""
        return self._documents.live("system_metrics")

    @property
    def history_keys(self) -> dict[str, Any]:
        """What the history holds: `keys` and `lastStep`; {} when nothing was logged."""
        return self._documents.live("history_keys")

    @property
    def last_history_step(self) -> int:
        """The last step of the history; -1 when nothing was logged. `run.lastHistoryStep` is the same."""
        step = self.history_keys.get("lastStep")
        return -1 if step is None else int(step)

    # Fields that can be set

    @property
    def name(self) -> str:
        """The name people read. Settable."""
        texts = self._texts
        return str(texts["display_name"]) if "display_name" in texts else self._documents.message.display_name

    @name.setter
    def name(self, text: str) -> None:
        self._set("display_name", text)

    display_name = displayName = name  # other camelCase is `__getattr__`'s, but this can be set

    @property
    def notes(self) -> str | None:
        """Free text in Markdown; None when never set. Settable; None clears."""
        return self._texts["notes"] if "notes" in self._texts else self._documents.notes()

    @notes.setter
    def notes(self, text: str | None) -> None:
        self._set("notes", text)

    @property
    def description(self) -> str | None:
        """Free text of older servers; None when never set. Settable; None clears."""
        return self._text("description")

    @description.setter
    def description(self, text: str | None) -> None:
        self._set("description", text)

    @property
    def group(self) -> str | None:
        """The group; None when it belongs to none. Settable; None clears."""
        return self._text("group")

    @group.setter
    def group(self, text: str | None) -> None:
        self._set("group", text)

    @property
    def job_type(self) -> str | None:
        """The kind of job; None when it has none. Settable; None clears."""
        return self._text("job_type")

    @job_type.setter
    def job_type(self, text: str | None) -> None:
        self._set("job_type", text)

    jobType = job_type

    @property
    def tags(self) -> list[str]:
        """The labels, a list that can be changed or assigned."""
        if self._tags is None:
            self._tags = list(self._message.tags)
        return self._tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        listed = list(tags) if isinstance(tags, Iterable) and not isinstance(tags, str) else tags
        edits.tag_changes((), listed)  # refuses at once what is no list of strings
        self._tags = list(listed)

    # Other spellings, and what was edited

    def _changed_fields(self) -> dict[str, str | None]:
        """The plain fields whose new value is not the server's."""
        held = {name: self._text_at_server(name) for name in self._texts}
        return {name: text for name, text in self._texts.items() if text != held[name]}

    def _set(self, name: str, text: str | None) -> None:
        if not isinstance(text, str) and (text is not None or name == "display_name"):
            raise InvalidRequestError(
                f"{name} is a text, not {text!r}", reason="INVALID_FIELD", metadata={"field": name}
            )
        if name == "display_name" and not text:
            raise InvalidRequestError(
                "the name of a run cannot be empty", reason="INVALID_FIELD", metadata={"field": name}
            )
        if text is not None:
            check_text(text, name)
        # Of two threads that edit first, both get the same dict.
        self.__dict__.setdefault("_texts", {})[name] = text

    def _changed_tags(self) -> edits.TagEdit | None:
        return None if self._tags is None else edits.tag_changes(self._message.tags, self._tags)

    def _text_at_server(self, name: str) -> str | None:
        if name == "notes":
            return self._documents.notes()
        return self._message.display_name if name == "display_name" else self._optional(name)

    def _text(self, name: str) -> str | None:
        return self._texts[name] if name in self._texts else self._optional(name)

    def _optional(self, name: str) -> str | None:
        return str(getattr(self._message, name)) if self._message.HasField(name) else None  # type: ignore[arg-type]
