"""Reading the history of one run: which rows, from where, in portions that fit a message.

Rows come from the store, once that is what the server has (`syncing.py`), or straight from the server; `supplies.py`
has both. Here: which of the two, what of the rows is sent, and where a broken stream goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.history import growth
from runtapd.history.choose import Choice, portions
from runtapd.history.growth import Need, Told
from runtapd.history.kept import Kept
from runtapd.history.table import CLOCK, NONE, STEP, Rows
from runtapd.model.freshness import Freshness, Source
from runtapd.model.paths import RunPath
from runtapd.reads.chosen import ServersChoice, System
from runtapd.reads.partitions import Partition
from runtapd.reads.runs import RunReads
from runtapd.reads.standing import Standing
from runtapd.reads.stored import Unkept
from runtapd.reads.supplies import Direct, FromStore, Range, Stretch, Supply
from runtapd.reads.syncing import Syncs
from runtapd.upstream.api import Waits

WORTH_KEEPING = 4
"""A part of a history is fetched by itself, and not kept, when the whole has this many times as many rows."""
LITTLE_ROWS = 10_000
"""Unless no more than so many have to be fetched to have it all."""
LONG_ROWS = 200_000
"""A history of which more rows are missing is not fetched only to choose some of them."""
LINES = frozenset({"history_line_count", "heartbeat_at"})


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which rows."""

    path: RunPath
    keys: tuple[str, ...] = ()
    inner: bool = False
    system: bool = False
    min_step: int | None = None
    max_step: int | None = None
    last_rows: int = 0
    page_rows: int = 0
    """Most rows to ask of the server at once; 0: as many as go well."""
    enough: int = 0
    """So many rows from all over the history will do when the whole would take long to fetch; 0: all are wanted."""

    @property
    def whole(self) -> bool:
        """Whether all rows are wanted."""
        return not self.system and self.range.whole

    @property
    def choice(self) -> Choice:
        """What of the rows is wanted."""
        return Choice(self.keys, self.inner, (STEP, *CLOCK) if self.system else (STEP,))

    @property
    def range(self) -> Range:
        """Which steps are wanted."""
        return Range(self.min_step, self.max_step, self.last_rows)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a broken stream goes on."""

    storage_id: str
    generation: str
    """Of the stored history; empty when the rows come straight from the server."""
    next: int
    """The next stored row, or the next step."""
    line_count: int
    """Rows the run had when the stream began; a run with fewer has been rewritten."""
    rows_done: int
    rows_seen: int
    """Rows looked at so far, chosen or not."""
    groups: int
    """Row groups sent so far."""
    missing: tuple[int, ...]
    """Which of the keys asked for no row has had so far."""


@dataclass(slots=True)
class Batch:
    """A portion of rows, or the end of the stream."""

    rows: Rows = NONE
    total: int | None = None
    done: int = 0
    group: int = 0
    group_end: bool = True
    exact: bool = True
    resume: Position | None = None
    unknown_keys: tuple[str, ...] = ()
    freshness: Freshness | None = None
    chosen_of: int | None = None
    """In the last one: of how many rows the server chose these; None where it was asked for all."""


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
        direct = None
        if not wishes.cache_only and resume is None:
            direct = Direct(
                part,
                query.path,
                standing.told,
                query.range,
                query.page_rows,
                waits,
                _fresh(standing),
                standing.storage_id,
            )
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
        told, storage_id = standing.told, standing.storage_id
        if query.system:
            return System(part, query.path, query.last_rows, waits, Freshness(self._clock(), Source.UPSTREAM))
        kept = await part.histories.read(lambda store: store.kept(storage_id), None)
        if wishes.cache_only or standing.freshness.stale:
            if kept is None or not growth.is_whole(kept):
                raise _not_in_cache(query.path)
            freshness = replace(self._as_kept(kept), stale=standing.freshness.stale)
            return FromStore(part, query.path, query.range, query.keys, kept, None, freshness)
        if query.enough and (growth.missing_rows(kept, told) or 0) > LONG_ROWS:
            return ServersChoice(part, query.path, told, query.enough, waits, _fresh(standing), storage_id)
        direct = resume is not None and not resume.generation
        if direct or (resume is None and _is_small_part(query, kept, told)):
            return Direct(
                part,
                query.path,
                told,
                query.range,
                query.page_rows,
                waits,
                _fresh(standing),
                storage_id,
            )
        anew = wishes.no_cache and resume is None
        younger = growth.is_younger(kept, standing.current_at, self._clock())
        if kept is not None and not anew and (younger or growth.need(kept, told) is Need.NOTHING):
            freshness = replace(standing.freshness, source=Source.DISK, revalidated=LINES)
            return FromStore(part, query.path, query.range, query.keys, kept, waits, freshness)
        return FromStore(
            part,
            query.path,
            query.range,
            query.keys,
            kept,
            waits,
            _fresh(standing),
            join=lambda: self.syncs.join(part, standing, waits, page_rows=query.page_rows, anew=anew),
            leave=lambda sync: self.syncs.leave(sync, waits),
            otherwise=self._as_kept(kept)
            if kept and growth.is_whole(kept) and wishes.allow_stale_on_error
            else None,
        )

    async def _current(self, part: Partition, path: RunPath, wishes: Wishes, waits: Waits) -> Standing:
        """Returns what is known of the run, as young as it must be to say where the history ends."""
        found = Standing.of(await self._runs.run(part, path, wishes, waits()))
        if wishes.cache_only or found.freshness.source is Source.UPSTREAM or found.is_current(self._clock()):
            return found
        return Standing.of(await self._runs.run(part, path, replace(wishes, max_age_s=0.0), waits()))

    def _as_kept(self, kept: Kept) -> Freshness:
        return Freshness(kept.mark.checked_at, Source.DISK, stale=True)


def _fresh(standing: Standing) -> Freshness:
    """How fresh rows are that are fetched now: which ones they are was heard before."""
    return Freshness(standing.current_at, Source.UPSTREAM)


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


@dataclass(frozen=True, slots=True)
class Reading:
    """A read that has been begun."""

    query: HistoryQuery
    told: Told
    supply: Supply
    resume: Position | None
    direct: Supply | None
    """Where rows come from when nothing can be stored; None: nowhere."""

    async def prepare(self) -> None:
        """Returns once all rows are stored, if they can be, so that `batches` only has to get them from the disk."""
        with suppress(Unkept):
            await self.supply.prepare()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yields the rows in order, and at last a batch without rows."""
        reader = _Reader(self.query, self.supply, self.told)
        try:
            async with aclosing(reader.batches(self.resume)) as batches:
                async for batch in batches:
                    yield batch
            return
        except Unkept as error:
            if reader.groups or self.resume is not None:
                raise _rewritten(self.query.path) from error
            if self.direct is None:
                raise _not_in_cache(self.query.path) from error
        async with aclosing(_Reader(self.query, self.direct, self.told).batches(None)) as batches:
            async for batch in batches:
                yield batch


class _Reader:
    """One read under way: cuts what a supply gives into batches."""

    def __init__(self, query: HistoryQuery, supply: Supply, told: Told) -> None:
        self.query, self.supply, self.told = query, supply, told
        self.choice = query.choice
        self.missing = set(query.keys)
        self.done = 0
        self.groups = 0

    async def batches(self, resume: Position | None) -> AsyncGenerator[Batch, None]:
        if resume is not None:
            self.done, self.groups = resume.rows_done, resume.groups
            self.missing = {self.query.keys[i] for i in resume.missing}
        places = (resume.generation, resume.next, resume.rows_seen) if resume is not None else None
        async with aclosing(self.supply.stretches(self.choice, places)) as stretches:
            async for stretch in stretches:
                self.missing -= stretch.had
                if not stretch.rows.length:
                    continue
                for batch in self._groups(stretch, await asyncio.to_thread(portions, stretch.rows)):
                    yield batch
        yield Batch(
            done=self.done,
            total=self.done,
            group=self.groups,
            exact=self.supply.exact,
            unknown_keys=tuple(key for key in self.query.keys if key in self.missing and key != STEP),
            freshness=self.supply.freshness,
            chosen_of=self.told.line_count if isinstance(self.supply, ServersChoice) else None,
        )

    def _groups(self, stretch: Stretch, groups: list[list[Rows]]) -> list[Batch]:
        """Makes the messages of a stretch; the last one of a row group can be resumed behind."""
        batches, sent = [], 0
        for sets in groups:
            sent += sets[0].length
            self.done += sets[0].length
            for rows in sets:
                batches.append(
                    Batch(
                        rows,
                        total=self._total(),
                        done=self.done,
                        group=self.groups,
                        group_end=rows is sets[-1],
                        exact=self.supply.exact,
                        freshness=self.supply.freshness,
                    )
                )
            self.groups += 1
            batches[-1].resume = self._position(stretch, sent)
        return batches

    def _total(self) -> int | None:
        return self.told.line_count if self.query.whole and not self.query.keys else None

    def _position(self, stretch: Stretch, sent: int) -> Position | None:
        place = stretch.place_behind(sent)
        if place is None:
            return None
        return Position(
            storage_id=self.supply.storage_id,
            generation=self.supply.generation,
            next=place,
            line_count=self.told.line_count or 0,
            rows_done=self.done,
            rows_seen=self.supply.seen,
            groups=self.groups,
            missing=tuple(i for i, key in enumerate(self.query.keys) if key in self.missing),
        )


def _check_unchanged(resume: Position, standing: Standing) -> None:
    if resume.storage_id != standing.storage_id or (standing.told.line_count or 0) < resume.line_count:
        raise _rewritten(standing.path)


def _rewritten(path: RunPath) -> faults.PreconditionFailed:
    return faults.PreconditionFailed(
        f"the history of {path} was rewritten since this stream began; read it again from the start",
        reason="HISTORY_REWRITTEN",
    )


def _not_in_cache(path: RunPath) -> faults.NotInCache:
    return faults.NotInCache(f"the history of {path} is not kept here, and the server was not to be asked")
