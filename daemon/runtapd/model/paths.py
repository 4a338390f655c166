"""Run and project paths in every form people paste. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from runtapd.faults import InvalidRequest

_RUN_FORMS = "entity/project/run_id (or project/run_id, run_id, or the run's URL)"
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
    parts = _parts(text, "runs")
    if parts and ":" in parts[-1] and len(parts) <= 2:
        parts[-1:] = parts[-1].split(":", 1)
    if not parts or len(parts) > 3 or not all(parts):
        raise InvalidRequest(
            f"{text!r} is not the path of a run: {_RUN_FORMS}", reason="INVALID_PATH", field="path"
        )
    run_id = parts[-1]
    project = parts[-2] if len(parts) > 1 else project
    entity = parts[-3] if len(parts) > 2 else entity
    _need(text, "path", project=project, entity=entity)
    return RunPath(entity, project, run_id)


def project_path(text: str, entity: str, project: str) -> ProjectPath:
    """Parses a project path; `entity` and `project` complete short forms and may be empty."""
    parts = _parts(text, "")
    if len(parts) == 3 and parts[-1] in {"workspace", "table", "runs", "sweeps", "overview"}:
        parts.pop()
    if len(parts) > 2 or not all(parts):
        raise InvalidRequest(
            f"{text!r} is not the path of a project: {_PROJECT_FORMS}", reason="INVALID_PATH", field="project"
        )
    project = parts[-1] if parts else project
    entity = parts[-2] if len(parts) > 1 else entity
    _need(text, "project", project=project, entity=entity)
    return ProjectPath(entity, project)


def _parts(text: str, marker: str) -> list[str]:
    text = text.strip()
    if "://" in text:
        # Everything after the id on a run's page (`/overview`, `?workspace=...`) belongs to the page.
        pieces = [unquote(piece) for piece in urlsplit(text).path.strip("/").split("/")]
        if marker and marker in pieces[2:3]:
            return [*pieces[:2], *pieces[3:4]]
        return pieces
    text = text.strip("/ ")
    pieces = text.split("/") if text else []
    if marker and len(pieces) in (3, 4) and pieces[-2] == marker:
        del pieces[-2]
    return pieces


def _need(text: str, field: str, **parts: str) -> None:
    for name, value in parts.items():
        if not value:
            raise InvalidRequest(
                f"{text!r} says no {name} and there is no default {name}; write it out or set a default",
                reason="INVALID_PATH",
                field=field,
            )
