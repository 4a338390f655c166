"""Reading the history of one run: which rows, from where, in portions that fit a message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from runtapd import faults
from runtapd.cache.policy import LIVE_STATES, Wishes
from runtapd.history import fetch
from runtapd.history.choose import Choice, portions
from runtapd.history.table import CLOCK, NONE, STEP, Rows, joined
from runtapd.model.freshness import Freshness, Source
from runtapd.model.paths import RunPath
from runtapd.model.run import Record
from runtapd.reads.partitions import Partition
from runtapd.reads.runs import RunReads
from runtapd.upstream.api import Waits

TRUSTED_S = 10.0
"""How long it is believed that a run that has ended has logged nothing more."""


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
    page_rows: int = fetch.PAGE_ROWS


@dataclass(frozen=True, slots=True)
class Position:
    """Where a broken stream goes on."""

    next_step: int
    storage_id: str
    line_count: int
    """Rows the run had when the stream began; a run with fewer has been rewritten."""
    rows_done: int
    rows_seen: int
    """Rows read from the server so far, chosen or not."""
    groups: int
    """Row groups sent so far."""
    missing: tuple[int, ...]
    """Which of the keys asked for no row has had so far."""


@dataclass(slots=True)
class Batch:
    """A portion of rows as columns, or the end of the stream."""

    rows: Rows = NONE
    total: int | None = None
    done: int = 0
    group: int = 0
    group_end: bool = True
    exact: bool = True
    resume: Position | None = None
    unknown_keys: tuple[str, ...] = ()
    freshness: Freshness | None = None


class HistoryReads:
    """Answers questions about histories."""

    def __init__(self, runs: RunReads, clock: Callable[[], float]) -> None:
        self._runs = runs
        self._clock = clock

    async def read(
        self, part: Partition, query: HistoryQuery, resume: Position | None, wishes: Wishes, waits: Waits
    ) -> AsyncIterator[Batch]:
        """Yields the rows in order, and at last a batch without rows that says what was not found."""
        if wishes.cache_only:
            raise faults.NotInCache("histories are not kept yet, so cache_only finds none")
        record = await self._current(part, query.path, wishes, waits)
        if resume is not None:
            _check_unchanged(resume, record)
        freshness = Freshness(self._clock(), Source.UPSTREAM)
        reader = _Reader(part, query, record, freshness, waits)
        async for batch in reader.batches(resume):
            yield batch

    async def _current(self, part: Partition, path: RunPath, wishes: Wishes, waits: Waits) -> Record:
        """Returns the run's record as young as it must be to say where the history ends.

        A run that logs is asked for anew, however fresh its record is otherwise: rows must not be missing without a
        word. One that has ended is trusted for a moment, since it may have been resumed.
        """
        shown = await self._runs.run(part, path, wishes, waits())
        age = self._clock() - shown.record.fetched_at
        if shown.freshness.source is Source.UPSTREAM or (
            shown.record.state not in LIVE_STATES and 0 <= age < TRUSTED_S
        ):
            return shown.record
        return (await self._runs.run(part, path, replace(wishes, max_age_s=0.0), waits())).record


class _Reader:
    """One read under way."""

    def __init__(
        self, part: Partition, query: HistoryQuery, record: Record, freshness: Freshness, waits: Waits
    ) -> None:
        self.part, self.query, self.record, self.freshness, self.waits = part, query, record, freshness, waits
        self.missing = set(query.keys)
        self.done = 0
        self.seen = 0
        self.group = 0
        self.exact = True
        self.lines = record.history_line_count
        self.whole = not (query.system or query.last_rows or query.min_step or query.max_step is not None)
        self.total = self.lines if self.whole and not query.keys else None

    async def batches(self, resume: Position | None) -> AsyncIterator[Batch]:
        if resume is not None:
            self.done, self.seen, self.group = resume.rows_done, resume.rows_seen, resume.groups
            self.missing = {self.query.keys[i] for i in resume.missing}
        async for rows, next_step in self._pages(resume):
            self.missing -= rows.columns.keys()
            groups = await asyncio.to_thread(portions, rows)
            groups.reverse()
            while groups:
                sets = groups.pop()
                self.done += sets[0].length
                for batch in self._group(sets, None if groups else next_step):
                    yield batch
        if self.whole and self.lines is not None and self.seen < self.lines:
            self.exact = False  # the server counts more rows than it was ready to give
        yield Batch(
            done=self.done,
            total=self.done,
            group=self.group,
            exact=self.exact,
            unknown_keys=tuple(key for key in self.query.keys if key in self.missing),
            freshness=self.freshness,
        )

    def _group(self, sets: list[Rows], next_step: int | None) -> list[Batch]:
        """Makes the messages of one row group; only the last of a page can be resumed behind."""
        group, self.group = self.group, self.group + 1
        batches = [
            Batch(
                rows,
                total=self.total,
                done=self.done,
                group=group,
                group_end=i == len(sets) - 1,
                exact=self.exact,
                freshness=self.freshness,
            )
            for i, rows in enumerate(sets)
        ]
        if next_step is not None:
            batches[-1].resume = Position(
                next_step=next_step,
                storage_id=self.record.storage_id,
                line_count=self.lines or 0,
                rows_done=self.done,
                rows_seen=self.seen,
                groups=self.group,
                missing=tuple(i for i, key in enumerate(self.query.keys) if key in self.missing),
            )
        return batches

    async def _pages(self, resume: Position | None) -> AsyncIterator[tuple[Rows, int | None]]:
        """Yields chosen rows by page, with the step behind each page where the stream can be resumed there."""
        query = self.query
        if query.system:
            rows, self.exact = await fetch.system(self.part.upstream, query.path, waits=self.waits)
            chosen = await asyncio.to_thread(self._chosen, rows)
            yield _last(chosen, query.last_rows), None
            return
        begin = resume.next_step if resume else query.min_step or 0
        end = self._end()
        if query.last_rows:
            yield await self._tail(begin, end), None
            return
        async for rows, behind in self._steps(begin, end):
            self.seen += rows.length
            if (chosen := await asyncio.to_thread(self._chosen, rows)).length:
                yield chosen, behind
            if self._all_seen():
                return

    def _end(self) -> int:
        """Returns the step behind the last one wanted."""
        if self.record.last_step is not None:
            end = self.record.last_step + 1
        else:
            # No history keys, and still rows: older servers and runs just begun. Their steps must be searched for.
            end = 0 if self.lines == 0 else fetch.BEYOND_ALL_STEPS
        return end if self.query.max_step is None else min(end, self.query.max_step)

    def _all_seen(self) -> bool:
        """True when there is no last step to stop at, but all rows have come."""
        return (
            self.record.last_step is None
            and self.whole
            and self.lines is not None
            and self.seen >= self.lines
        )

    async def _tail(self, begin: int, end: int) -> Rows:
        """Returns the last rows of a range, looking back twice as far until there are enough."""
        # As dense as the rows are in all, and a little more.
        width = max(
            self.query.last_rows, self.query.last_rows * (end - begin) * 5 // (4 * max(1, self.lines or end))
        )
        while True:
            start = max(begin, end - width)
            pages = [await asyncio.to_thread(self._chosen, page) async for page, _ in self._steps(start, end)]
            if sum(page.length for page in pages) >= self.query.last_rows or start == begin:
                return _last(await asyncio.to_thread(joined, pages), self.query.last_rows)
            width *= 4

    def _steps(self, begin: int, end: int) -> AsyncIterator[tuple[Rows, int]]:
        lines = self.lines
        if lines and self.record.last_step:
            lines = max(1, lines * (end - begin) // (self.record.last_step + 1))
        return fetch.steps(
            self.part.upstream,
            self.query.path,
            begin=begin,
            end=end,
            line_count=lines,
            page_rows=self.query.page_rows,
            waits=self.waits,
        )

    def _chosen(self, rows: Rows) -> Rows:
        always = (STEP, *CLOCK) if self.query.system else (STEP,)
        return Choice(self.query.keys, self.query.inner, always).of(rows)


def _last(rows: Rows, count: int) -> Rows:
    return rows.slice(rows.length - count, rows.length) if count else rows


def _check_unchanged(resume: Position, record: Record) -> None:
    if resume.storage_id != record.storage_id or (record.history_line_count or 0) < resume.line_count:
        raise faults.PreconditionFailed(
            f"the history of {record.path} was rewritten since this stream began; read it again from the start",
            reason="HISTORY_REWRITTEN",
        )
