"""A project as a server tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProjectData:
    """One project."""

    id: str
    entity: str
    name: str
    created_at: str = ""
    is_benchmark: bool = False
    description: str | None = None
