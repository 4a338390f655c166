"""Paths of runs, sweeps and projects in every form people paste. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from runtapd.faults import InvalidRequest

_PROJECT_FORMS = "entity/project (or project, or the project's URL)"


@dataclass(frozen=True, slots=True)
class RunPath:
    """A run, in full."""

    entity: str
    project: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.run_id}"


@dataclass(frozen=True, slots=True)
class SweepPath:
    """A sweep, in full."""

    entity: str
    project: str
    sweep_id: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.sweep_id}"


@dataclass(frozen=True, slots=True)
class ProjectPath:
    """A project, in full."""

    entity: str
    project: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}"


def run_path(text: str, entity: str, project: str) -> RunPath:
    """Parses a run path; `entity` and `project` complete short forms and may be empty.

    Accepts `entity/project/run_id` also with `/runs/`, with `:` before the id, and as a URL of a run's page.
    """
    return RunPath(*_item_parts(text, "run", entity, project))


def sweep_path(text: str, entity: str, project: str) -> SweepPath:
    """Parses a sweep path in the same forms, with `/sweeps/` where a run has `/runs/`."""
    return SweepPath(*_item_parts(text, "sweep", entity, project))


def _item_parts(text: str, kind: str, entity: str, project: str) -> tuple[str, str, str]:
    parts = _item_url_parts(text, f"{kind}s") if "://" in text else _plain_parts(text)
    if len(parts) in (3, 4) and parts[-2] == f"{kind}s" and "://" not in text:
        del parts[-2]
    if parts and ":" in parts[-1] and len(parts) <= 2:
        parts[-1:] = parts[-1].split(":", 1)
    if not parts or len(parts) > 3 or not all(parts):
        raise InvalidRequest(
            f"{text!r} is not the path of a {kind}: entity/project/{kind}_id "
            f"(or project/{kind}_id, {kind}_id, or the {kind}'s URL)",
            reason="INVALID_PATH",
            field="path",
        )
    item_id = parts[-1]
    project = parts[-2] if len(parts) > 1 else project
    entity = parts[-3] if len(parts) > 2 else entity
    _need(text, "path", project=project, entity=entity)
    return entity, project, item_id


def project_path(text: str, entity: str, project: str, *, field: str = "project") -> ProjectPath:
    """Parses a project path; `entity` and `project` complete short forms and may be empty.

    `field` is where it stands in the request, for the error.
    """
    parts = _url_parts(text, field) if "://" in text else _plain_parts(text)
    if len(parts) == 3 and parts[-1] in {"workspace", "table", "runs", "sweeps", "overview"}:
        parts.pop()
    if len(parts) > 2 or not all(parts):
        raise InvalidRequest(
            f"{text!r} is not the path of a project: {_PROJECT_FORMS}", reason="INVALID_PATH", field=field
        )
    project = parts[-1] if parts else project
    entity = parts[-2] if len(parts) > 1 else entity
    _need(text, field, project=project, entity=entity)
    return ProjectPath(entity, project)


def _item_url_parts(text: str, kinds: str) -> list[str]:
    """Returns entity, project and id from the URL of the page of a run or a sweep; nothing for other pages."""
    pieces = _url_parts(text, "path")
    # Everything after the id (`/overview`, `?workspace=...`) belongs to the page.
    return [*pieces[:2], pieces[3]] if len(pieces) > 3 and pieces[2] == kinds else []


def _url_parts(text: str, field: str) -> list[str]:
    try:
        path = urlsplit(text.strip()).path
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is not a URL: {error}", reason="INVALID_PATH", field=field) from error
    pieces = [unquote(piece) for piece in path.strip("/").split("/")]
    # A quoted slash cannot be part of a name.
    return [""] if any("/" in piece for piece in pieces) else pieces


def _plain_parts(text: str) -> list[str]:
    text = text.strip().strip("/ ")
    return text.split("/") if text else []


def _need(text: str, field: str, **parts: str) -> None:
    for name, value in parts.items():
        if not value:
            raise InvalidRequest(
                f"{text!r} says no {name} and there is no default {name}; write it out or set a default",
                reason="INVALID_PATH",
                field=field,
            )
