"""Resolvers of projects, and of the runs in them."""

from typing import Any

from sqlalchemy import Row

from ... import jsontext
from ...faults import Forbidden
from ...ids import place_cursor, split_place_cursor
from ...store import projects as project_store
from ...store import runs as run_store
from ...store.listing import Listing, Lists, understand
from ...times import to_wire
from .context import Info, connection, context_of, most, selected, window
from .people import entity_node

_HEAVY_FIELDS = {
    "config": "config",
    "wandbConfig": "config",
    "summaryMetrics": "summary_metrics",
    "systemMetrics": "system_metrics",
    "historyKeys": "history_keys",
}


def allowed_entity(info: Info, name: str | None) -> str:
    """The entity to write to: the viewer's own where none is named; one they may not use is refused."""
    viewer = context_of(info).viewer
    meant = viewer.meant(name)
    if meant is None:
        raise Forbidden(
            f"user {viewer.name!r} may not write to entity {name!r}; use entity {viewer.entity!r}"
        )
    return meant


def project_of(row: Row[Any], info: Info) -> Row[Any]:
    """The project of a run or a sweep."""
    context = context_of(info)
    return context.once(
        ("project", row.project_pk), lambda: project_store.by_pk(context.connection, row.project_pk)
    )


def query_project(
    _root: Any, info: Info, name: str | None = None, entityName: str | None = None
) -> Row[Any] | None:
    """A project the viewer may see; null for others, whether they exist or not."""
    context = context_of(info)
    entity = context.viewer.meant(entityName)
    return project_store.find(context.connection, entity, name) if name and entity else None


def query_projects(
    _root: Any,
    info: Info,
    entityName: str | None = None,
    after: str | None = None,
    first: int | None = 50,
) -> dict[str, Any]:
    """The projects of an entity, the most recently active first."""
    context = context_of(info)
    offset, limit = window(first, after)
    entity = context.viewer.meant(entityName)
    if entity is None:
        return connection([], offset, False)
    rows = project_store.page(context.connection, entity, offset, limit + 1)
    return connection(rows[:limit], offset, len(rows) > limit)


def _lists(project: Row[Any], info: Info) -> Lists:
    context = context_of(info)
    return Lists(context.connection, context.remembered, project.pk)


def _understood(info: Info, filters: str | None, order: str | None) -> Listing:
    return context_of(info).once(("listing", filters, order), lambda: understand(filters, order))


def project_run_count(project: Row[Any], info: Info, filters: str | None = None) -> int:
    """How many runs match."""
    return _lists(project, info).count(_understood(info, filters, None))


def project_runs(
    project: Row[Any],
    info: Info,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = 50,
    order: str | None = None,
) -> dict[str, Any]:
    """A page of the project's runs."""
    wanted = _understood(info, filters, order)
    names, lists = selected(info), _lists(project, info)
    heavy = {column for field, column in _HEAVY_FIELDS.items() if field in names}
    page = lists.page(wanted, split_place_cursor(after), most(first), heavy)
    result = connection(page.rows, page.offset, page.more)
    if page.rows and page.more:
        result["edges"][-1]["cursor"] = result["pageInfo"]["endCursor"] = place_cursor(
            lists.end(wanted, page)
        )
    result["totalCount"] = lambda _info: project_run_count(project, info, filters)
    return result


def project_run(
    project: Row[Any],
    info: Info,
    name: str,
    missingOk: bool | None = None,
    desc: str | None = None,
) -> Row[Any] | None:
    """A run of the project, or null."""
    return run_store.find(context_of(info).connection, project.pk, name)


def project_entity(project: Row[Any], info: Info) -> dict[str, Any]:
    """The entity the project belongs to."""
    return entity_node(context_of(info), project.entity)


def project_user(project: Row[Any], _info: Info) -> dict[str, Any]:
    """Who made the project."""
    return {"id": str(project.user_pk), "name": project.user_name, "username": project.user_name}


def query_upsert_model(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Make a project, or change what is given of one."""
    context = context_of(info)
    changes = {key: input[key] for key in ("description", "access") if input.get(key) is not None}
    row, inserted = project_store.upsert(
        context.connection,
        allowed_entity(info, input.get("entityName")),
        input.get("name") or "uncategorized",
        context.viewer.pk,
        context.now,
        changes,
    )
    return {"project": row, "model": row, "inserted": inserted}


RESOLVERS: dict[str, dict[str, Any]] = {
    "Query": {
        "project": query_project,
        "model": query_project,
        "projects": query_projects,
        "models": query_projects,
    },
    "Mutation": {"upsertModel": query_upsert_model},
    "Project": {
        "id": lambda project, info: f"Project:{project.pk}",
        "internalId": lambda project, info: str(project.pk),
        "name": lambda project, info: project.name,
        "entityName": lambda project, info: project.entity,
        "entity": project_entity,
        "description": lambda project, info: project.description,
        "access": lambda project, info: project.access or "PRIVATE",
        "views": lambda project, info: jsontext.dumps({}),
        "createdAt": lambda project, info: to_wire(project.created_at),
        "updatedAt": lambda project, info: to_wire(project.updated_at),
        "isBenchmark": lambda project, info: False,
        "readOnly": lambda project, info: False,
        "user": project_user,
        "runCount": project_run_count,
        "runs": project_runs,
        "run": project_run,
        "bucket": project_run,
        "allViews": lambda project, info, **_: connection([], 0, False),
    },
}
