"""Reading which keys a history has: they are a document of the run, in its record or, when large, beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.model.freshness import Freshness
from runtapd.model.history_keys import HistoryKey, history_keys
from runtapd.model.paths import RunPath
from runtapd.model.run import DocumentKind
from runtapd.reads.documents import open_document
from runtapd.reads.partitions import Partition
from runtapd.reads.runs import RunReads
from runtapd.upstream.api import Wait


@dataclass(frozen=True, slots=True)
class RunKeys:
    """What a run's server tells of its history without the rows."""

    keys: Sequence[HistoryKey]
    """Ordered by name."""
    last_step: int | None
    line_count: int | None
    freshness: Freshness


class HistoryKeyReads:
    """Answers questions about the keys of histories."""

    def __init__(self, runs: RunReads) -> None:
        self._runs = runs

    async def keys(self, part: Partition, path: RunPath, wishes: Wishes, wait: Wait) -> RunKeys:
        """Returns the keys of one run; raises NotFound, NotInCache or an UpstreamFault."""
        try:
            return await self._keys(part, path, wishes, wait)
        except faults.PreconditionFailed:
            # A large document had left the cache, and the run has changed since. Nobody has a part of it yet.
            return await self._keys(part, path, replace(wishes, max_age_s=0.0), wait)

    async def _keys(self, part: Partition, path: RunPath, wishes: Wishes, wait: Wait) -> RunKeys:
        shown = await self._runs.run(part, path, wishes, wait)
        document = await open_document(part, shown, DocumentKind.HISTORY_KEYS, wishes, wait)
        text = b"" if document is None else await document.piece(0, document.size)
        return RunKeys(
            # Thousands of keys take milliseconds.
            keys=await asyncio.to_thread(history_keys, text),
            last_step=shown.record.last_step,
            line_count=shown.record.history_line_count,
            freshness=shown.freshness,
        )
