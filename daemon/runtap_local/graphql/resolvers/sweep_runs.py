"""Pages of the runs of a sweep or of an agent: lists of the project's runs, narrowed down."""

import json
from typing import Any, Final

from sqlalchemy import Row

from ... import jsontext
from ...faults import BadRequest
from .context import MAX_PAGE, Info, context_of
from .projects import project_runs

_MAX_LISTS: Final = 10


def some_runs(
    project: Row[Any],
    info: Info,
    own: dict[str, Any],
    filters: str | None,
    after: str | None,
    first: int | None,
    order: str | None,
) -> dict[str, Any]:
    """A page of those runs of a project that match ``own`` and the filters of the request."""
    lists = context_of(info).memo
    lists["lists of runs"] = lists.get("lists of runs", 0) + 1
    if lists["lists of runs"] > _MAX_LISTS:
        raise BadRequest(f"one request may ask for the runs of {_MAX_LISTS} sweeps or agents at most")
    both = {"$and": [own, jsontext.loads(filters)]} if filters else own
    return project_runs(
        project, info, json.dumps(both), after, MAX_PAGE if first is None else first, order or "+created_at"
    )
