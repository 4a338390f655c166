"""Rows straight from the server, of which nothing is kept: those of a range, or such as the server chooses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from runtapd.history import fetch
from runtapd.history.choose import Choice
from runtapd.history.columns import parse_rows
from runtapd.history.growth import Told
from runtapd.history.table import Rows
from runtapd.model.freshness import Freshness
from runtapd.model.paths import RunPath
from runtapd.reads.partitions import Partition
from runtapd.reads.supplies import Range, Resumed, Stretch, last
from runtapd.upstream.api import Waits


@dataclass(kw_only=True)
class FromServer:
    """What supplies of such rows have in common."""

    part: Partition
    path: RunPath
    waits: Waits
    freshness: Freshness
    storage_id: str = ""
    exact: bool = True
    seen: int = 0

    @property
    def generation(self) -> str:
        """Empty: these rows are not the stored ones."""
        return ""

    async def prepare(self) -> None:
        """There is nothing to prepare."""


@dataclass(kw_only=True)
class Direct(FromServer):
    """The rows of a range."""

    told: Told
    range: Range
    page_rows: int = 0
    """Most rows to ask for at once; 0: as many as go well."""
    passed: int = 0
    """Rows at the beginning of the range that the reader has already."""

    async def stretches(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        begin, end = self.range.min_step or 0, self.told.end
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


@dataclass(kw_only=True)
class ServersChoice(FromServer):
    """Rows from all over a history, as the server chooses them."""

    told: Told
    enough: int
    """About how many."""
    exact: bool = False

    async def stretches(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        texts = await self.part.upstream.history(
            self.path, min_step=0, max_step=self.told.end, samples=self.enough, wait=self.waits()
        )
        picked = await asyncio.to_thread(choice.of, await parse_rows(texts))
        yield Stretch(picked.rows, None, had=picked.had)


@dataclass(kw_only=True)
class System(FromServer):
    """System metrics, as the server samples them."""

    last_rows: int
    """Only so many at the end; 0: all."""

    async def stretches(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        rows, self.exact = await fetch.system(self.part.upstream, self.path, waits=self.waits)
        yield last([await asyncio.to_thread(choice.of, rows)], self.last_rows)
