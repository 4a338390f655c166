"""Samples of histories: a few rows that stand for all of them, chosen from what `histories.py` reads.

All rows are looked at, whatever is wanted of them, but only the columns that are wanted are held.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.history.sample import sample
from runtapd.history.table import CLOCK, NONE, STEP, Rows, ordered, together
from runtapd.model.freshness import Freshness
from runtapd.model.paths import RunPath
from runtapd.reads.histories import HistoryReads
from runtapd.reads.partitions import Partition
from runtapd.reads.reading import Batch, HistoryQuery
from runtapd.upstream.api import Waits

DEFAULT_SAMPLES = 500


@dataclass(frozen=True, slots=True)
class SampleQuery:
    """Which rows, and how many of them."""

    path: RunPath
    keys: tuple[str, ...] = ()
    """Empty: all keys and all rows."""
    inner: bool = False
    system: bool = False
    samples: int = DEFAULT_SAMPLES
    x_axis: str = STEP

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are wanted; none means all."""
        return tuple(ordered((STEP, *self.keys, self.x_axis))) if self.keys else ()

    @property
    def read(self) -> tuple[str, ...]:
        """The keys by which rows are read: that gives all rows that decide, and maybe others; none means all."""
        metrics, deciding = set(self.metrics), set(self.deciding)
        if STEP in deciding or (metrics and not metrics & deciding):
            return ()
        return tuple(key for key in self.columns if key != STEP)

    @property
    def asked(self) -> HistoryQuery:
        """What is read to choose from."""
        # Outer in any case: what only accompanies the keys must not decide about rows, and here it does not.
        # Of some keys the server's choice may hold nothing, so those are looked for in all rows.
        return HistoryQuery(self.path, self.read, system=self.system, enough=0 if self.keys else self.samples)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The keys and the x axis, without step and clock, which every row has."""
        keys = (*self.keys, self.x_axis) if self.keys else ()
        return tuple(dict.fromkeys(key for key in keys if key != STEP and key not in CLOCK))

    @property
    def deciding(self) -> tuple[str, ...]:
        """The keys of which a row needs one, or all: step and clock only count where nothing else was asked for."""
        wanted = self.metrics if self.inner else tuple(key for key in self.metrics if key in self.keys)
        return wanted or self.keys


@dataclass(frozen=True, slots=True)
class Sample:
    """The chosen rows, and what they were chosen from."""

    rows: Rows
    total: int
    """Rows they were chosen from."""
    with_all_keys: int
    """Of those, how many have all metrics that were asked for."""
    complete: bool
    """Whether they were chosen from all rows there are; else the server gave only some."""
    unknown_keys: tuple[str, ...]
    freshness: Freshness | None
    chosen_of: int | None = None
    """Of how many rows the server chose those that these were chosen from, when it was not asked for all."""

    @property
    def exact(self) -> bool:
        """Whether these are all the rows there are."""
        return self.complete and self.rows.length == self.total


async def read_sample(
    histories: HistoryReads, part: Partition, query: SampleQuery, wishes: Wishes, waits: Waits
) -> Sample:
    """Reads the run's rows as young as `wishes` demand, and chooses."""
    try:
        return await sample_of(histories.read(part, query.asked, None, wishes, waits), query)
    except faults.PreconditionFailed:  # rewritten while it was read: nothing was given away yet
        return await sample_of(histories.read(part, query.asked, None, wishes, waits), query)


async def sample_of(batches: AsyncGenerator[Batch, None], query: SampleQuery) -> Sample:
    """Chooses from the batches that come of `query.asked`."""
    parts, last = await _rows(batches)
    rows, total, with_all = await asyncio.to_thread(_choose, parts, query)
    unknown = tuple(key for key in dict.fromkeys((*query.keys, query.x_axis)) if key in last.unknown_keys)
    return Sample(rows, total, with_all, last.exact, unknown, last.freshness, last.chosen_of)


async def _rows(batches: AsyncGenerator[Batch, None]) -> tuple[list[Rows], Batch]:
    """Reads all rows that decide; returns them with the end of the stream."""
    parts: list[Rows] = []
    last = Batch()
    async with aclosing(batches):
        async for batch in batches:
            if batch.rows.length:
                if not last.group_end:  # more columns of the same rows
                    batch.rows = Rows(batch.rows.length, {**parts.pop().columns, **batch.rows.columns})
                parts.append(batch.rows)
            last = batch
    return parts, last


def _choose(parts: Sequence[Rows], query: SampleQuery) -> tuple[Rows, int, int]:
    if query.keys:
        parts = [_matching(part, query) for part in parts]
    total = sum(part.length for part in parts)
    with_all = sum(_count_with_all(part, query.metrics) for part in parts)
    x_axis = CLOCK[-1] if query.system and query.x_axis == STEP else query.x_axis
    return sample(parts, query.samples, x_axis).without_empty(), total, with_all


def _matching(rows: Rows, query: SampleQuery) -> Rows:
    """The rows that have the keys, with only the columns that are wanted."""
    rows = rows.only(query.columns)
    masks = [rows.columns[key].present() for key in query.deciding if key in rows.columns]
    chosen = together(masks, every=query.inner)
    if chosen is None or (query.inner and len(masks) < len(query.deciding)):
        return NONE
    return rows.filter(chosen)


def _count_with_all(rows: Rows, keys: Sequence[str]) -> int:
    if any(key not in rows.columns for key in keys):
        return 0
    chosen = together([rows.columns[key].present() for key in keys], every=True)
    return rows.length if chosen is None else int(chosen.sum())
