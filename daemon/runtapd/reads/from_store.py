"""Rows from the store, while it is brought up to date or as it is; what ends there early goes on from the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from runtapd import faults
from runtapd.history.choose import Choice
from runtapd.history.growth import Told
from runtapd.history.kept import Kept, needed
from runtapd.history.table import NONE, Rows
from runtapd.model.freshness import Freshness
from runtapd.model.paths import RunPath
from runtapd.reads.from_server import Direct
from runtapd.reads.partitions import Partition
from runtapd.reads.stored import Unkept, row_of_step, stored_rows
from runtapd.reads.supplies import Range, Resumed, Stretch, last
from runtapd.reads.syncing import Sync
from runtapd.upstream.api import Waits

ALL = 2**62


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
        step, passed = self._last
        self._onward = Direct(
            part=self.part,
            path=self.path,
            waits=waits,
            freshness=self.freshness,
            told=self._sync.told if self._sync else Told.when(self.kept.mark),
            range=Range(step, self.range.max_step),
            passed=passed,
        )
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
        if self._sync is not None and (held := self._sync.unstored.behind(row)) is not None:
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
