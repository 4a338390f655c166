"""Fetching all rows of a step range from a server that only ever answers "about so many rows".

A range is proven complete when fewer rows came than were asked for, and only then, because several rows may share a
step. Otherwise the server may have sampled, and a smaller range is asked for (the sample itself tells where the rows
lie), or more rows of a single step. Ranges grow while rows are sparse, so that gaps cost next to nothing. Rows that are
large are asked for fewer at a time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from runtapd.history.columns import parse_rows
from runtapd.history.table import Rows
from runtapd.model.paths import RunPath
from runtapd.upstream.api import Upstream, Waits

PAGE_ROWS = 1000
PAGE_BYTES = 4 * 2**20
"""About how many bytes of rows one answer may bring, once it is known how large they are."""
SYSTEM_ROWS = 10_000
MOST_ROWS_OF_A_STEP = 100_000
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
            max(1, page_rows - 1, min(steps, steps * page_rows * 9 // (line_count * 10))), page_rows
        )

    def after(self, rows: int) -> Window:
        """Adapts to the number of rows the last complete range held."""
        if not rows:
            return Window(self.steps * 64, self.rows)  # a gap; going too far costs a request or two
        if rows * 4 < self.rows:
            return Window(self.steps * 4, self.rows)
        if rows * 2 < self.rows:
            return Window(self.steps * 2, self.rows)
        return self

    def narrower(self, asked: int, found: list[int]) -> Window:
        """After an answer that may be a sample of the rows in `asked` steps; `found` are its steps, from the first one
        asked for on."""
        proven = max(1, self.rows - 1)  # so few steps, at a row each, are no sample
        smallest = proven if asked > proven else 1
        quarter = found[len(found) // 4] + 1 if len(found) > 3 else asked
        # A quarter of the rows, wherever they lie; where the answer does not tell, half the steps.
        steps = quarter if found and quarter <= found[-1] else asked // 2
        return Window(max(smallest, steps), self.rows)

    def with_rows_of(self, mean_bytes: int, page_rows: int) -> Window:
        """Asks for fewer rows when they are large, and for more again when they are not."""
        rows = max(1, min(page_rows, PAGE_BYTES // max(1, mean_bytes)))
        return self if rows == self.rows else Window(max(1, self.steps * rows // self.rows), rows)


async def steps(
    upstream: Upstream,
    path: RunPath,
    *,
    begin: int,
    end: int,
    line_count: int | None,
    page_rows: int,
    waits: Waits,
) -> AsyncGenerator[tuple[Rows, int], None]:
    """Yields the rows with begin <= _step < end in order, each page with the step behind it."""
    page_rows = page_rows or PAGE_ROWS
    window = Window.first(begin, end, line_count, page_rows)
    while begin < end:
        stop = min(end, begin + window.steps)
        samples = max(2, window.rows)  # of one row alone, nobody could say whether it was all
        texts = await upstream.history(path, min_step=begin, max_step=stop, samples=samples, wait=waits())
        rows = (await parse_rows(texts)).between(begin, stop)
        count, size, asked = len(texts), sum(map(len, texts)), stop - begin
        del texts
        if count >= samples and asked > 1:
            window = window.narrower(asked, (rows.steps - begin).tolist() if rows.length else [])
            continue
        if count >= samples and samples < MOST_ROWS_OF_A_STEP:
            window = Window(1, samples * 10)
            continue
        yield rows, stop
        begin = stop
        window = window.after(count)
        if count:
            window = window.with_rows_of(size // count, page_rows)


async def system(upstream: Upstream, path: RunPath, *, waits: Waits) -> tuple[Rows, bool]:
    """Returns the rows of system metrics, and whether they are all there are."""
    texts = await upstream.events(path, samples=SYSTEM_ROWS, wait=waits())
    return await parse_rows(texts), len(texts) < SYSTEM_ROWS
