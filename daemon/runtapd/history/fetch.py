"""Fetching all rows of a step range from a server that only ever answers "about so many rows".

A range is proven complete when fewer rows came than were asked for, or when it has no more steps than that; otherwise
the server may have sampled, and a smaller range is asked for. Gaps cost nothing: ranges grow while rows are sparse.
Rows that are large are asked for fewer at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from runtapd.history.rows import Row, parse_rows
from runtapd.model.paths import RunPath
from runtapd.upstream.api import Upstream, Waits

PAGE_ROWS = 1000
PAGE_BYTES = 4 * 2**20
"""About how many bytes of rows one answer may bring, once it is known how large they are."""
SYSTEM_ROWS = 10_000
BEYOND_ALL_STEPS = 2**53
"""Behind every step, where a server does not say which is the last."""


@dataclass(frozen=True, slots=True)
class Window:
    """How many steps to ask for next, and how many rows at most."""

    steps: int
    rows: int

    @staticmethod
    def first(begin: int, end: int, line_count: int | None, page_rows: int) -> Window:
        """Guesses from how dense the rows are: as many steps as should hold a little less than a page."""
        steps = max(1, end - begin)
        if not line_count:
            return Window(steps, page_rows)
        return Window(
            max(_proven(page_rows), min(steps, steps * page_rows * 9 // (line_count * 10))), page_rows
        )

    def after(self, rows: int) -> Window:
        """Adapts to the number of rows the last complete range held."""
        if rows * 4 < self.rows:
            return Window(self.steps * 4, self.rows)
        if rows * 2 < self.rows:
            return Window(self.steps * 2, self.rows)
        return self

    def narrower(self) -> Window:
        """After an answer that may be a sample. Below a page of steps no answer can be one."""
        return Window(max(_proven(self.rows), self.steps // 4), self.rows)

    def with_rows_of(self, mean_bytes: int, page_rows: int) -> Window:
        """Asks for fewer rows when they are large, and for more again when they are not."""
        rows = max(1, min(page_rows, PAGE_BYTES // max(1, mean_bytes)))
        return self if rows == self.rows else Window(max(1, self.steps * rows // self.rows), rows)


def _proven(rows: int) -> int:
    """Returns the steps that are complete whatever the server does, when so many rows are asked for."""
    return max(1, rows - 1)


async def steps(
    upstream: Upstream,
    path: RunPath,
    *,
    begin: int,
    end: int,
    line_count: int | None,
    page_rows: int,
    waits: Waits,
) -> AsyncIterator[tuple[list[Row], int]]:
    """Yields the rows with begin <= _step < end in order, each page with the step behind it."""
    window = Window.first(begin, end, line_count, page_rows)
    while begin < end:
        stop = min(end, begin + window.steps)
        texts = await upstream.history(path, min_step=begin, max_step=stop, samples=window.rows, wait=waits())
        if len(texts) >= window.rows and stop - begin > len(texts) and stop - begin > _proven(window.rows):
            window = window.narrower()
            continue
        count, size = len(texts), sum(map(len, texts))
        rows = await parse_rows(texts)
        del texts
        yield [row for row in rows if begin <= row.get("_step", begin) < stop], stop
        begin = stop
        window = window.after(count)
        if count:
            window = window.with_rows_of(size // count, page_rows)


async def system(upstream: Upstream, path: RunPath, *, waits: Waits) -> tuple[list[Row], bool]:
    """Returns the rows of system metrics, and whether they are all there are."""
    texts = await upstream.events(path, samples=SYSTEM_ROWS, wait=waits())
    return await parse_rows(texts), len(texts) < SYSTEM_ROWS
