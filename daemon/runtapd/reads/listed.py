"""The runs of a stretch of a list: out of the cache, and read again where memory and disk have forgotten them.

Which runs are in the list, and in which order, is the answer's to say (`lists.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.cache.records import Held
from runtapd.model.freshness import Source
from runtapd.model.run import Record
from runtapd.reads.answers import LARGEST_PAGE, Answer, judged_id
from runtapd.reads.overlay import Overlay, ShownRun
from runtapd.reads.pages import Pages
from runtapd.reads.partitions import Partition
from runtapd.reads.query import RunQuery
from runtapd.reads.runs import source_of
from runtapd.upstream.api import Waits
from runtapd.upstream.pushdown import Split

ALL = 2**62


class ListedRuns:
    """Finds the runs of lists."""

    def __init__(self, pages: Pages, overlay: Overlay, split: Callable[[Partition, RunQuery], Split]) -> None:
        self._pages = pages
        self._overlay = overlay
        self._split = split

    async def runs(
        self,
        part: Partition,
        query: RunQuery,
        answer: Answer,
        start: int,
        ids: list[str],
        fetched: bool,
        wishes: Wishes,
        waits: Waits,
    ) -> list[ShownRun | None]:
        """Returns the runs of these ids, which stand from `start` on in the answer; None for one that is gone or could
        not be read. `fetched` says whether the list has just grown by them."""
        held = await part.cache.by_ids(ids)
        answer.uncached.difference_update(held)  # they have come back
        reread: dict[str, Held] = {}
        lost = [i for i in ids if i not in held and i not in answer.errors]
        if lost and wishes.cache_only:
            answer.uncached.update(lost)
        elif lost:
            reread = await self._reread(part, query, answer.cursor_before(start), set(ids), set(lost), waits)
        if late := self._late(part, answer, held, wishes):
            held |= await self._pages.again(part, query.project, late, waits())
        shown: list[ShownRun | None] = []
        for storage_id in ids:
            found = held.get(storage_id) or reread.get(storage_id)
            if found is None or storage_id in answer.errors:  # what it was before is not what it is
                shown.append(None)
                continue
            new = fetched or storage_id not in held
            source = Source.UPSTREAM if new else source_of(found)
            run = self._overlay.as_held(part, found.record, source, stale=answer.stale)
            shown.append(run or await self._overlay.shown(part, found.record, source, stale=answer.stale))
        if not wishes.cache_only and (gone := sum(i not in reread for i in lost)):
            answer.incomplete = answer.incomplete or f"{gone} of the listed runs are not there any more"
        return shown

    @staticmethod
    def _late(part: Partition, answer: Answer, held: dict[str, Held], wishes: Wishes) -> list[Record]:
        """Returns the runs that are older than a list that is fresh enough.

        That is what an own write leaves that was sent before this list was asked for and answered after it: it has what
        was written, but others may have changed the run since it was sent.
        """
        floor = max(part.cache.floor, wishes.not_before)
        if wishes.cache_only or answer.stale or answer.fetched_at < floor:
            return []
        return [
            found.record
            for storage_id, found in held.items()
            if found.record.current_at < floor and storage_id not in answer.errors
        ]

    async def _reread(
        self,
        part: Partition,
        query: RunQuery,
        behind: str | None,
        ids: set[str],
        lost: set[str],
        waits: Waits,
    ) -> dict[str, Held]:
        """Reads a stretch of a list again: memory and disk have forgotten its runs, the list itself is still right.

        What is lost and not where it was, because runs came or went before it, is looked for in the whole list.
        """
        split, stretches = (
            self._split(part, query),
            [(behind, len(ids)), (None, ALL)],
        )
        if not split.whole or judged_id(behind) is not None:
            split, stretches = split.here().base(), [(None, ALL)]
        found: dict[str, Held] = {}
        for start, stretch in stretches:
            cursor, read, most, more = start, 0, LARGEST_PAGE, True
            while more and read < stretch and not lost <= found.keys():
                first = min(stretch - read, most)
                try:
                    page, records = await self._pages.whole(part, query, split, cursor, first, waits())
                except faults.AnswerTooLarge:
                    most = max(1, first // 4)
                    continue
                found |= {record.storage_id: Held(record) for record in records if record.storage_id in ids}
                read += len(records)
                more = bool(records) and page.has_next
                cursor = page.cursors[-1] if more else None
        return found
