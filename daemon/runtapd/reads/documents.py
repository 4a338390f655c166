"""Documents too large for a message, in pieces: from the cache on disk, or from the server when they are not there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.cache.store import digest_of
from runtapd.model import encode, jsontext
from runtapd.model.run import DocumentKind, Record
from runtapd.reads.overlay import ShownRun
from runtapd.reads.partitions import Partition
from runtapd.upstream.api import Wait


@dataclass(slots=True)
class DocumentText:
    """One document of a run as it was when it was opened. A piece costs memory only while it is under way."""

    part: Partition
    path: str
    storage_id: str
    kind: DocumentKind
    size: int
    digest: bytes = b""
    held: bytes | None = None
    """The whole text, where it does not lie on disk."""
    again: Callable[[], Awaitable[str]] | None = None
    """Reads it anew, for when the cache drops it before all is read."""

    async def piece(self, start: int, length: int) -> bytes:
        """Returns bytes of it; raises PreconditionFailed when the run has changed meanwhile."""
        if self.held is not None:
            return self.held[start : start + length]
        found = await self.part.cache.document_piece(self.storage_id, self.kind, self.digest, start, length)
        if found is None:
            self.held = await self._whole()
            return self.held[start : start + length]
        return found

    async def _whole(self) -> bytes:
        whole = b"" if self.again is None else (await self.again()).encode()
        if digest_of(whole) != self.digest:
            raise _changed(self.path)
        return whole


async def open_document(
    part: Partition, shown: ShownRun, kind: DocumentKind, wishes: Wishes, wait: Wait
) -> DocumentText | None:
    """Returns a document of a run, wherever it lies; None when the run has none."""
    record = shown.record
    if kind in shown.documents:
        return _in_memory(part, shown, kind, shown.documents[kind])
    size = dict(record.oversize).get(kind)
    if size is None:
        message = encode.parse(record.body)
        name = encode.document_field(kind)
        return _in_memory(part, shown, kind, getattr(message, name)) if message.HasField(name) else None  # type: ignore[arg-type]
    light = replace(record, documents={}, body=b"")  # a slow reader's text must not hold megabytes
    if digest := await part.cache.document_digest(record, kind):
        return DocumentText(
            *(part, record.path, record.storage_id, kind, size, digest),
            again=lambda: _asked_for(part, light, kind, wishes, wait),
        )
    text = record.documents.get(kind)
    if text is None:
        text = await _asked_for(part, light, kind, wishes, wait)
    return _in_memory(part, shown, kind, text)


async def large_texts(
    part: Partition, shown: ShownRun, kinds: frozenset[DocumentKind], wait: Wait
) -> dict[DocumentKind, str]:
    """Returns those of these documents of a run that are too large for its message, whole."""
    found = {}
    for kind, size in shown.record.oversize:
        if kind in kinds and (text := await open_document(part, shown, kind, Wishes(), wait)):
            found[kind] = (await text.piece(0, size)).decode()
    return found


async def _asked_for(part: Partition, record: Record, kind: DocumentKind, wishes: Wishes, wait: Wait) -> str:
    """Reads the run anew for the sake of a document that the disk could not keep."""
    if wishes.cache_only:
        raise faults.NotInCache(
            f"the {kind.name.lower()} of {record.path} is not in the cache, and the server was not to be asked"
        )
    run = await part.upstream.run(record.entity, record.project, record.run_id, wait)
    text = encode.document_of(run, kind)
    if text is None or run.etag() != record.etag:
        raise _changed(record.path)
    return jsontext.encodable(text)


def _in_memory(part: Partition, shown: ShownRun, kind: DocumentKind, text: str) -> DocumentText:
    whole = text.encode()
    return DocumentText(part, shown.record.path, shown.record.storage_id, kind, len(whole), held=whole)


def _changed(path: str) -> faults.PreconditionFailed:
    return faults.PreconditionFailed(
        f"run {path} has changed since its document was begun; read it from the start",
        metadata={"resource": path},
    )
