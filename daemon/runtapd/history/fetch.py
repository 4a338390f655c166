"""Fetching all rows of a step range from a server that only ever answers "about so many rows".

A range is proven complete when fewer rows came than were asked for, or one for every step; otherwise the server may
have sampled, and a smaller range is asked for. Gaps cost nothing, because ranges grow while rows are sparse.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from runtapd.history.rows import Row, parse_rows
from runtapd.model.paths import RunPath
from runtapd.upstream.api import Upstream, Waits

PAGE_ROWS = 1000
SYSTEM_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Window:
    """How many steps to ask for next."""

    steps: int

    @staticmethod
    def first(begin: int, end: int, line_count: int | None, page_rows: int) -> Window:
        """Guesses from how dense the rows are: as many steps as should hold a little less than a page."""
        steps = max(1, end - begin)
        if not line_count:
            return Window(steps)
        return Window(max(page_rows - 1, min(steps, int(steps / line_count * page_rows * 0.9))))

    def after(self, rows: int, page_rows: int) -> Window:
        """Adapts to the number of rows the last complete range held."""
        if rows * 4 < page_rows:
            return Window(self.steps * 4)
        if rows * 2 < page_rows:
            return Window(self.steps * 2)
        return self

    def narrower(self, page_rows: int) -> Window:
        """After an answer that may be a sample. Below a page of steps no answer can be one."""
        return Window(max(page_rows - 1, self.steps // 4))


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
        texts = await upstream.history(path, min_step=begin, max_step=stop, samples=page_rows, wait=waits())
        if len(texts) >= page_rows and stop - begin > len(texts) and stop - begin >= page_rows:
            window = window.narrower(page_rows)
            continue
        rows = await parse_rows(texts)
        yield [row for row in rows if begin <= row.get("_step", begin) < stop], stop
        begin = stop
        window = window.after(len(texts), page_rows)


async def system(upstream: Upstream, path: RunPath, *, waits: Waits) -> tuple[list[Row], bool]:
    """Returns the rows of system metrics, and whether they are all there are."""
    texts = await upstream.events(path, samples=SYSTEM_ROWS, wait=waits())
    return await parse_rows(texts), len(texts) < SYSTEM_ROWS
