"""The bodies of requests: read within limits, unpacked, and understood as JSON."""

import gzip
import io
import zlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.requests import Request

from .. import jsontext
from ..faults import BadRequest, TooLarge, TooSlow


def declared_length(request: Request) -> int | None:
    """How long the client says the body is; None where it does not say."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 1000 else None


def refuse_longer(request: Request, limit: int, what: str = "request") -> None:
    """Refuse a body that says itself that it is too long, before any of it is read."""
    if (declared_length(request) or 0) > limit:
        raise TooLarge(f"the {what} is larger than {limit} bytes")


async def parts(request: Request, max_idle_s: float) -> AsyncIterator[bytes]:
    """The body as it comes. Whoever stops sending for too long is no longer waited for."""
    stream = request.stream()
    while True:
        try:
            with anyio.fail_after(max_idle_s):
                part = await anext(stream, None)
        except TimeoutError:
            raise TooSlow(f"nothing of the body came for {max_idle_s:g} s: send it again") from None
        if part is None:
            return
        yield part


async def read(request: Request, limit: int, max_idle_s: float) -> bytes:
    """The body, unpacked."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise BadRequest(f"Content-Encoding {encoding[:40]!r} is not known here: send gzip or the plain text")
    refuse_longer(request, limit)
    found, size = [], 0
    async for part in parts(request, max_idle_s):
        size += len(part)
        if size > limit:
            raise TooLarge(f"the request is larger than {limit} bytes")
        found.append(part)
    body = b"".join(found)
    return _unzipped(body, limit) if encoding == "gzip" else body


def _unzipped(body: bytes, limit: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as archive:
            unzipped = archive.read(limit + 1)
    except (OSError, EOFError, zlib.error):
        raise BadRequest("the body is not valid gzip") from None
    if len(unzipped) > limit:
        raise TooLarge(f"the request is larger than {limit} bytes")
    return unzipped


def json_object(raw: bytes) -> dict[str, Any]:
    """The body as a JSON object whose texts can be stored."""
    try:
        body = jsontext.received(raw)
    except ValueError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body
