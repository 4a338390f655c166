"""Where the rows of a history come from: the store, or the server; `chosen.py` has what servers choose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from runtapd import faults
from runtapd.history import fetch
from runtapd.history.choose import Choice, Picked
from runtapd.history.growth import Told
from runtapd.history.kept import Kept, needed
from runtapd.history.table import NONE, Rows, joined
from runtapd.model.freshness import Freshness
from runtapd.model.paths import RunPath
from runtapd.reads.partitions import Partition
from runtapd.reads.stored import Unkept, row_of_step, stored_rows
from runtapd.reads.syncing import Sync, end_of
from runtapd.upstream.api import Waits

if TYPE_CHECKING:
    from runtapd.history.table import Numbers

ALL = 2**62
Resumed = tuple[str, int, int]
"""The generation of a stored history (empty: none), the place to go on at, and how many rows were seen before."""


@dataclass(frozen=True, slots=True)
class Range:
    """Which part of a history is wanted."""

    min_step: int | None = None
    max_step: int | None = None
    last_rows: int = 0

    @property
    def whole(self) -> bool:
        """Whether all rows are wanted."""
        return not (self.min_step or self.max_step is not None or self.last_rows)

    def rows_of(self, told: Told) -> int:
        """Returns about how many rows it has, were they evenly spread."""
        lines, end = told.line_count or 0, end_of(told)
        begin = max(0, self.min_step or 0)
        stop = end if self.max_step is None else max(begin, min(end, self.max_step))
        share = lines * (stop - begin) // max(1, end)
        return min(share, self.last_rows) if self.last_rows else share


@dataclass(frozen=True, slots=True)
class Stretch:
    """Chosen rows that lie together, maybe none, and where a stream goes on behind each of them."""

    rows: Rows
    behind: int | None
    """Where it goes on behind all of them; None: nowhere."""
    first: int | None = None
    """The place of the first row looked at, where each row has one; None where only the end of all has."""
    places: Numbers | None = None
    """How far behind `first` each chosen row lies; None: all rows were chosen."""
    had: frozenset[str] = frozenset()
    """The keys asked for that the rows looked at have, even where none of them was chosen."""

    def place_behind(self, sent: int) -> int | None:
        """Returns where to go on when so many rows have been sent."""
        if sent == self.rows.length:
            return self.behind
        if self.first is None or not sent:
            return None
        return self.first + (sent if self.places is None else int(self.places[sent - 1]) + 1)


class Supply(Protocol):
    """A source of rows. What it tells of itself is right once its stretches have been gone through."""

    @property
    def storage_id(self) -> str:
        """The run's."""

    @property
    def generation(self) -> str:
        """Of the stored history; empty where rows come straight from the server."""

    @property
    def exact(self) -> bool:
        """Whether all rows were given."""

    @property
    def freshness(self) -> Freshness:
        """How fresh they are."""

    @property
    def seen(self) -> int:
        """Rows looked at so far."""

    async def prepare(self) -> None:
        """Returns once all rows are stored, where they are stored at all; raises what went wrong."""

    def stretches(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        """Yields the chosen rows in order."""


@dataclass
class Direct:
    """Rows straight from the server; nothing is kept."""

    part: Partition
    path: RunPath
    told: Told
    range: Range
    page_rows: int
    waits: Waits
    freshness: Freshness
    storage_id: str = ""
    generation: str = ""
    exact: bool = True
    seen: int = 0
    passed: int = 0
    """Rows at the beginning of the range that the reader has already."""

    async def prepare(self) -> None:
        """There is nothing to prepare."""

    async def stretches(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        begin, end = self.range.min_step or 0, end_of(self.told)
        if resumed is not None:
            _, begin, self.seen = resumed
        if self.range.max_step is not None:
            end = min(end, self.range.max_step)
        if self.range.last_rows:
            yield await self._tail(choice, begin, end)
            return
        async with aclosing(self._pages(begin, end)) as pages:
            async for page, behind in pages:
                rows = page.slice(self.passed, page.length)
                self.passed -= page.length - rows.length
                self.seen += rows.length
                picked = await asyncio.to_thread(choice.of, rows)
                yield Stretch(picked.rows, behind, had=picked.had)
                if self.range.whole and self.told.last_step is None and self._all_seen():
                    return  # there is no last step to stop at, but all rows have come
        if self.range.whole and self.told.line_count is not None and not self._all_seen():
            self.exact = False  # the server counts more rows than it was ready to give

    def _all_seen(self) -> bool:
        return self.told.line_count is not None and self.seen >= self.told.line_count

    async def _tail(self, choice: Choice, begin: int, end: int) -> Stretch:
        """Returns the last rows of a range, looking back twice as far until there are enough."""
        wanted = self.range.last_rows
        # As dense as the rows are in all, and a little more.
        width = max(wanted, wanted * (end - begin) * 5 // (4 * max(1, self.told.line_count or end)))
        while True:
            start = max(begin, end - width)
            async with aclosing(self._pages(start, end)) as pages:
                found = [await asyncio.to_thread(choice.of, page) async for page, _ in pages]
            if sum(one.rows.length for one in found) >= wanted or start == begin:
                return await asyncio.to_thread(last, found, wanted)
            width *= 4

    def _pages(self, begin: int, end: int) -> AsyncGenerator[tuple[Rows, int], None]:
        lines = self.told.line_count
        if lines and self.told.last_step:
            lines = max(1, lines * (end - begin) // (self.told.last_step + 1))
        return fetch.steps(
            self.part.upstream,
            self.path,
            begin=begin,
            end=end,
            line_count=lines,
            page_rows=self.page_rows,
            waits=self.waits,
        )


@dataclass
class FromStore:
    """Rows from the store; those that are missing there come from the server meanwhile.

    A history that cannot be kept to its end (no room, a failing disk) goes on straight from the server.
    """

    part: Partition
    path: RunPath
    range: Range
    keys: tuple[str, ...]
    kept: Kept | None
    """What is stored; None until it is known."""
    waits: Waits | None
    """For what has to be fetched; None when the server is not to be asked."""
    freshness: Freshness
    join: Callable[[], Awaitable[Sync]] | None = None
    """Begins to bring it up to date; None when it is."""
    leave: Callable[[Sync], None] = lambda sync: None
    otherwise: Freshness | None = None
    """What to say of what is stored when the server does not answer; None: that is an error."""
    _before: int = 0
    """Rows looked at before the stream was resumed."""
    _seen: int = 0
    """Rows of the store looked at since."""
    _last: tuple[int, int] = (0, 0)
    """The last step that was seen, and how many rows of it."""
    _sync: Sync | None = field(default=None, repr=False)
    _onward: Direct | None = field(default=None, repr=False)
    _lacking: bool = False
    """Whether the server, at the end, had not given all rows that it counts."""

    @property
    def storage_id(self) -> str:
        return self.kept.storage_id if self.kept else ""

    @property
    def generation(self) -> str:
        return self.kept.generation if self.kept and not self._onward else ""

    @property
    def exact(self) -> bool:
        if self._onward is not None:
            return not self._lacking
        return self.kept is None or self.kept.mark.shortfall == 0

    @property
    def seen(self) -> int:
        """Rows looked at so far, in the store and behind it."""
        return self._before + self._seen + (self._onward.seen if self._onward else 0)

    async def prepare(self) -> None:
        if self.join is None:
            return
        self._sync = await self.join()
        try:
            await self._wait_for(ALL)
        finally:
            if self._sync is not None:
                self.leave(self._sync)
                self._sync = None
        self.join = None

    async def stretches(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        self._before = 0 if resumed is None else resumed[2]
        self._sync = await self.join() if self.join is not None else None
        try:
            async with aclosing(self._stored(choice, resumed)) as stretches:
                async for stretch in stretches:
                    yield stretch
            return
        except Unkept:
            if not self._seen or self.waits is None or await self._is_another():
                raise
            if resumed is not None and self._last[1] >= self._seen:
                raise  # rows of this step may have been given before, nobody knows how many
        finally:
            if self._sync is not None:
                self.leave(self._sync)
        onward = self._go_on(self.waits)
        async with aclosing(onward.stretches(choice, None)) as stretches:
            async for stretch in stretches:
                yield stretch
        lines = onward.told.line_count if self.range.whole else None
        self._lacking = lines is not None and self.seen < lines

    async def _stored(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        await self._wait_for(0 if resumed is None else resumed[1] - 1)
        if resumed is not None and self.generation != resumed[0]:
            raise Unkept
        if self.range.last_rows:
            yield await self._tail(choice)
            return
        begin = resumed[1] if resumed is not None else await self._row_of(self.range.min_step or 0)
        async for first, rows in self._rows(begin):
            picked = await asyncio.to_thread(choice.of, rows)
            self._see(rows)
            yield Stretch(picked.rows, first + rows.length, first, picked.places, picked.had)

    def _see(self, rows: Rows) -> None:
        steps, (before, count) = rows.steps, self._last
        step = int(steps[-1])
        self._last = step, int((steps == step).sum()) + (count if step == before else 0)
        self._seen += rows.length

    async def _is_another(self) -> bool:
        """Whether the store has begun another history of the run since: then rows were not as they were stored."""
        storage_id = self.storage_id
        kept = await self.part.histories.read(lambda store: store.kept(storage_id), None)
        return kept is not None and kept.generation != self.generation

    def _go_on(self, waits: Waits) -> Direct:
        """The rows behind those that were seen, straight from the server."""
        assert self.kept is not None
        mark, (step, passed) = self.kept.mark, self._last
        told = (
            self._sync.told
            if self._sync
            else Told(mark.line_count, mark.last_step, mark.heartbeat_at, mark.state)
        )
        rest = Range(step, self.range.max_step, 0)
        self._onward = Direct(self.part, self.path, told, rest, 0, waits, self.freshness, passed=passed)
        return self._onward

    async def _wait_for(self, rows: int) -> None:
        """Waits until there are more rows than so many, or all are there."""
        if self._sync is None:
            return
        try:
            wanted = self._sync.end() if self.range.last_rows else self._sync.more_than(rows)
            kept = await wanted
        except faults.UpstreamFault:
            if self.otherwise is None or self.kept is None or self._seen:
                raise
            self.leave(self._sync)
            self._sync, self.freshness = None, self.otherwise
            return
        if self._seen and kept.generation != self.generation:
            raise Unkept
        self.kept = kept

    async def _rows(self, at: int) -> AsyncGenerator[tuple[int, Rows], None]:
        """Yields stored rows from that one on, each stretch with the number of its first one."""
        while True:
            await self._wait_for(at)
            assert self.kept is not None
            if at >= self.kept.rows:
                return
            rows = await self._rows_from(self.kept, at)
            rows = rows.slice(0, self.kept.rows - at)  # what lies behind is not known to be right yet
            before = rows.between(None, self.range.min_step) if self.range.min_step else NONE
            within = rows.between(self.range.min_step, self.range.max_step)
            if within.length:
                yield at + before.length, within
            if before.length + within.length < rows.length:
                return
            at += rows.length

    async def _rows_from(self, kept: Kept, row: int) -> Rows:
        if self._sync is not None and (held := self._sync.held(row)) is not None:
            return held.only(needed(self.keys)) if self.keys else held
        return await stored_rows(self.part, self.path, kept, row, keys=self.keys, waits=self.waits)

    async def _tail(self, choice: Choice) -> Stretch:
        """Returns the last rows of a range, looking back farther until there are enough."""
        assert self.kept is not None
        wanted = self.range.last_rows
        begin = await self._row_of(self.range.min_step or 0)
        end = self.kept.rows if self.range.max_step is None else await self._row_of(self.range.max_step)
        width = wanted
        while True:
            start = max(begin, end - width)
            found = [
                await asyncio.to_thread(choice.of, rows.slice(0, end - at))
                async for at, rows in self._rows(start)
                if at < end
            ]
            if sum(picked.rows.length for picked in found) >= wanted or start == begin:
                return await asyncio.to_thread(last, found, wanted)
            width *= 4

    async def _row_of(self, step: int) -> int:
        assert self.kept is not None
        return await row_of_step(self.part, self.path, self.kept, step, waits=self.waits)


def last(picked: Sequence[Picked], count: int) -> Stretch:
    """The last so many of the chosen rows, with nothing behind them; 0: all."""
    rows = joined([part.rows for part in picked])
    if not rows.length or not count:
        return Stretch(rows, None, had=frozenset().union(*(part.had for part in picked)))
    rows = rows.slice(rows.length - count, rows.length).without_empty()
    return Stretch(rows, None, had=frozenset(rows.columns))
