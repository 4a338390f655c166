"""Small answers as texts to be kept on disk, and back. Pure.

A text that cannot be read (another version of us wrote it) is none: the cache may forget anything.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from runtapd.model.project import ProjectData
from runtapd.model.sweep import Search, SweepData
from runtapd.upstream.api import Page


def text_of(answer: object) -> str:
    """Writes a project, a sweep, or a page of either."""
    return json.dumps(_written(answer))


def answer_of(text: str) -> Any | None:
    """Reads what `text_of` has written; None when it cannot be read."""
    try:
        return _read(*json.loads(text))
    except (ValueError, TypeError, KeyError):
        return None


def _written(answer: object) -> list[Any]:
    if isinstance(answer, Page):
        return [
            "page",
            {"items": [_written(item) for item in answer.items], "next_cursor": answer.next_cursor},
        ]
    if isinstance(answer, ProjectData):
        return ["project", asdict(answer)]
    if isinstance(answer, SweepData):
        return ["sweep", asdict(answer)]
    raise TypeError(f"{type(answer).__name__} is no small answer")


def _read(kind: str, fields: dict[str, Any]) -> Any:
    if kind == "page":
        return Page(tuple(_read(*item) for item in fields["items"]), fields["next_cursor"])
    if kind == "project":
        return ProjectData(**fields)
    if kind == "sweep":
        return SweepData(**fields | {"search": Search(**fields["search"])})
    raise ValueError(f"no small answer is called {kind}")
