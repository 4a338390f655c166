"""Where the rows of a history come from: what any source gives, and the server as one, whole or as it samples.

The store is `from_store.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from runtapd.history import fetch
from runtapd.history.choose import Choice, Picked
from runtapd.history.columns import parse_rows
from runtapd.history.growth import Told
from runtapd.history.table import Rows, joined
from runtapd.model.freshness import Freshness
from runtapd.model.paths import RunPath
from runtapd.reads.partitions import Partition
from runtapd.reads.syncing import end_of
from runtapd.upstream.api import Waits

if TYPE_CHECKING:
    from runtapd.history.table import Numbers

Resumed = tuple[str, int, int]
"""The generation of a stored history (empty: none), the place to go on at, and how many rows were seen before."""


@dataclass(frozen=True, slots=True)
class Range:
    """Which part of a history is wanted."""

    min_step: int | None = None
    max_step: int | None = None
    last_rows: int = 0

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
    logged: frozenset[str] = frozenset()
    """The keys asked for that the rows looked at have."""
    first: int | None = None
    """The place of the first row looked at, where each row has one; None where only the end of all has."""
    places: Numbers | None = None
    """How far behind `first` each chosen row lies; None: all rows were chosen."""

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
        whole = not self.range.min_step and self.range.max_step is None
        async with aclosing(self._pages(begin, end)) as pages:
            async for page, behind in pages:
                rows = page.slice(self.passed, page.length)
                self.passed -= page.length - rows.length
                self.seen += rows.length
                picked = await asyncio.to_thread(choice.picked, rows)
                yield Stretch(picked.rows, behind, picked.logged)
                if whole and self.told.last_step is None and self._all_seen():
                    return  # there is no last step to stop at, but all rows have come
        if whole and not self._all_seen():
            self.exact = False  # the server counts more rows than it was ready to give

    def _all_seen(self) -> bool:
        return self.told.line_count is not None and self.seen >= self.told.line_count

    async def _tail(self, choice: Choice, begin: int, end: int) -> Stretch:
        """Returns the last rows of a range, looking back farther until there are enough."""
        wanted = self.range.last_rows
        # As dense as the rows are in all, and a little more.
        width = max(wanted, wanted * (end - begin) * 5 // (4 * max(1, self.told.line_count or end)))
        while True:
            start = max(begin, end - width)
            async with aclosing(self._pages(start, end)) as pages:
                found = [await asyncio.to_thread(choice.picked, page) async for page, _ in pages]
            if sum(one.rows.length for one in found) >= wanted or start == begin:
                return await asyncio.to_thread(end_of_rows, found, wanted)
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
class ServersChoice:
    """Rows from all over a history, as the server chooses them."""

    part: Partition
    path: RunPath
    told: Told
    enough: int
    waits: Waits
    freshness: Freshness
    storage_id: str = ""
    generation: str = ""
    exact: bool = False
    seen: int = 0

    async def prepare(self) -> None:
        """There is nothing to prepare."""

    async def stretches(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        texts = await self.part.upstream.history(
            self.path, min_step=0, max_step=end_of(self.told), samples=self.enough, wait=self.waits()
        )
        yield Stretch(await asyncio.to_thread(choice.of, await parse_rows(texts)), None)


@dataclass
class System:
    """System metrics, as the server samples them."""

    part: Partition
    path: RunPath
    last_rows: int
    waits: Waits
    freshness: Freshness
    storage_id: str = ""
    generation: str = ""
    exact: bool = True
    seen: int = 0

    async def prepare(self) -> None:
        """There is nothing to prepare."""

    async def stretches(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        rows, self.exact = await fetch.system(self.part.upstream, self.path, waits=self.waits)
        yield await asyncio.to_thread(lambda: end_of_rows([choice.picked(rows)], self.last_rows))


def end_of_rows(found: Sequence[Picked], count: int) -> Stretch:
    """The last so many of the chosen rows; 0: all."""
    rows = joined([one.rows for one in found])
    logged = frozenset[str]().union(*(one.logged for one in found))
    return Stretch(rows.slice(rows.length - count, rows.length) if count else rows, None, logged)
