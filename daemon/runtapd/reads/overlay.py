"""Runs as a caller sees them: the cached record, with own writes laid over it that the server has not confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from runtapd.model import encode
from runtapd.model.freshness import Freshness, Source, of_record
from runtapd.model.patch import Patch
from runtapd.model.run import DocumentKind, Record
from runtapd.reads.partitions import Partition

_NONE: dict[DocumentKind, str] = {}
OpenPatches = Callable[[str, str], Sequence[Patch]]
"""The own writes of a run (account, path) that the server has not confirmed."""
_SETTABLE = (DocumentKind.CONFIG, DocumentKind.SUMMARY, DocumentKind.NOTES)
"""What the etag is made of: with pending writes it has to be reckoned anew from all of them."""


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run as a caller sees it."""

    record: Record
    freshness: Freshness
    documents: dict[DocumentKind, str]
    """Oversize documents as own writes will leave them; without pending writes they lie in the cache."""


class Overlay:
    """Lays own writes over records."""

    def __init__(self, open_patches: OpenPatches) -> None:
        self._open_patches = open_patches

    def as_held(
        self, part: Partition, record: Record, source: Source, *, stale: bool = False
    ) -> ShownRun | None:
        """Returns the run as it goes out where no own write has to be laid over it: microseconds, for long lists."""
        record = part.cache.latest(record)
        if self._open_patches(part.account.account_id, record.path):
            return None
        return ShownRun(record, of_record(record, source, stale=stale), _NONE)

    async def shown(
        self, part: Partition, record: Record, source: Source, *, stale: bool = False
    ) -> ShownRun:
        """Returns the run as it goes out."""
        # A write may have settled since the record was fetched: then its patch is gone and a newer record is here.
        record = part.cache.latest(record)
        patches = self._open_patches(part.account.account_id, record.path)
        freshness = of_record(record, source, stale=stale)
        if not patches:
            return ShownRun(record, freshness, {})
        documents = await _documents(part, record)
        try:
            patched, changed = await asyncio.to_thread(
                encode.with_pending, record, patches, documents, part.account.app_url
            )
        except (ValueError, RecursionError):
            return ShownRun(record, freshness, {})  # not JSON: the write itself will fail on it and say so
        return ShownRun(patched, replace(freshness, pending_writes=len(patches)), changed)


async def _documents(part: Partition, record: Record) -> dict[DocumentKind, str]:
    found = {}
    for kind, size in record.oversize:
        if kind in _SETTABLE and (digest := await part.cache.document_digest(record, kind)):
            whole = await part.cache.document_piece(record.storage_id, kind, digest, 0, size)
            if whole is not None:
                found[kind] = whole.decode()
    return found
