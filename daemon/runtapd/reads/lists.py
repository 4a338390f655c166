"""Reading lists of runs, a stretch at a time.

A list is an `Answer`: the ids as far as they have been fetched. It is shared by all who ask the same, and grows by
pages, each fetched once for everybody who waits. A reader stays with the answer its list began with; when that is gone
(restart, memory), the list goes on behind the server's cursor that its token carries. A new answer remembers the best
one before it until it is complete itself, for those who may not ask the server or cannot reach it.

What a server is not given of a query (`upstream/pushdown.py`) is judged here: then all runs that match what it was
given are fetched, as an answer of its own that other queries share, judged and sorted once; pages come from that.
"""

from __future__ import annotations

import asyncio
from functools import partial

from runtapd import faults
from runtapd.cache import policy
from runtapd.cache.policy import Wishes
from runtapd.model.freshness import Freshness, Source, merged
from runtapd.reads.answers import (
    Answer,
    Place,
    as_stale,
    best,
    candidates,
    continues,
    disorder,
    fallback,
    from_disk,
    judged_id,
    matching,
)
from runtapd.reads.documents import large_texts
from runtapd.reads.growing import Growing, Sizes, complete
from runtapd.reads.judging import Judge
from runtapd.reads.listed import ListedRuns
from runtapd.reads.overlay import Overlay
from runtapd.reads.pages import Pages
from runtapd.reads.partitions import UNREADABLE_S, Partition, Partitions
from runtapd.reads.query import Part, RunQuery
from runtapd.upstream.api import Wait, Waits
from runtapd.upstream.pushdown import Servers, Split, weaker

FIRST_PAGE = 50
JUDGED_AT_ONCE = 200
"""Runs judged in one go, in a thread."""
ALL = 2**62
PATIENCE_S = 3.0
"""How long a server is waited for by those who have something older to fall back on."""


class RunLists:
    """Answers questions about lists of runs."""

    def __init__(self, partitions: Partitions, overlay: Overlay, servers: Servers) -> None:
        self._partitions = partitions
        self._servers = servers
        pages = Pages(partitions.clock)
        self._growing = Growing(pages, servers)
        self._listed = ListedRuns(pages, overlay, self.split)

    def split(self, part: Partition, query: RunQuery) -> Split:
        """Returns which part of a query goes to the server; InvalidRequest when it cannot be answered at all."""
        found = self._servers.split(part.account.base_url, query.node, query.ordering)
        return found.base() if query.as_it_comes else found

    async def answer(self, part: Partition, query: RunQuery, wishes: Wishes, place: Place | None) -> Answer:
        """Returns the list to read from: the one a token belongs to, a cached one that may be used, or a new one."""
        if place is None:
            return await self._begun(part, query, wishes, self._partitions.clock())
        for key in (query.key, query.continued(place.fetched_at)):
            kept = part.answers.get(key)
            if kept is not None and continues(kept, place):
                return kept
        if stored := await part.cache.stored_answer(query.key):
            kept = from_disk(stored, part.cache.generation)
            if continues(kept, place):
                return kept
        split = self.split(part, query)
        if split.whole and judged_id(place.cursor) is not None:
            split = split.here()
        answer = await self._new(part, query, split, wishes, self._partitions.clock())
        answer.first, answer.total = place.offset, place.total
        answer.opened_behind = answer.behind = place.cursor
        part.answers[query.continued(answer.fetched_at)] = answer
        return answer

    async def _new(
        self, part: Partition, query: RunQuery, split: Split, wishes: Wishes, now: float
    ) -> Answer:
        """Returns an answer that is still empty."""
        if split.whole:
            return Answer(
                query.key,
                now,
                now,
                part.cache.generation,
                split=split,
                by_name=part.by_name,
                believes_from=_believes_from(part, wishes, now),
            )
        base = await self._begun(part, query.base(split), wishes, now, split.base())
        return Answer(query.key, base.fetched_at, base.whole_at, base.generation, split=split, base=base)

    async def _begun(
        self, part: Partition, query: RunQuery, wishes: Wishes, now: float, split: Split | None = None
    ) -> Answer:
        kept = part.answers.get(query.key)
        if kept is None:
            stored = await part.cache.stored_answer(query.key)
            kept = part.answers.get(query.key)  # somebody may have begun it meanwhile
            if kept is None and stored is not None:
                kept = from_disk(stored, part.cache.generation)
        for found in candidates(kept, wishes):
            current = found.generation == part.cache.generation or wishes.cache_only
            if current and self._usable(part, found, now, wishes):
                # What is only a former one is kept for its reader; it must not push out the one that follows it.
                name = query.key if found is kept else query.continued(found.fetched_at)
                part.answers[name] = found
                return found
        if wishes.cache_only:
            raise query.not_cached()
        answer = await self._new(part, query, split or self.split(part, query), wishes, now)
        begun = part.answers.get(query.key)
        if begun is not None and begun is not kept and begun.fetched_at >= answer.fetched_at:
            return begun  # somebody else's, meanwhile, and no older than this one would be
        answer.former = best(kept)
        if answer.former is not None:
            answer.former.former = None  # reaches no further: else a server that stays away makes a chain
            self._renewing(part, answer, answer.former, wishes, now)
        part.answers[query.key] = answer
        return answer

    def _usable(self, part: Partition, answer: Answer, now: float, wishes: Wishes) -> bool:
        limits, floor = self._partitions.limits, part.cache.floor
        return policy.usable(answer.fetched_at, now, limits.list_s, wishes, floor) and policy.usable(
            answer.whole_at, now, limits.finished_s, wishes, floor
        )

    def _renewing(self, part: Partition, answer: Answer, former: Answer, wishes: Wishes, now: float) -> None:
        """Decides whether a new answer may stand on the runs of the one before it, having only glanced at them."""
        if wishes.no_cache or not part.by_name or answer.base is not None:
            return
        if former.versioned and former.ids:
            answer.glances = True
        elif policy.usable(
            former.whole_at, now, self._partitions.limits.finished_s, wishes, part.cache.floor
        ):
            answer.glances, answer.whole_at = True, former.whole_at

    async def part(
        self,
        part: Partition,
        query: RunQuery,
        answer: Answer,
        *,
        offset: int,
        count: int,
        sizes: Sizes,
        wishes: Wishes,
        waits: Waits,
    ) -> tuple[Part, Answer]:
        """Returns up to `count` runs from `offset` on, and the answer to go on with."""
        try:
            fetched = await self._grown(part, query, answer, offset, offset + count, sizes, wishes, waits)
        except faults.UpstreamFault:
            older = fallback(answer, offset) if wishes.allow_stale_on_error else None
            if older is None:
                raise
            if older is not answer:
                answer = as_stale(older)
                part.answers[query.continued(answer.fetched_at)] = answer
            fetched = False
        start = offset - answer.first
        ids = answer.ids[start : start + count]
        runs = await self._listed.runs(part, query, answer, start, ids, fetched, wishes, waits)
        at_end = answer.done and offset + len(ids) >= answer.end
        # A server that counts too few is told better by what it lists.
        total = None if answer.total is None else max(answer.total, answer.end)
        source = Source.UPSTREAM if fetched else Source.DISK if answer.from_disk else Source.MEMORY
        of_list = Freshness(answer.fetched_at, source, answer.stale)
        return Part(
            runs=[run for run in runs if run is not None],
            ends=[offset + i + 1 for i, run in enumerate(runs) if run is not None],
            place=partial(answer.place, total=total),
            next=None if at_end else answer.place(offset + len(ids), total),
            total=total,
            incomplete=_incomplete(answer, wishes) if at_end else "",
            freshness=merged([of_list, *(run.freshness for run in runs if run is not None)], of_list),
            errors=[
                (offset + i + 1, answer.errors[storage_id])
                for i, storage_id in enumerate(ids)
                if storage_id in answer.errors
            ],
        ), answer

    async def _grown(
        self,
        part: Partition,
        query: RunQuery,
        answer: Answer,
        start: int,
        end: int,
        sizes: Sizes,
        wishes: Wishes,
        waits: Waits,
    ) -> bool:
        """Fetches until the answer reaches `end` or is complete; returns whether anything was fetched.

        Without asking the server it need only reach beyond `start`: the reader gets what is there.
        """
        fetched = False
        while not answer.done and answer.end < end:
            if wishes.cache_only:
                if answer.end > start:
                    break
                raise query.not_cached()
            fetched, patience = True, waits()
            if wishes.allow_stale_on_error and fallback(answer, start) is not None:
                patience = patience.no_later_than(asyncio.get_running_loop().time() + PATIENCE_S)
            await part.pages.join(
                answer, patience, lambda shared: self._extend(part, query, answer, sizes, shared)
            )
        part.misses += fetched
        part.hits += not fetched
        return fetched

    async def _extend(
        self, part: Partition, query: RunQuery, answer: Answer, sizes: Sizes, wait: Wait
    ) -> None:
        """Lets an answer grow by a step, or fetches all of one that is judged here. Never two at once for the same one.

        What the server refuses, it is asked for again with less given to it, as long as nothing was given to a reader.
        """
        while True:
            split = answer.split or self.split(part, query)
            try:
                if not split.whole:
                    await self._judge(part, query, answer, split, sizes, wait)
                elif not await self._growing.step(part, query, answer, split, sizes, wait):
                    here = split.here()
                    await self._renew(part, query, answer, here)
                    await self._judge(part, query, answer, here, sizes, wait)
            except faults.UpstreamRefused:
                sorts = self._servers.sorts(part.account.base_url)
                less = weaker(split, query.node, query.ordering, sorts=sorts)
                if less is None or answer.ids or answer.first or query.as_it_comes:
                    if answer.refused:  # it was not about the filter: nothing is learnt from it
                        answer.refused = False
                        await self._renew(part, query, answer, self.split(part, query))
                    raise
                await self._renew(part, query, answer, less)
                answer.refused = True
                continue
            if answer.refused:
                self._servers.took_only(part.account.base_url, split.trust)
            return

    async def _renew(self, part: Partition, query: RunQuery, answer: Answer, split: Split) -> None:
        """Goes on with another split, on data no older than the answer says it is."""
        fresh = Wishes(not_before=answer.fetched_at)
        renewed = await self._new(part, query, split, fresh, self._partitions.clock())
        answer.split, answer.base = split, renewed.base

    async def _judge(
        self, part: Partition, query: RunQuery, answer: Answer, split: Split, sizes: Sizes, wait: Wait
    ) -> None:
        """Fetches everything the server was asked for, and makes the answer of what matches, in its order."""
        base, below = answer.base, query.base(split)
        if base is None:
            raise LookupError("an answer that is judged here stands on another one")
        judge, found, anyhow = Judge(split), [], Wishes()

        def waits() -> Wait:
            return wait

        # How large the runs are is learnt from a first page that is not.
        for end, page in ((1, min(sizes.judged, FIRST_PAGE)), (ALL, sizes.judged)):
            asked = Sizes(page, judged=sizes.judged)
            await self._grown(part, below, base, 0, end, asked, anyhow, waits)
        for start in range(0, len(base.ids), JUDGED_AT_ONCE):
            ids = base.ids[start : start + JUDGED_AT_ONCE]
            listed = await self._listed.runs(part, below, base, start, ids, False, anyhow, waits)
            runs = [run for run in listed if run is not None]
            texts = {run.record.storage_id: await large_texts(part, run, judge.kinds, wait) for run in runs}
            found += await asyncio.to_thread(judge.verdicts, [run.record for run in runs], texts)
        matching(answer, await asyncio.to_thread(judge.ordered, found), base.errors)
        answer.base = None
        complete(part, answer, base.incomplete or disorder(answer))


def _incomplete(answer: Answer, wishes: Wishes) -> str:
    """Says what is missing in an answer for this caller."""
    if wishes.cache_only and answer.uncached:
        away = len(answer.uncached)
        return (
            answer.incomplete
            or f"{away} of the listed runs are not in the cache, and the server was not to be asked"
        )
    return answer.incomplete


def _believes_from(part: Partition, wishes: Wishes, now: float) -> float:
    """Unix seconds: runs that turned out to be unreadable since then are not tried again."""
    if wishes.no_cache:
        return now
    age = UNREADABLE_S if wishes.max_age_s is None else min(UNREADABLE_S, wishes.max_age_s)
    return max(part.cache.floor, wishes.not_before, now - age)
