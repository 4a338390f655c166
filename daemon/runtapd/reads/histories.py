"""Reading the history of one run: which supply its rows come from, by how it stands and what is stored.

Rows come from the store (`from_store.py`), once that is what the server has (`syncing.py`), or straight from the server
(`from_server.py`). What becomes of them is `reading.py`'s.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.history import growth
from runtapd.history.growth import Need, Told
from runtapd.history.kept import Kept
from runtapd.model.freshness import Freshness, Source
from runtapd.model.paths import RunPath
from runtapd.reads.from_server import Direct, ServersChoice, System
from runtapd.reads.from_store import FromStore
from runtapd.reads.partitions import Partition
from runtapd.reads.reading import Batch, HistoryQuery, Position, Reading, not_in_cache, rewritten
from runtapd.reads.runs import RunReads
from runtapd.reads.standing import Standing
from runtapd.reads.supplies import Supply
from runtapd.reads.syncing import Syncs
from runtapd.upstream.api import Waits

WORTH_KEEPING = 4
"""A part of a history is fetched by itself, and not kept, when the whole has this many times as many rows."""
LITTLE_ROWS = 10_000
"""Unless no more than so many have to be fetched to have it all."""
LONG_ROWS = 200_000
"""A history of which more rows are missing is not fetched only to choose some of them."""
LINES = frozenset({"history_line_count", "heartbeat_at"})


class HistoryReads:
    """Answers questions about histories."""

    def __init__(self, runs: RunReads, clock: Callable[[], float]) -> None:
        self._runs = runs
        self._clock = clock
        self.syncs = Syncs(clock)

    async def read(
        self, part: Partition, query: HistoryQuery, resume: Position | None, wishes: Wishes, waits: Waits
    ) -> AsyncGenerator[Batch, None]:
        """Yields the rows in order, and at last a batch without rows that says what was not found."""
        if wishes.cache_only and query.system:
            raise faults.NotInCache("system metrics are not kept, and the server was not to be asked")
        standing = await self._current(part, query.path, wishes, waits)
        reading = await self.reading(part, query, standing, resume, wishes, waits)
        async with aclosing(reading.batches()) as batches:
            async for batch in batches:
                yield batch

    async def reading(
        self,
        part: Partition,
        query: HistoryQuery,
        standing: Standing,
        resume: Position | None,
        wishes: Wishes,
        waits: Waits,
    ) -> Reading:
        """Begins to read the rows of a run of which it is known how its history stands."""
        if resume is not None:
            _check_unchanged(resume, standing)
        supply = await self._supply(part, query, standing, resume, wishes, waits)
        without_store = resume is None and not wishes.cache_only
        direct = _direct(part, query, standing, waits) if without_store else None
        return Reading(query, standing.told, supply, resume, direct)

    async def _supply(
        self,
        part: Partition,
        query: HistoryQuery,
        standing: Standing,
        resume: Position | None,
        wishes: Wishes,
        waits: Waits,
    ) -> Supply:
        """Says where the rows come from."""
        told, storage_id, fresh = standing.told, standing.storage_id, _fresh(standing)
        if query.system:
            now = Freshness(self._clock(), Source.UPSTREAM)
            return System(part=part, path=query.path, waits=waits, freshness=now, last_rows=query.last_rows)
        kept = await part.histories.read(lambda store: store.kept(storage_id), None)
        if wishes.cache_only or standing.freshness.stale:
            if kept is None or not growth.is_whole(kept):
                raise not_in_cache(query.path)
            older = replace(_as_kept(kept), stale=standing.freshness.stale)
            return FromStore(part, query.path, query.range, query.keys, kept, None, older)
        if query.enough and (growth.missing_rows(kept, told) or 0) > LONG_ROWS:
            return ServersChoice(
                part=part,
                path=query.path,
                waits=waits,
                freshness=fresh,
                storage_id=storage_id,
                told=told,
                enough=query.enough,
            )
        straight = _is_small_part(query, kept, told) if resume is None else not resume.generation
        if straight:
            return _direct(part, query, standing, waits)
        anew = wishes.no_cache and resume is None
        younger = growth.is_younger(kept, standing.current_at, self._clock())
        if kept is not None and not anew and (younger or growth.need(kept, told) is Need.NOTHING):
            current = replace(standing.freshness, source=Source.DISK, revalidated=LINES)
            return FromStore(part, query.path, query.range, query.keys, kept, waits, current)
        otherwise = None
        if wishes.allow_stale_on_error and kept is not None and growth.is_whole(kept):
            otherwise = _as_kept(kept)
        return FromStore(
            part,
            query.path,
            query.range,
            query.keys,
            kept,
            waits,
            fresh,
            join=lambda: self.syncs.join(part, standing, waits, page_rows=query.page_rows, anew=anew),
            leave=lambda sync: self.syncs.leave(sync, waits),
            otherwise=otherwise,
        )

    async def _current(self, part: Partition, path: RunPath, wishes: Wishes, waits: Waits) -> Standing:
        """Returns what is known of the run, as young as it must be to say where the history ends."""
        found = Standing.of(await self._runs.run(part, path, wishes, waits()))
        if wishes.cache_only or found.freshness.source is Source.UPSTREAM or found.is_current(self._clock()):
            return found
        return Standing.of(await self._runs.run(part, path, replace(wishes, max_age_s=0.0), waits()))


def _fresh(standing: Standing) -> Freshness:
    """How fresh rows are that are fetched now: which ones they are was heard before."""
    return Freshness(standing.current_at, Source.UPSTREAM)


def _as_kept(kept: Kept) -> Freshness:
    """How fresh rows are that are given without asking whether they are still right."""
    return Freshness(kept.mark.checked_at, Source.DISK, stale=True)


def _direct(part: Partition, query: HistoryQuery, standing: Standing, waits: Waits) -> Direct:
    return Direct(
        part=part,
        path=query.path,
        waits=waits,
        freshness=_fresh(standing),
        storage_id=standing.storage_id,
        told=standing.told,
        range=query.range,
        page_rows=query.page_rows,
    )


def _is_small_part(query: HistoryQuery, kept: Kept | None, told: Told) -> bool:
    """Whether so little is wanted, of so much that would have to be fetched, that it is fetched by itself."""
    if query.whole or growth.need(kept, told) is Need.NOTHING:
        return False
    if kept is not None and query.max_step is not None and query.max_step <= kept.mark.next_step:
        return False  # what is wanted lies among what was stored once; that much is brought up to date
    to_fetch = growth.missing_rows(kept, told)
    if to_fetch is None or to_fetch <= LITTLE_ROWS:
        return False
    wanted = query.range.rows_of(told)
    return wanted * WORTH_KEEPING < to_fetch


def _check_unchanged(resume: Position, standing: Standing) -> None:
    if resume.storage_id != standing.storage_id or (standing.told.line_count or 0) < resume.line_count:
        raise rewritten(standing.path)
