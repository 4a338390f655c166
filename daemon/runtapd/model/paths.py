"""Paths of runs, sweeps and projects in every form people paste. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from runtapd.faults import InvalidRequest

# What a page of a project is about, by the word behind the project; some stand there alone, as tabs of the project.
_PAGES = {
    "runs": "a run",
    "sweeps": "a sweep",
    "groups": "a group",
    "reports": "a report",
    "artifacts": "an artifact",
}
_PROJECT_TABS = frozenset({"workspace", "table", "overview", *_PAGES})


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

    Accepts `entity/project/run_id` also with `/runs/`, with `:` before the id, and the address of a run's page with or
    without the server.
    """
    return RunPath(*_item_parts(text, "run", entity, project))


def sweep_path(text: str, entity: str, project: str) -> SweepPath:
    """Parses a sweep path in the same forms, with `/sweeps/` where a run has `/runs/`."""
    return SweepPath(*_item_parts(text, "sweep", entity, project))


def _item_parts(text: str, kind: str, entity: str, project: str) -> tuple[str, str, str]:
    pieces, is_page = _pieces(text, "path")
    if len(pieces) > 3 and pieces[2] == f"{kind}s":
        # Everything after the id (`/overview`, `?workspace=...`) belongs to the page.
        parts = [*pieces[:2], pieces[3]]
    elif is_page:
        parts = []
    elif len(pieces) == 3 and pieces[1] == f"{kind}s":
        parts = [pieces[0], pieces[2]]
    else:
        parts = pieces
    if parts and ":" in parts[-1] and len(parts) <= 2:
        parts[-1:] = parts[-1].split(":", 1)
    if not parts or len(parts) > 3 or not all(parts):
        raise _no_path(text, kind, pieces, is_page, "path")
    item_id = parts[-1]
    project = parts[-2] if len(parts) > 1 else project
    entity = parts[-3] if len(parts) > 2 else entity
    _need(text, "path", f"entity/project/{kind}_id", project=project, entity=entity)
    return entity, project, item_id


def project_path(text: str, entity: str, project: str, *, field: str = "project") -> ProjectPath:
    """Parses a project path; `entity` and `project` complete short forms and may be empty.

    `field` is where it stands in the request, for the error.
    """
    parts, is_page = _pieces(text, field)
    if len(parts) == 3 and parts[-1] in _PROJECT_TABS:
        parts = parts[:2]
    if len(parts) > 2 or not all(parts) or (is_page and len(parts) < 2):
        raise _no_path(text, "project", parts, is_page, field)
    project = parts[-1] if parts else project
    entity = parts[-2] if len(parts) > 1 else entity
    _need(text, field, "entity/project", project=project, entity=entity)
    return ProjectPath(entity, project)


def entity_name(text: str, default: str) -> str:
    """Parses the name of an entity; empty means the default."""
    pieces, _ = _pieces(text, "entity")
    if len(pieces) == 1 and pieces[0]:
        return pieces[0]
    if pieces or not default:
        raise InvalidRequest(
            f"{text!r} is not an entity: the name of a user or a team"
            + (f"; did you mean {pieces[0]!r}?" if any(pieces[:1]) else ""),
            reason="INVALID_PATH",
            field="entity",
        )
    return default


def _pieces(text: str, field: str) -> tuple[list[str], bool]:
    """Returns the parts of a path, and whether it is the address of a page, whose server is left out."""
    if "://" in text:
        return _url_parts(text, field), True
    text = text.partition("?")[0] if _is_page(text) else text
    pieces = [piece.strip() for piece in text.strip().strip("/ ").split("/")]
    if _is_page(text):
        return pieces[1:], True
    return (pieces if pieces != [""] else []), False


def _is_page(text: str) -> bool:
    """Whether this is an address as browsers show it, without `https://`: no entity's name has a dot."""
    pieces = text.strip().strip("/ ").split("/")
    return len(pieces) > 3 and ("." in pieces[0] or ":" in pieces[0]) and pieces[3] in _PAGES


def _url_parts(text: str, field: str) -> list[str]:
    try:
        path = urlsplit(text.strip()).path
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is not a URL: {error}", reason="INVALID_PATH", field=field) from error
    pieces = [unquote(piece) for piece in path.strip("/").split("/")]
    # A quoted slash cannot be part of a name.
    return [""] if any("/" in piece for piece in pieces) else pieces


def _no_path(text: str, kind: str, pieces: list[str], is_page: bool, field: str) -> InvalidRequest:
    """Says what would be one, and what this is instead, where that can be told."""
    hint = ""
    if kind == "project":
        form = "entity/project (or project, or the project's URL)"
        if len(pieces) > 2 and all(pieces[:2]):
            hint = f"; did you mean {'/'.join(pieces[:2])!r}?"
    else:
        form = f"entity/project/{kind}_id (or project/{kind}_id, {kind}_id, or the {kind}'s URL)"
        if len(pieces) > 3 and pieces[2] in _PAGES:
            hint = f"; it is that of {_PAGES[pieces[2]]}"
        elif is_page and len(pieces) > 1 and all(pieces[:2]):
            hint = f"; it is that of a project, whose {kind}s are {'/'.join(pieces[:2])}/<{kind}_id>"
    return InvalidRequest(
        f"{text!r} is not the path of a {kind}: {form}{hint}", reason="INVALID_PATH", field=field
    )


def _need(text: str, field: str, form: str, **parts: str) -> None:
    for name, value in parts.items():
        if not value:
            raise InvalidRequest(
                f"{text!r} names no {name} and there is no default {name}: write {form}, or set a default (the "
                f"environment variable WANDB_{name.upper()}, or `defaults` of the request)",
                reason="INVALID_PATH",
                field=field,
            )
