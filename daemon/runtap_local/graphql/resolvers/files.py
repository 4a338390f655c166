"""Resolvers of files: lists, addresses to upload to, marks and deletes."""

from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Row

from ...faults import BadRequest
from ...http.signing import FilePath
from ...ids import checked_file_name, file_id, name_cursor, run_id, split_file_id, split_name_cursor
from ...store import files as file_store
from ...store import runs as run_store
from ...times import to_wire
from ..like import parse_like
from .addressing import run_by_names
from .context import MAX_PAGE, Info, context_of


def _files(
    run: Row[Any],
    info: Info,
    names: list[str | None] | None = None,
    after: str | None = None,
    first: int | None = None,
    pattern: str | None = None,
) -> dict[str, Any]:
    """A page of the run's files, by name; a name asked for that does not exist is answered by a placeholder.

    Cursors name the last file of their page, so that no file is passed over when those before it are deleted.
    """
    wanted = list(dict.fromkeys(name.removeprefix("./") for name in names or () if name))
    if first is not None and first < 0:
        raise BadRequest(f"first must be at least 0, not {first}")
    # Older SDKs ask for all the files that they upload at once, and do not page.
    limit = min((len(wanted) or 50) if first is None else first, MAX_PAGE)
    last = None if not after else split_name_cursor(after)
    if wanted:
        chosen = _by_names(run, info, wanted, last, limit)
    else:
        chosen = _by_pattern(run, info, pattern or "%", last, limit)
    edges = [{"node": node, "cursor": name_cursor(node["name"])} for node in chosen[:limit]]
    page_info = {
        "startCursor": edges[0]["cursor"] if edges else None,
        "endCursor": edges[-1]["cursor"] if edges else None,
        "hasNextPage": len(chosen) > limit,
        "hasPreviousPage": bool(after),
    }
    return {"edges": edges, "pageInfo": page_info, "uploadHeaders": []}


def _by_names(
    run: Row[Any], info: Info, wanted: list[str], last: str | None, limit: int
) -> list[dict[str, Any]]:
    start = wanted.index(last) + 1 if last in wanted else 0
    page = wanted[start : start + limit + 1]
    stored = file_store.named(context_of(info).connection, run.pk, page)
    return [_node(run, info, name, stored.get(name)) for name in page]


def _by_pattern(
    run: Row[Any], info: Info, pattern: str, last: str | None, limit: int
) -> list[dict[str, Any]]:
    like = parse_like(pattern)
    rows = file_store.following(context_of(info).connection, run.pk, last, like.prefix)
    matching = (row for row in rows if like.matches(row.name))
    return [_node(run, info, row.name, row) for row in islice(matching, limit + 1)]


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


def _create(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Signed addresses to upload to, exactly one entry for each name asked for.

    A name that is refused gets no address, so that it does not keep the files beside it from being uploaded; when there
    is nothing but such names, the answer says what is wrong with them.
    """
    run = run_by_names(info, input)
    context = context_of(info)
    created: list[dict[str, Any]] = []
    refused: list[BadRequest] = []
    for name in input["files"]:
        try:
            path = FilePath(run.entity, run.project_name, run.name, checked_file_name(name))
        except BadRequest as refusal:
            refused.append(refusal)
            created.append({"name": name, "uploadUrl": None})
        else:
            created.append({"name": name, "uploadUrl": context.file_url(path, "write")})
    if refused and len(refused) == len(created):
        raise refused[0]
    return {"runID": run_id(run.entity, run.project_name, run.name), "uploadHeaders": [], "files": created}


def _mark(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Nothing to do but to notice: a file counts from the moment its bytes have arrived."""
    context = context_of(info)
    run_store.change(context.connection, run_by_names(info, input).pk, context.now, {})
    return {"success": True}


def _delete(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Delete files; one that is gone already is no error, one of somebody else is as if gone."""
    context = context_of(info)
    pks = [pk for pk in map(split_file_id, input["files"]) if pk is not None]
    if len(pks) > MAX_PAGE:
        raise BadRequest(f"at most {MAX_PAGE} files can be deleted at once")
    rows = file_store.owned(context.connection, pks, context.viewer.entities())
    file_store.remove(context.connection, [row.pk for row in rows])
    for pk in {row.run_pk for row in rows}:
        run_store.change(context.connection, pk, context.now, {})
    context.after_commit.extend(partial(context.delete_blob, row.blob) for row in rows)
    return {"success": True}


RESOLVERS: dict[str, dict[str, Any]] = {
    "Run": {"files": _files, "fileCount": _file_count},
    "Mutation": {"createRunFiles": _create, "markRunFilesUploaded": _mark, "deleteFiles": _delete},
}
