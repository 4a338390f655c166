"""Resolvers of files: lists, addresses to upload to, marks and deletes."""

import re
from functools import partial
from typing import Any

from sqlalchemy import Row

from ..faults import BadRequest, NotFound
from ..ids import checked_file_name, file_id, run_id, split_file_id
from ..signing import FilePath
from ..store import files as file_store
from ..store import runs as run_store
from ..times import to_wire
from .context import MAX_PAGE, Info, context_of, page
from .projects import allowed_entity


def _files(
    run: Row[Any],
    info: Info,
    names: list[str | None] | None = None,
    after: str | None = None,
    first: int | None = 50,
    pattern: str | None = None,
) -> dict[str, Any]:
    """A page of the run's files; a name asked for that does not exist is answered by a placeholder."""
    stored = {row.name: row for row in file_store.listing(context_of(info).connection, run.pk)}
    wanted = list(dict.fromkeys(name for name in names or () if name))
    if wanted:
        chosen = [_node(run, info, name, stored.get(name)) for name in wanted]
    else:
        matches = _like(pattern) if pattern else None
        chosen = [
            _node(run, info, name, row)
            for name, row in stored.items()
            if matches is None or matches.fullmatch(name)
        ]
    return {**page(chosen, first, after), "uploadHeaders": []}


def _like(pattern: str) -> re.Pattern[str]:
    """SQL's LIKE, where % is anything and _ one character, minding case as file names do."""
    wild = {"%": ".*", "_": "."}
    return re.compile("".join(wild.get(letter) or re.escape(letter) for letter in pattern), re.DOTALL)


def _node(run: Row[Any], info: Info, name: str, row: Row[Any] | None) -> dict[str, Any]:
    path = FilePath(run.entity, run.project_name, run.name, name)
    context = context_of(info)

    def url(_info: Info, upload: bool | None = False) -> str:
        return context.file_url(path, "write" if upload else "read")

    node = {"name": name, "url": url, "directUrl": lambda _info: context.file_url(path, "read")}
    if row is None:
        missing = {"id": f"{run_id(run.entity, run.project_name, run.name)}:{name}", "sizeBytes": 0}
        return {**node, **missing, "md5": "0", "digest": "0", "updatedAt": None, "mimetype": None}
    return {
        **node,
        "id": file_id(row.pk),
        "sizeBytes": row.size,
        "mimetype": row.mimetype,
        "updatedAt": to_wire(row.updated_at),
        "md5": row.md5,
        "digest": row.md5,
    }


def _file_count(run: Row[Any], info: Info) -> int:
    """All files of the run, whatever the list beside it was narrowed to."""
    return file_store.count(context_of(info).connection, run.pk)


def _addressed_run(info: Info, fields: dict[str, Any]) -> Row[Any]:
    entity = allowed_entity(info, fields.get("entityName"))
    project, name = fields["projectName"], fields["runName"]
    run = run_store.by_path(context_of(info).connection, entity, project, name, heavy=())
    if run is None:
        raise NotFound(f"run {entity}/{project}/{name} not found")
    return run


def _create(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Signed addresses to upload to, exactly one for each name asked for."""
    run = _addressed_run(info, input)
    context = context_of(info)
    created = []
    for name in input["files"]:
        path = FilePath(run.entity, run.project_name, run.name, checked_file_name(name))
        created.append({"name": name, "uploadUrl": context.file_url(path, "write")})
    return {"runID": run_id(run.entity, run.project_name, run.name), "uploadHeaders": [], "files": created}


def _mark(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Nothing to do but to notice: a file counts from the moment its bytes have arrived."""
    context = context_of(info)
    run_store.change(context.connection, _addressed_run(info, input).pk, context.now, {})
    return {"success": True}


def _delete(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Delete files; one that is gone already is no error, one of somebody else is as if gone."""
    context = context_of(info)
    pks = [pk for pk in map(split_file_id, input["files"]) if pk is not None]
    if len(pks) > MAX_PAGE:
        raise BadRequest(f"at most {MAX_PAGE} files can be deleted at once")
    rows = file_store.owned(context.connection, pks, context.viewer.entity)
    file_store.remove(context.connection, [row.pk for row in rows])
    for pk in {row.run_pk for row in rows}:
        run_store.change(context.connection, pk, context.now, {})
    context.after_commit.extend(partial(context.delete_blob, row.blob) for row in rows)
    return {"success": True}


RESOLVERS: dict[str, dict[str, Any]] = {
    "Run": {"files": _files, "fileCount": _file_count},
    "Mutation": {"createRunFiles": _create, "markRunFilesUploaded": _mark, "deleteFiles": _delete},
}
