"""Reading the histories of many runs in one go: a few are fetched at once, and given one after the other.

Fetching goes to the store (`Reading.prepare`), giving comes from it. So a run is given whole, as soon as all its rows
are there; what goes wrong with its server shows before its first row; and a reader that does not read costs what one
run's reader costs, while no more runs are fetched than those few.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.history.choose import portions
from runtapd.history.fetch import PAGE_ROWS
from runtapd.history.table import STEP
from runtapd.model.paths import RunPath
from runtapd.reads.histories import HistoryReads
from runtapd.reads.partitions import Partition
from runtapd.reads.reading import Batch, HistoryQuery, Reading
from runtapd.reads.rosters import Roster
from runtapd.reads.samples import Sample, SampleQuery, sample_of
from runtapd.reads.standing import Standing
from runtapd.upstream.api import Waits

AT_ONCE = 4
"""Runs fetched at once; as many more may lie ready."""
OF_A_RUN = (faults.UpstreamFault, faults.NotFound, faults.NotInCache, faults.PreconditionFailed)
"""What concerns a single run and stops no others."""


@dataclass(frozen=True, slots=True)
class ManyQuery:
    """Which rows of each run."""

    keys: tuple[str, ...] = ()
    inner: bool = False
    samples: int = 0
    """Most rows of each run; 0: all."""
    x_axis: str = STEP
    """What samples are spread over."""

    def sample(self, path: RunPath) -> SampleQuery:
        """For one run, where a sample is wanted."""
        return SampleQuery(path, self.keys, self.inner, samples=self.samples, x_axis=self.x_axis)

    def of(self, path: RunPath) -> HistoryQuery:
        """What is read of one run."""
        if self.samples:
            return self.sample(path).asked
        return HistoryQuery(path, self.keys, self.inner, page_rows=PAGE_ROWS)


@dataclass(frozen=True, slots=True)
class OfRun:
    """Some rows of one run, or why there are no more of them."""

    path: str
    batch: Batch | faults.Fault
    done: int
    """Runs of which all was given or told."""
    total: int | None
    """How many runs there are, as far as that is known."""

    @property
    def ends(self) -> bool:
        """Whether this is the last one of its run."""
        return isinstance(self.batch, faults.Fault) or not self.batch.rows.length


@dataclass(frozen=True, slots=True)
class _Ready:
    """A run that can be given."""

    path: str
    what: Reading | faults.Fault


class ManyHistories:
    """Answers questions about the histories of many runs."""

    def __init__(self, histories: HistoryReads) -> None:
        self._histories = histories

    async def read(
        self, part: Partition, roster: Roster, query: ManyQuery, wishes: Wishes, waits: Waits
    ) -> AsyncGenerator[OfRun, None]:
        """Yields the rows of all runs of a roster, those of each together, the last one without rows."""
        ready: asyncio.Queue[_Ready | Exception | None] = asyncio.Queue(AT_ONCE)

        async def fetch() -> None:
            try:
                while (turn := await roster.next()) is not None:
                    await ready.put(await self._prepared(part, *turn, query, wishes, waits))
                await ready.put(None)
            except Exception as error:  # noqa: BLE001  # the top of a task: the reader raises it
                await ready.put(error)

        fetching = [asyncio.create_task(fetch()) for _ in range(AT_ONCE)]
        ended = done = 0
        try:
            while ended < len(fetching):
                one = await ready.get()
                if isinstance(one, Exception):
                    raise one
                if one is None:
                    ended += 1
                    continue
                done += 1
                async with aclosing(_given(one, query)) as batches:
                    async for batch in batches:
                        of_run = OfRun(one.path, batch, done - 1, roster.total)
                        yield OfRun(one.path, batch, done, roster.total) if of_run.ends else of_run
        finally:
            for task in fetching:
                task.cancel()
            await asyncio.gather(*fetching, return_exceptions=True)

    async def _prepared(
        self,
        part: Partition,
        path: str,
        found: Standing | faults.Fault,
        query: ManyQuery,
        wishes: Wishes,
        waits: Waits,
    ) -> _Ready:
        if isinstance(found, faults.Fault):
            return _Ready(path, found)
        try:
            reading = await self._histories.reading(part, query.of(found.path), found, None, wishes, waits)
            await reading.prepare()
        except OF_A_RUN as fault:
            return _Ready(path, fault)
        return _Ready(path, reading)


async def _given(ready: _Ready, query: ManyQuery) -> AsyncGenerator[Batch | faults.Fault, None]:
    """Yields the rows of one run, and at last a batch without rows or what went wrong."""
    if isinstance(ready.what, faults.Fault):
        yield ready.what
        return
    try:
        if query.samples:
            sampling = query.sample(ready.what.query.path)
            for batch in await _batches(await sample_of(ready.what.batches(), sampling)):
                yield batch
            return
        async with aclosing(ready.what.batches()) as batches:
            async for batch in batches:
                yield batch
    except OF_A_RUN as fault:
        yield fault


async def _batches(sample: Sample) -> list[Batch]:
    """A sample as `HistoryReads.read` gives rows."""
    like = Batch(total=sample.rows.length, exact=sample.exact, freshness=sample.freshness)
    batches, done, groups = list[Batch](), 0, await asyncio.to_thread(portions, sample.rows)
    for group, sets in enumerate(groups):
        done += sets[0].length
        batches += replace(like, done=done, group=group).of(sets)
    end = replace(like, total=done, done=done, group=len(groups), unknown_keys=sample.unknown_keys)
    return [*batches, end]
