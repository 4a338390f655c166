"""A read of one run's history that has been begun: its rows in portions that fit a message, and where a broken stream
goes on. Where the rows come from is `histories.py`'s to choose.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from runtapd import faults
from runtapd.history.choose import Choice, portions
from runtapd.history.growth import Told
from runtapd.history.table import CLOCK, NONE, STEP, Rows
from runtapd.model.freshness import Freshness
from runtapd.model.paths import RunPath
from runtapd.reads.from_server import ServersChoice
from runtapd.reads.stored import Unkept
from runtapd.reads.supplies import Range, Stretch, Supply


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

    def of(self, sets: Sequence[Rows]) -> list[Batch]:
        """Returns the like of this for each set of columns of one row group."""
        return [replace(self, rows=rows, group_end=rows is sets[-1]) for rows in sets]


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
                raise rewritten(self.query.path) from error
            if self.direct is None:
                raise not_in_cache(self.query.path) from error
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
        batches, sent = list[Batch](), 0
        for sets in groups:
            sent += sets[0].length
            self.done += sets[0].length
            batches += Batch(
                total=self._total(),
                done=self.done,
                group=self.groups,
                exact=self.supply.exact,
                freshness=self.supply.freshness,
            ).of(sets)
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


def rewritten(path: RunPath) -> faults.PreconditionFailed:
    """What to say when rows that were given away may not be what they were."""
    return faults.PreconditionFailed(
        f"the history of {path} was rewritten since this stream began; read it again from the start",
        reason="HISTORY_REWRITTEN",
    )


def not_in_cache(path: RunPath) -> faults.NotInCache:
    """What to say when the store does not have the rows, and nobody else may be asked."""
    return faults.NotInCache(f"the history of {path} is not kept here, and the server was not to be asked")
