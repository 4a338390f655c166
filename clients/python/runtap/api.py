"""`Api`: where every script begins. A login, defaults for paths, and the ways to projects, runs and sweeps."""

from __future__ import annotations

import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from runtap import channel
from runtap.cautions import caution
from runtap.errors import InvalidRequestError
from runtap.history import checked_number
from runtap.project_objects import Project, Projects
from runtap.run_object import Run
from runtap.runs import Query, Runs
from runtap.session import Session
from runtap.sweep_objects import Sweep
from runtap.sweep_objects import read as read_sweep
from runtap.v1 import projects_pb2, runs_pb2
from runtap.values import check_text, json_text, parsed, plain

channel.import_early()

AnyPath = str | Sequence[str]
_ADDRESS = re.compile(r"^\s*\w+://[^/]*|[?#].*$")
"""What surrounds the path in a URL."""
_PAGES_OF_PROJECTS = ("workspace", "table", "runs", "sweeps", "overview")


class Viewer:
    """The user whose key is used. `str()` is the login name."""

    def __init__(self, username: str, entity: str, email: str, teams: Sequence[str], user_id: str) -> None:
        self.id = user_id
        self.username = username
        """The login name."""
        self.name = username
        self.entity = entity
        """The entity for paths without one."""
        self.email = email
        """The mail address; empty where the server does not say."""
        self.teams = list(teams)
        """Teams the user belongs to."""

    def __str__(self) -> str:
        return self.username

    def __repr__(self) -> str:
        return f"<Viewer {self.username}>"


class Api:
    """A login on one server, and how its data is read. Thread-safe, picklable, and cheap to make.

    Arguments:
        overrides: `base_url` of another server, and defaults for `entity`, `project` and `run` where paths leave them
            out. They come before WANDB_BASE_URL, WANDB_ENTITY, WANDB_PROJECT and settings files.
        timeout: seconds one request may take, retries included; WANDB_HTTP_TIMEOUT or 60 by default. Reading many rows
            or documents may take longer as a whole, each request to the server for them may not.
        api_key: the key; otherwise it is looked for as the wandb SDK does: WANDB_API_KEY, netrc, settings.
        base_url: the server; "local" is the local server of this machine.
        max_age: seconds; answers as young as this are taken from the cache without asking the server. By default
            running runs are trusted 5 s, lists 10 s, finished runs 5 minutes, and nothing that was fetched over 10 s
            before this object was made.
        offline: True reads the cache only and raises NotInCacheError for what is not there.
        stale_ok: True gives an older answer, with a StaleWarning, when the server cannot be reached.

    Raises:
        UsageError: when no key is found. AuthenticationError: when the server refuses it.
        CommError: when the server cannot be reached and has never confirmed the key on this machine.
        DaemonError: when the daemon cannot be started.
    """

    def __init__(
        self,
        overrides: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        max_age: float | None = None,
        offline: bool = False,
        stale_ok: bool = False,
    ) -> None:
        chosen = dict(overrides or {})
        for name, seconds in (("timeout", timeout), ("max_age", max_age)):
            if seconds is not None and not _is_span(seconds):
                raise _refused(name, f"{name} is a number of seconds, not {seconds!r}")
        self._run = str(chosen.get("run") or "")
        self._session = Session(
            base_url=str(base_url or chosen.get("base_url") or "").rstrip("/"),
            api_key=api_key or "",
            timeout=timeout,
            max_age=max_age,
            offline=offline,
            stale_ok=stale_ok,
        )
        self._session.entity = str(chosen.get("entity") or chosen.get("username") or "")
        self._session.project = str(chosen.get("project") or "")

    def __repr__(self) -> str:
        return f"<Api {self._session.viewer.username} at {self._session.base_url}>"

    @property
    def client(self) -> Session:
        """The login that all objects of this Api share."""
        return self._session

    @property
    def viewer(self) -> Viewer:
        """The user whose key is used."""
        viewer = self._session.viewer
        return Viewer(viewer.username, viewer.entity, viewer.email, viewer.teams, viewer.id)

    @property
    def default_entity(self) -> str:
        """The entity for paths without one."""
        return self._session.defaults().entity

    @property
    def settings(self) -> dict[str, str | None]:
        """Server and defaults for paths: `base_url`, `entity`, `project`, `run`."""
        defaults = self._session.defaults()
        return {
            "base_url": self._session.base_url,
            "entity": defaults.entity or None,
            "project": defaults.project or None,
            "run": self._run or None,
        }

    def flush(self) -> None:
        """From now on, nothing that was fetched before this moment is used without asking the server.

        Runs already held change by `run.load()`; edits in them survive. Other programs are not touched.
        """
        self._session.flush()

    def run(self, path: AnyPath = "") -> Run:
        """Reads one run.

        Arguments:
            path: `entity/project/run_id`; `project/run_id` or `run_id` with defaults; the URL of the run's page; or
                another run's `path`. Empty: the `run` of the overrides.

        Raises:
            RunNotFoundError: when there is no such run, or it is not shown to this account. InvalidRequestError: (a
            ValueError) when the path is none. CommError: when it cannot be read.
        """
        wanted = _joined(path) or self._run
        if not wanted:
            raise _refused(
                "path", "no run is named: give api.run(path), or Api({'run': ...})", "INVALID_PATH"
            )
        request = runs_pb2.GetRunRequest(
            path=wanted, defaults=self._session.defaults(), options=self._session.options()
        )
        answer: runs_pb2.GetRunResponse = self._session.call("runs.GetRun", request)
        freshness = self._session.fresh(answer.freshness, f"run {answer.run.path}")
        return Run(self._session, answer.run, freshness)

    def runs(
        self,
        path: AnyPath | None = "",
        filters: Mapping[str, Any] | str | None = None,
        order: str | None = "-created_at",
        per_page: int | None = None,
        include_sweeps: bool = True,
        lazy: bool = False,
        *,
        on_error: Literal["raise", "warn"] = "raise",
    ) -> Runs:
        """The runs of a project that match, in order. Nothing is fetched until they are looked at.

        Arguments:
            path: `entity/project`, or `project` with the default entity. Empty: the default project.
            filters: a query in MongoDB's language: `{"state": "finished", "config.lr": {"$lt": 0.1}}`; None: all.
            order: a column with a sign: `-created_at` is newest first, `+summary.loss` smallest first. Runs without the
                value come last both ways.
            per_page: most runs to fetch at once. By default 50 first, then up to 1,000.
            include_sweeps, lazy: accepted for scripts written for wandb. Everything comes with the page here, but for
                `run.sweep`, which is read when it is touched.
            on_error: what iterating does after all good runs when others could not be read: "raise" or "warn".

        Raises:
            InvalidRequestError: (a ValueError) for arguments that mean nothing. What only the server's side can tell
            (an unknown project, a bad filter) is a CommError when the runs are first looked at.
        """
        if on_error not in ("raise", "warn"):
            raise _refused("on_error", f'on_error is "raise" or "warn", not {on_error!r}')
        filter_json, inner_order = _filter(filters)
        check_text(inner_order or order or "", "order")
        query = Query(
            project=_joined(path),
            filter_json=filter_json,
            order=inner_order or order or "",
            per_page=0 if per_page is None else checked_number("per_page", per_page, least=1, bits=31),
            on_error=on_error,
        )
        return Runs(self._session, query)

    def projects(self, entity: str | None = None, per_page: int | None = 200) -> Projects:
        """The projects of an entity, in the server's order. Nothing is fetched until they are looked at.

        Arguments:
            entity: a user or a team. None: the default entity.
            per_page: how many to fetch at once, at most 1,000.

        Raises:
            InvalidRequestError: (a ValueError) for arguments that mean nothing, and when there is no default entity.
            What only the server can tell is a CommError when the projects are first looked at.
        """
        owner = entity or self.default_entity or self._session.viewer.entity
        if not owner:
            raise _refused("entity", "no entity is named and there is no default: api.projects('entity')")
        check_text(owner, "entity")
        size = 0 if per_page is None else checked_number("per_page", per_page, least=1, bits=31)
        return Projects(self._session, owner, size)

    def project(self, name: str, entity: str | None = None) -> Project:
        """Reads one project.

        Arguments:
            name: the project's name; `entity/project` and the URL of its page are understood too.
            entity: its owner, for a name alone. None: the default entity.

        Raises:
            NotFoundError: when there is no such project, or it is not shown to this account. InvalidRequestError: (a
            ValueError) when the name is none. CommError: when it cannot be read.
        """
        check_text(name, "name")
        defaults = self._session.defaults()
        if entity:
            check_text(entity, "entity")
            defaults.entity = entity
        request = projects_pb2.GetProjectRequest(
            path=name, defaults=defaults, options=self._session.options()
        )
        answer: projects_pb2.GetProjectResponse = self._session.call("projects.GetProject", request)
        freshness = self._session.fresh(answer.freshness, f"project {name}")
        return Project(self._session, answer.project, freshness)

    def sweep(self, path: AnyPath = "") -> Sweep:
        """Reads one sweep.

        Arguments:
            path: `entity/project/sweep_id`; `project/sweep_id` or `sweep_id` with defaults; the URL of the sweep's
                page; or another sweep's `path`.

        Raises:
            NotFoundError: when there is no such sweep, or it is not shown to this account. InvalidRequestError: (a
            ValueError) when the path is none. CommError: when it cannot be read.
        """
        wanted = _joined(path)
        if not wanted:
            raise _refused("path", "no sweep is named: give api.sweep(path)", "INVALID_PATH")
        return Sweep(self._session, *read_sweep(self._session, wanted))

    def from_path(self, path: AnyPath) -> Project | Run | Sweep:
        """Reads whatever a path names.

        Arguments:
            path: `project` or `entity/project`; `entity/project/run_id`, also with `/runs/` before the id;
                `entity/project/sweeps/sweep_id`; or the URL of such a page.

        Raises:
            InvalidRequestError: (a ValueError) when the path is none of these. NotFoundError: (a ValueError, too) when
            there is no such thing, or it is not shown to this account. CommError: when it cannot be read.
        """
        text = _joined(path)
        parts = _ADDRESS.sub("", text).strip("/ ").split("/")
        kind = parts[2] if len(parts) > 3 else ""
        if kind.startswith(("run", "sweep")):
            read = self.run if kind.startswith("run") else self.sweep
            return read(text if "://" in text else [*parts[:2], *parts[3:]])
        if len(parts) == 3 and parts[2] not in _PAGES_OF_PROJECTS:
            return self.run(text)
        if len(parts) <= 3 and parts[0]:
            return self.project(text)
        raise _refused(
            "path",
            f"{text!r} names no project, run or sweep: entity/project, entity/project/runs/run_id, "
            "entity/project/sweeps/sweep_id, or the URL of such a page",
            "INVALID_PATH",
        )


def _is_span(seconds: object) -> bool:
    return isinstance(seconds, numbers.Real) and float(seconds) >= 0


def _joined(path: AnyPath | None) -> str:
    """A path as text, whether it came as text or in parts."""
    try:
        text = path if isinstance(path, str) else "/".join(path or ())
    except TypeError as error:
        hint = "; did you mean its `path`?" if hasattr(path, "path") else ""
        message = f"a path is a text, or a list of its parts, not {path!r}{hint}"
        raise _refused("path", message, "INVALID_PATH") from error
    check_text(text, "path")
    return text


def _filter(filters: Mapping[str, Any] | str | None) -> tuple[str, str]:
    """Filter as JSON text, and the order that stood in its place (an example of wandb's reference does that)."""
    if not filters:
        return "", ""
    if isinstance(filters, str):
        return _checked(filters), ""
    if "order" not in filters:
        text = json_text(plain(filters, "filters"))
        check_text(text, "filters")
        return text, ""
    if len(filters) > 1:
        raise _refused(
            "filters", "order is no filter; write api.runs(path, filters, order=...)", "INVALID_FILTER"
        )
    caution(f"order stands in filters; write api.runs(path, order={filters['order']!r})", UserWarning)
    return "", str(filters["order"])


def _checked(filters: str) -> str:
    check_text(filters, "filters")
    try:
        parsed(filters)
    except ValueError as error:
        raise _refused(
            "filters",
            f'filters given as text are JSON, such as \'{{"state": "finished"}}\': {error}',
            "INVALID_FILTER",
        ) from error
    return filters


def _refused(field: str, message: str, reason: str = "INVALID_FIELD") -> InvalidRequestError:
    return InvalidRequestError(message, ValueError(message), reason=reason, metadata={"field": field})
