"""Reading lists of runs, a stretch at a time.

A list is an `Answer`: the ids as far as they have been fetched. It is shared by all who ask the same, and grows by
pages, each fetched once for everybody who waits. A reader stays with the answer its list began with; when that is gone
(restart, memory), the list goes on behind the server's cursor that its token carries. A new answer remembers the best
one before it until it is complete itself, for those who may not ask the server or cannot reach it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from runtapd import faults
from runtapd.cache import keys, policy
from runtapd.cache.policy import Wishes
from runtapd.cache.records import Held
from runtapd.cache.store import StoredAnswer
from runtapd.model.freshness import Freshness, Source, merged
from runtapd.model.paths import ProjectPath
from runtapd.model.run import Record, RunData
from runtapd.reads.answers import (
    Answer,
    Place,
    as_stale,
    best,
    candidates,
    continues,
    fallback,
    from_disk,
    missing,
)
from runtapd.reads.overlay import Overlay, ShownRun
from runtapd.reads.partitions import Partition, Partitions
from runtapd.reads.runs import source_of
from runtapd.upstream.api import RunPage, Wait

FIRST_PAGE = 50
LARGEST_PAGE = 1000
PAGE_BYTES = 16 * 2**20
"""About how many bytes of documents one page asked of a server may bring."""
PATIENCE_S = 3.0
"""How long a server is waited for by those who have something older to fall back on."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs, and in which order; texts as they go to the server."""

    project: ProjectPath
    filters: str
    order: str

    @property
    def key(self) -> str:
        """Names the answer."""
        return keys.answer_key("runs", project=str(self.project), filters=self.filters, order=self.order)


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a list."""

    runs: list[ShownRun]
    places: list[Place]
    """Behind each run."""
    next: Place | None
    """Where the list goes on; None at its end."""
    total: int | None
    incomplete: str
    freshness: Freshness


class RunLists:
    """Answers questions about lists of runs."""

    def __init__(self, partitions: Partitions, overlay: Overlay) -> None:
        self._partitions = partitions
        self._overlay = overlay

    async def answer(self, part: Partition, query: RunQuery, wishes: Wishes, place: Place | None) -> Answer:
        """Returns the list to read from: the one a token belongs to, a cached one that may be used, or a new one."""
        if place is None:
            return await self._begun(part, query, wishes)
        for key in (query.key, _continued(query, place.fetched_at)):
            kept = part.answers.get(key)
            if kept is not None and continues(kept, place):
                return kept
        if stored := await part.cache.stored_answer(query.key):
            kept = from_disk(stored, part.cache.generation)
            if continues(kept, place):
                return kept
        now = self._partitions.clock()
        answer = Answer(
            query.key,
            now,
            part.cache.generation,
            first=place.offset,
            opened_behind=place.cursor,
            total=place.total,
        )
        part.answers[_continued(query, now)] = answer
        return answer

    async def _begun(self, part: Partition, query: RunQuery, wishes: Wishes) -> Answer:
        now, limit = self._partitions.clock(), self._partitions.limits.list_s
        kept = part.answers.get(query.key)
        if kept is None:
            stored = await part.cache.stored_answer(query.key)
            kept = part.answers.get(query.key)  # somebody may have begun it meanwhile
            if kept is None and stored is not None:
                kept = from_disk(stored, part.cache.generation)
        for found in candidates(kept, wishes):
            current = found.generation == part.cache.generation or wishes.cache_only
            if current and policy.usable(found.fetched_at, now, limit, wishes, part.cache.floor):
                # What is only a former one is kept for its reader; it must not push out the one that follows it.
                name = query.key if found is kept else _continued(query, found.fetched_at)
                part.answers[name] = found
                return found
        if wishes.cache_only:
            raise _not_cached(query)
        former = best(kept)
        if former is not None:
            former.former = None  # reaches no further: without this, a server that stays away makes a chain
        answer = Answer(query.key, now, part.cache.generation, former=former)
        part.answers[query.key] = answer
        return answer

    async def part(
        self,
        part: Partition,
        query: RunQuery,
        answer: Answer,
        *,
        offset: int,
        count: int,
        fetch: int,
        wishes: Wishes,
        wait: Wait,
    ) -> tuple[Part, Answer]:
        """Returns up to `count` runs from `offset` on, and the answer to go on with.

        What is not there yet is asked of the server `fetch` runs at a time.
        """
        try:
            fetched = await self._grown(part, query, answer, offset, offset + count, fetch, wishes, wait)
        except faults.UpstreamFault:
            older = fallback(answer, offset) if wishes.allow_stale_on_error else None
            if older is None:
                raise
            if older is not answer:
                answer = as_stale(older)
                part.answers[_continued(query, answer.fetched_at)] = answer
            fetched = False
        start = offset - answer.first
        ids = answer.ids[start : start + count]
        runs = await self._runs(part, query, answer, start, ids, fetched, wishes, wait)
        at_end = answer.done and offset + len(ids) >= answer.end
        # A server that counts too few is told better by what it lists.
        total = None if answer.total is None else max(answer.total, answer.end)
        places = [
            Place(answer.first + i + 1, answer.cursors[i], answer.fetched_at, total)
            for i in range(start, start + len(ids))
        ]
        source = Source.UPSTREAM if fetched else Source.DISK if answer.from_disk else Source.MEMORY
        of_list = Freshness(answer.fetched_at, source, answer.stale)
        return Part(
            runs=[run for run in runs if run is not None],
            places=[place for place, run in zip(places, runs, strict=True) if run is not None],
            next=None if at_end else places[-1],
            total=total,
            incomplete=answer.incomplete if at_end else "",
            freshness=merged([of_list, *(run.freshness for run in runs if run is not None)], of_list),
        ), answer

    async def _grown(
        self,
        part: Partition,
        query: RunQuery,
        answer: Answer,
        start: int,
        end: int,
        fetch: int,
        wishes: Wishes,
        wait: Wait,
    ) -> bool:
        """Fetches until the answer reaches `end` or is complete; returns whether anything was fetched.

        Without asking the server it need only reach beyond `start`: the reader gets what is there.
        """
        fetched = False
        while not answer.done and answer.end < end:
            if wishes.cache_only:
                if answer.end > start:
                    break
                raise _not_cached(query)
            fetched, patience = True, wait
            if wishes.allow_stale_on_error and fallback(answer, start) is not None:
                patience = wait.no_later_than(asyncio.get_running_loop().time() + PATIENCE_S)
            await part.pages.join(
                answer, patience, lambda shared: self._extend(part, query, answer, fetch, shared)
            )
        part.misses += fetched
        part.hits += not fetched
        return fetched

    async def _extend(
        self, part: Partition, query: RunQuery, answer: Answer, wanted: int, wait: Wait
    ) -> None:
        """Fetches one more page of an answer. Never two at once for the same answer."""
        if answer.counted is not None and answer.counted > answer.end:
            wanted = min(wanted, answer.counted - answer.end)
        if answer.bytes_seen:
            wanted = min(wanted, max(1, PAGE_BYTES * len(answer.ids) // answer.bytes_seen))
        page, _ = await self._page(part, query, answer.behind, min(wanted, LARGEST_PAGE), wait)
        before, asked_behind = len(answer.ids), answer.behind
        for run, cursor in zip(page.runs, page.cursors, strict=True):
            # Runs inserted meanwhile shift the pages of servers that page by offset.
            if run.storage_id not in answer.seen:
                answer.seen.add(run.storage_id)
                answer.ids.append(run.storage_id)
                answer.cursors.append(cursor)
                answer.bytes_seen += _document_bytes(run)
        if page.total is not None:
            answer.counted = page.total
            answer.total = page.total if answer.total is None else answer.total
        if page.cursors:
            answer.behind = page.cursors[-1]
        if not page.has_next or not page.runs:
            self._finish(part, answer)
        elif not answer.behind or (answer.behind == asked_behind and len(answer.ids) == before):
            self._finish(
                part, answer, "the server says there is more but does not go on behind its last cursor"
            )

    async def _page(
        self, part: Partition, query: RunQuery, behind: str | None, first: int, wait: Wait
    ) -> tuple[RunPage, list[Record]]:
        sent_at, generation = self._partitions.clock(), part.cache.generation
        page = await part.upstream.runs(
            query.project.entity,
            query.project.project,
            filters=query.filters,
            order=query.order,
            cursor=behind,
            first=first,
            wait=wait,
        )
        return page, await part.cache.absorb_page(page.runs, sent_at=sent_at, generation=generation)

    @staticmethod
    def _finish(part: Partition, answer: Answer, incomplete: str = "") -> None:
        answer.done, answer.incomplete, answer.former = True, incomplete, None
        if not incomplete and (expected := missing(answer.total, answer.counted, answer.end)):
            answer.incomplete = f"the server counts {expected} runs but listed {answer.end}"
        elif not incomplete and answer.total is not None:
            answer.total = answer.end
        if not answer.first and answer.generation == part.cache.generation:
            runs = tuple(zip(answer.ids, answer.cursors, strict=True))
            part.cache.keep_answer(
                StoredAnswer(answer.key, answer.fetched_at, answer.total, answer.incomplete, runs)
            )

    async def _runs(
        self,
        part: Partition,
        query: RunQuery,
        answer: Answer,
        start: int,
        ids: list[str],
        fetched: bool,
        wishes: Wishes,
        wait: Wait,
    ) -> list[ShownRun | None]:
        """Returns the runs of these ids; None for one that is gone."""
        held = await part.cache.by_ids(ids)
        reread: dict[str, Held] = {}
        if any(i not in held for i in ids) and not wishes.cache_only:
            reread = await self._reread(part, query, answer.cursor_before(start), set(ids), wait)
        shown: list[ShownRun | None] = []
        for storage_id in ids:
            found = held.get(storage_id) or reread.get(storage_id)
            if found is None:
                shown.append(None)
                continue
            new = fetched or storage_id not in held
            source = Source.UPSTREAM if new else source_of(found)
            shown.append(await self._overlay.shown(part, found.record, source, stale=answer.stale))
        if gone := shown.count(None):
            answer.incomplete = answer.incomplete or f"{gone} of the listed runs are not there any more"
        return shown

    async def _reread(
        self, part: Partition, query: RunQuery, behind: str | None, ids: set[str], wait: Wait
    ) -> dict[str, Held]:
        """Reads a stretch of a list again: memory and disk have forgotten its runs, the list itself is still right."""
        found: dict[str, Held] = {}
        read = 0
        while read < len(ids):
            page, records = await self._page(part, query, behind, len(ids) - read, wait)
            found |= {record.storage_id: Held(record) for record in records if record.storage_id in ids}
            read += len(records)
            if not records or not page.has_next:
                break
            behind = page.cursors[-1]
        return found


def _continued(query: RunQuery, fetched_at: float) -> str:
    """Names an answer that is kept for its reader although a newer one may have taken its place."""
    return f"{query.key}@{fetched_at!r}"


def _document_bytes(run: RunData) -> int:
    texts = (run.config, run.summary, run.system_metrics, run.history_keys, run.notes)
    return sum(len(text) for text in texts if text)


def _not_cached(query: RunQuery) -> faults.NotInCache:
    return faults.NotInCache(
        f"the runs of {query.project} are not in the cache, and the server was not to be asked"
    )
