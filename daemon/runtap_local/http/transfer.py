"""Files of runs over HTTP: bytes come in through PUT and go out through GET and HEAD, with ranges."""

import base64
import contextlib
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Row
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, MalformedRangeHeader
from starlette.types import Receive, Scope, Send

from ..faults import BadRequest, NotFound, TooLarge
from ..ids import checked_file_name
from ..store import files, runs
from ..store.blobs import BlobStore
from ..store.database import Database
from . import bodies
from .signing import FilePath

_LOOKS: Final = 20
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


class Held(FileResponse):
    """The bytes of a file as an answer, whole or in parts. They stay until they are sent, whatever replaces them."""

    def __init__(self, blobs: BlobStore, blob: str, headers: dict[str, str], media_type: str) -> None:
        super().__init__(blobs.path(blob), headers=headers, media_type=media_type)
        self._release = partial(blobs.release, blob)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and let go of the bytes."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        """A range that makes no sense is passed over, as HTTP has it: the answer is the whole file."""
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            return []


async def receive(request: Request, blobs: BlobStore, max_bytes: int, max_idle_s: float) -> Upload:
    """Take the body of a request into a new blob; nothing is left of it when that fails."""
    bodies.refuse_longer(request, max_bytes, "file")
    name, target = blobs.create()
    digest, size = hashlib.md5(usedforsecurity=False), 0
    try:
        with target:
            async for chunk in bodies.parts(request, max_idle_s):
                size += len(chunk)
                if size > max_bytes:
                    raise TooLarge(f"the file is larger than {max_bytes} bytes")
                digest.update(chunk)
                target.write(chunk)
        md5 = base64.b64encode(digest.digest()).decode()
        if request.headers.get("content-md5", md5) != md5:
            raise BadRequest(f"the bytes that came have the MD5 {md5}, not the one of the Content-MD5 header")
    except ClientDisconnect:
        blobs.delete(name)
        raise BadRequest("the upload ended before its last byte") from None
    except BaseException:
        blobs.delete(name)
        raise
    return Upload(name, size, md5)


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


def download(database: Database, blobs: BlobStore, path: FilePath) -> Held:
    """The file as an answer. Raises NotFound."""
    for _ in range(_LOOKS):
        with database.read() as connection:
            run = _run(connection, path)
            row = files.find(connection, run.pk, path.name)
        if row is None:
            break
        if blobs.hold(row.blob):
            headers = {"etag": etag(row), "x-content-type-options": "nosniff"}
            if row.mimetype and row.mimetype.startswith("text/html"):
                headers["content-security-policy"] = "sandbox"
            return Held(blobs, row.blob, headers, row.mimetype or "application/octet-stream")
        # Replaced between the two looks: the next one finds the new content.
    raise NotFound(f"run {path.run} has no file {path.name!r}")


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
