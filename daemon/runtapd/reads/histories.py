"""Reading the history of one run: which rows, from where, in portions that fit a message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.history import fetch
from runtapd.history.columns import ColumnData, columns_of
from runtapd.history.rows import Row, choose
from runtapd.model.freshness import Freshness, Source
from runtapd.model.paths import RunPath
from runtapd.model.run import Record
from runtapd.reads.partitions import Partition
from runtapd.reads.runs import RunReads
from runtapd.upstream.api import Waits

LARGEST_BATCH = 3 * 2**19
"""Bytes of cells, roughly, that one message may carry."""
_ALWAYS = ("_step", "_runtime", "_timestamp")


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


@dataclass(slots=True)
class Batch:
    """A portion of rows as columns, or the end of the stream."""

    columns: list[ColumnData] = field(default_factory=list)
    rows: int = 0
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
        record = (await self._runs.run(part, query.path, wishes, waits())).record
        if resume is not None:
            _check_unchanged(resume, record)
        freshness = Freshness(self._clock(), Source.UPSTREAM)
        reader = _Reader(part, query, record, freshness, waits)
        async for batch in reader.batches(resume):
            yield batch


class _Reader:
    """One read under way."""

    def __init__(
        self, part: Partition, query: HistoryQuery, record: Record, freshness: Freshness, waits: Waits
    ) -> None:
        self.part, self.query, self.record, self.freshness, self.waits = part, query, record, freshness, waits
        self.missing = dict.fromkeys(query.keys)
        self.done = 0
        self.group = 0
        self.exact = True
        self.total = record.history_line_count if not query.keys and not query.system else None

    async def batches(self, resume: Position | None) -> AsyncIterator[Batch]:
        if resume is not None:
            self.done = resume.rows_done
        async for rows, next_step in self._pages(resume):
            for key in [k for k in self.missing if any(k in row for row in rows)]:
                del self.missing[key]
            portions = await asyncio.to_thread(portion, rows, self.query.keys)
            for i, columns in enumerate(portions):
                self.done += len(columns[0][0].values)
                behind = next_step if i == len(portions) - 1 else None
                for batch in self._group(columns, behind):
                    yield batch
        yield Batch(
            done=self.done,
            total=self.total if self.total is not None else self.done,
            group=self.group,
            exact=self.exact,
            unknown_keys=tuple(self.missing),
            freshness=self.freshness,
        )

    def _group(self, columns: list[list[ColumnData]], next_step: int | None) -> list[Batch]:
        """Makes the messages of one row group; only the last of a page can be resumed behind."""
        group, self.group = self.group, self.group + 1
        batches = [
            Batch(
                part,
                rows=len(part[0].values),
                total=self.total,
                done=self.done,
                group=group,
                group_end=i == len(columns) - 1,
                exact=self.exact,
                freshness=self.freshness,
            )
            for i, part in enumerate(columns)
        ]
        if next_step is not None:
            lines = self.record.history_line_count or 0
            batches[-1].resume = Position(next_step, self.record.storage_id, lines, self.done)
        return batches

    async def _pages(self, resume: Position | None) -> AsyncIterator[tuple[list[Row], int | None]]:
        """Yields chosen rows by page, with the step behind each page where the stream can be resumed there."""
        query = self.query
        if query.system:
            rows, self.exact = await fetch.system(self.part.upstream, query.path, waits=self.waits)
            yield self._chosen(rows)[-query.last_rows :], None
            return
        begin = resume.next_step if resume else query.min_step or 0
        end = (self.record.last_step if self.record.last_step is not None else -1) + 1
        end = end if query.max_step is None else min(end, query.max_step)
        if query.last_rows:
            yield await self._tail(begin, end), None
            return
        async for rows, behind in self._steps(begin, end):
            if chosen := self._chosen(rows):
                yield chosen, behind

    async def _tail(self, begin: int, end: int) -> list[Row]:
        """Returns the last rows of a range, looking back twice as far until there are enough."""
        width = self.query.last_rows
        while True:
            start = max(begin, end - width)
            rows = [row async for page, _ in self._steps(start, end) for row in self._chosen(page)]
            if len(rows) >= self.query.last_rows or start == begin:
                return rows[-self.query.last_rows :]
            width *= 4

    def _steps(self, begin: int, end: int) -> AsyncIterator[tuple[list[Row], int]]:
        return fetch.steps(
            self.part.upstream,
            self.query.path,
            begin=begin,
            end=end,
            line_count=self.record.history_line_count,
            page_rows=self.query.page_rows,
            waits=self.waits,
        )

    def _chosen(self, rows: list[Row]) -> list[Row]:
        if not self.query.keys:
            return rows
        always = _ALWAYS if self.query.system else ("_step",)
        return choose(rows, self.query.keys, inner=self.query.inner, always=always)


def _check_unchanged(resume: Position, record: Record) -> None:
    if resume.storage_id != record.storage_id or (record.history_line_count or 0) < resume.line_count:
        raise faults.PreconditionFailed(
            f"the history of {record.path} was rewritten since this stream began; read it again from the start",
            reason="HISTORY_REWRITTEN",
        )


def portion(rows: Sequence[Row], keys: Sequence[str]) -> list[list[list[ColumnData]]]:
    """Cuts rows into row groups, and each group into sets of columns, so that every set fits a message."""
    if not rows:
        return []
    columns = columns_of(rows, order=keys)
    if not columns:
        return []  # rows without a single key
    if len(rows) > 1 and _bytes(columns) > LARGEST_BATCH:
        middle = len(rows) // 2
        return portion(rows[:middle], keys) + portion(rows[middle:], keys)
    return [_by_bytes(columns)]


def _by_bytes(columns: list[ColumnData]) -> list[list[ColumnData]]:
    """Cuts one row group into sets of columns; `_step` leads each."""
    step, sets, size = columns[:1], [columns[:1]], 0
    for column in columns[1:]:
        needed = _bytes([column])
        if size and size + needed > LARGEST_BATCH:
            sets.append(list(step))
            size = 0
        sets[-1] = [*sets[-1], column]
        size += needed
    return sets


def _bytes(columns: Sequence[ColumnData]) -> int:
    return sum(
        sum(len(v) * 4 if isinstance(v, str) and not v.isascii() else len(v) for v in column.values if v)
        if column.kind.value in ("string", "json")
        else 9 * len(column.values)
        for column in columns
    )
