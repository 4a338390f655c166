"""Runs as mutations address them: by their storage id, or by the names of entity, project and run."""

from typing import Any

from sqlalchemy import Row

from ...faults import NotFound
from ...ids import split_run_id
from ...store import runs as run_store
from .context import Info, context_of
from .projects import allowed_entity


def run_by_id(info: Info, storage_id: str) -> Row[Any]:
    """The run of a storage id. One of others is not found either: whether it exists is not for everyone to know."""
    context = context_of(info)
    parts = split_run_id(storage_id)
    found = run_store.by_path(context.connection, *parts) if parts else None
    if found is None or not context.viewer.may_use(found.entity):
        # People know runs by their paths; an id tells them nothing.
        raise NotFound(
            f"run {'/'.join(parts)} not found" if parts else f"no run has the id {storage_id[:200]!r}"
        )
    return found


def run_by_names(info: Info, fields: dict[str, Any]) -> Row[Any]:
    """The run that an input names by ``entityName``, ``projectName`` and ``runName``."""
    entity = allowed_entity(info, fields.get("entityName"))
    project, name = fields["projectName"], fields["runName"]
    run = run_store.by_path(context_of(info).connection, entity, project, name, heavy=())
    if run is None:
        raise NotFound(f"run {entity}/{project}/{name} not found")
    return run
