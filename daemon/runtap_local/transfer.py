"""Files of runs over HTTP: bytes come in through PUT and go out through GET and HEAD, with ranges."""

import base64
import contextlib
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row
from starlette.requests import ClientDisconnect, Request

from .faults import BadRequest, NotFound, TooLarge
from .ids import checked_file_name
from .signing import FilePath
from .store import files, runs
from .store.blobs import BlobStore
from .store.database import Database

# The library's own table, without what the machine's files would add, so that every machine says the same.
_TYPES = mimetypes.MimeTypes()
for _suffix in (".log", ".md", ".yaml", ".yml", ".toml", ".patch", ".jsonl"):
    _TYPES.add_type("text/plain", _suffix)


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that have arrived and belong to no file yet."""

    blob: str
    size: int
    md5: str


async def receive(request: Request, blobs: BlobStore, max_bytes: int) -> Upload:
    """Take the body of a request into a new blob; nothing is left of it when that fails."""
    name, target = blobs.create()
    digest, size = hashlib.md5(usedforsecurity=False), 0
    try:
        with target:
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise TooLarge(f"the file is larger than {max_bytes} bytes")
                digest.update(chunk)
                target.write(chunk)
    except ClientDisconnect:
        blobs.delete(name)
        raise BadRequest("the upload ended before its last byte") from None
    except BaseException:
        blobs.delete(name)
        raise
    return Upload(name, size, base64.b64encode(digest.digest()).decode())


def register(database: Database, blobs: BlobStore, path: FilePath, upload: Upload, now: int) -> None:
    """Make the bytes the content of the file; the old content goes once that is certain."""
    mimetype, encoding = _TYPES.guess_type(path.name)
    values = {
        "blob": upload.blob,
        "size": upload.size,
        "md5": upload.md5,
        "mimetype": None if encoding else _with_charset(mimetype),
        "updated_at": now,
    }
    try:
        with database.write() as connection:
            run = _run(connection, path)
            replaced = files.put(connection, run.pk, checked_file_name(path.name), values)
            runs.change(connection, run.pk, now, {})
    except BaseException:
        blobs.delete(upload.blob)
        raise
    if replaced is not None:
        blobs.delete(replaced)


def find(database: Database, blobs: BlobStore, path: FilePath) -> tuple[Row[Any], Path]:
    """The file and where its bytes are. Raises NotFound."""
    with database.read() as connection:
        run = _run(connection, path)
        row = files.find(connection, run.pk, path.name)
    if row is None:
        raise NotFound(f"run {path.run} has no file {path.name!r}")
    return row, blobs.path(row.blob)


def require_run(database: Database, path: FilePath) -> None:
    """Refuse an upload to a run that does not exist before any byte is taken."""
    checked_file_name(path.name)
    with database.read() as connection:
        _run(connection, path)


def _run(connection: Connection, path: FilePath) -> Row[Any]:
    run = runs.by_path(connection, path.entity, path.project, path.run, heavy=())
    if run is None:
        raise NotFound(f"run {path.entity}/{path.project}/{path.run} not found")
    return run


def _with_charset(mimetype: str | None) -> str | None:
    if mimetype is not None and mimetype.startswith("text/"):
        return mimetype + "; charset=utf-8"
    return mimetype


def etag(row: Row[Any]) -> str:
    """What tells two contents of a file apart."""
    with contextlib.suppress(ValueError):
        return f'"{base64.b64decode(row.md5).hex()}"'
    return f'"{row.pk}"'
