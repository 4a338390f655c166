"""Fetching all rows of a step range from a server that only ever answers "about so many rows".

The range is kept as a row of pieces: those that were asked for, and what is still open between and behind them. While
one page is parsed and handed on, the next is under way; several are where rows lie evenly. A piece whose answer may be
a sample, or that failed, is opened again and cut smaller, and what was asked for behind it stays. `windows.py` decides
how large pieces are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from typing import Any

from runtapd import faults
from runtapd.history.columns import parse_rows
from runtapd.history.table import Rows
from runtapd.history.windows import MOST_ROWS, Windows, is_smallest
from runtapd.model.paths import RunPath
from runtapd.upstream.api import UNBOUNDED, Bounds, Upstream, Waits

PAGE_ROWS = 0
"""Pages as large as the daemon finds best."""
MOST_ROWS_OF_A_STEP = 100_000
Pages = AsyncGenerator[tuple[Rows, int], None]
AT_ONCE = 4
AHEAD_BYTES = 8 * 2**20
"""How much may be asked for ahead of what has been handed on."""
_BOUNDS = Bounds(most_bytes=16 * 2**20, tries=2, within_s=20.0, lets_flow=True)
"""When a page is given up for smaller ones; the smallest is waited for as long as the caller does."""
_FAILING = (faults.UpstreamUnavailable, faults.UpstreamTimeout, faults.InvalidAnswer)
"""What a page may meet because of its size."""
_LIKELY_CEILINGS = frozenset((100, 200, 500, 1000, 1500, 2000, 2500, 5000))
"""Rows that servers are set to give at most in one answer."""


@dataclass(slots=True, eq=False)
class _Piece:
    """Some of the steps; open while they are not asked for."""

    begin: int
    stop: int
    samples: int = 0
    """How many rows were asked for at most."""
    fewest: int = 0
    """How many rows must be asked for, of a step that has more than were asked for before."""
    widest: int = 0
    """Through how many steps it may be asked for, where more were too many; 0: any number."""
    task: asyncio.Task[None] | None = None
    count: int | None = None
    """How many rows its answer has."""
    size: int = 0
    """Bytes of its answer."""
    found: Rows | None = None
    whole: bool = False
    """Whether the rows found are surely all."""

    @property
    def steps(self) -> int:
        return self.stop - self.begin

    @property
    def open(self) -> bool:
        return self.task is None

    @property
    def under_way(self) -> bool:
        return self.task is not None and self.count is None

    @property
    def at_work(self) -> bool:
        """Whether it is being asked for, or what has come is being parsed."""
        return self.task is not None and not self.task.done()

    def is_dense(self) -> bool:
        """Whether there is exactly one row at each step."""
        if self.found is None or self.found.length != self.steps:
            return False
        steps = self.found.steps
        return bool(steps[0] == self.begin and (steps[1:] - steps[:-1] == 1).all())


def steps(
    upstream: Upstream,
    path: RunPath,
    *,
    begin: int,
    end: int,
    line_count: int | None,
    page_rows: int | None,
    waits: Waits,
) -> Pages:
    """Yields the rows with begin <= _step < end in order, each page with the step behind it.

    `line_count` is how many rows there should be, as far as is known; `page_rows` how many rows to ask for at most.
    Closing the iterator ends the requests under way. Rows that cannot be read are left out, see `rows.py`.
    """
    return _Fetch(upstream, path, begin, end, line_count, page_rows, waits).pages()


class _Fetch:
    """One range being read."""

    def __init__(
        self,
        upstream: Upstream,
        path: RunPath,
        begin: int,
        end: int,
        line_count: int | None,
        page_rows: int | None,
        waits: Waits,
    ) -> None:
        self._upstream, self._path, self._waits = upstream, path, waits
        self._lines = line_count
        self._evenly = bool(line_count) and (line_count or 0) <= end - begin
        """Whether there may be a row at each step, and no more."""
        self._windows = Windows(begin, end, line_count, page_rows)
        self._pieces = [_Piece(begin, end)] if begin < end else []
        self._given = 0
        """Rows that the answers had of the pieces that were handed on."""
        self._readable = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._checking = False
        self._fault: BaseException | None = None
        self._news = asyncio.Event()

    async def pages(self) -> Pages:
        try:
            while self._pieces:
                self._go_on()
                first = self._pieces[0]
                if first.whole and first.found is not None:
                    del self._pieces[0]
                    self._given += first.count or 0
                    if not self._all_seen():
                        self._go_on()
                    yield first.found, first.stop
                elif self._fault is not None and not first.at_work:
                    raise self._fault  # behind all that had come before it, also what is still being parsed
                else:
                    self._news.clear()
                    await self._news.wait()
            _check_readable(self._given, self._readable)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        self._fault = self._fault or fault  # the first one is raised, behind the pages that are there
        self._news.set()

    # What to do next

    def _go_on(self) -> None:
        """Asks for what may be asked for now, and sees to it that the first piece can be handed on."""
        while self._fault is None and self._pieces and self._may_ask():
            place = next((i for i, piece in enumerate(self._pieces) if piece.open), None)
            if place is None:
                break
            self._ask_for(place)
        self._prove_first()

    def _may_ask(self) -> bool:
        asked = [piece for piece in self._pieces if not piece.open]
        under_way = sum(piece.under_way for piece in asked)
        if self._pieces[0].open:
            return under_way < AT_ONCE  # whatever has come behind it, this is what the reader waits for
        rows, size = self._windows.expected
        ahead = sum(piece.size for piece in asked) + under_way * size
        if len(asked) >= AT_ONCE or ahead + size > AHEAD_BYTES or self._looks_capped():
            return False
        if self._lines and self._seen() + under_way * rows >= self._lines:
            return False  # about all that there is
        return not under_way or (self._windows.steady and self._windows.settled)

    def _seen(self) -> int:
        return self._given + sum(piece.count or 0 for piece in self._pieces)

    def _all_seen(self) -> bool:
        return self._lines is not None and self._seen() == self._lines

    def _looks_capped(self) -> bool:
        """Whether the next answer has about as many rows as the first one, which nothing proves yet."""
        first, *others = self._pieces
        if first.whole or first.found is None or not first.count:
            return False
        counts = (piece.count for piece in others if piece.count is not None and not piece.whole)
        return any(9 * first.count <= 10 * count <= 11 * first.count for count in counts)

    def _ask_for(self, place: int) -> None:
        piece = self._pieces[place]
        stop, samples = self._windows.cut(piece.begin, piece.stop)
        if piece.widest:
            stop = min(stop, piece.begin + piece.widest)
        samples = max(samples, piece.fewest)
        if stop < piece.stop:
            self._pieces.insert(place + 1, _Piece(stop, piece.stop))
            piece.stop = stop
        piece.samples = samples
        piece.task = self._start(self._ask(piece))

    def _reopen(self, piece: _Piece) -> None:
        """The piece is to be asked for again in narrower ones, together with what is open behind it."""
        piece.task, piece.count, piece.size, piece.found = None, None, 0, None
        piece.widest = self._windows.width
        place = self._pieces.index(piece) + 1
        if place < len(self._pieces) and self._pieces[place].open:
            piece.stop = self._pieces.pop(place).stop

    # One piece

    async def _ask(self, piece: _Piece) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        last = is_smallest(piece.steps, piece.samples)
        try:
            texts = await self._request(
                piece.begin, piece.stop, piece.samples, UNBOUNDED if last else _BOUNDS
            )
        except _FAILING:
            if last or piece.fewest:
                raise
            self._windows.failed(piece.steps, piece.samples)
            self._reopen(piece)
            return
        piece.count, piece.size = len(texts), sum(map(len, texts))
        came = piece.samples, piece.count, piece.size, clock() - began
        if piece.steps > 1 and self._windows.may_be_sample(piece.samples, piece.count):
            self._windows.heard(*came)
        else:
            self._windows.whole(piece.steps, *came)
            self._go_on()  # the next page is under way while this one is parsed
        parsed = await parse_rows(texts)
        self._readable += parsed.length
        rows = parsed.between(piece.begin, piece.stop)
        if piece.steps == 1:
            self._take_step(piece, rows)
        else:
            self._take(piece, rows)

    def _take_step(self, piece: _Piece, rows: Rows) -> None:
        """Takes in the rows of a single step, all of them or all that can be had."""
        if piece.samples <= (piece.count or 0) and piece.samples < MOST_ROWS_OF_A_STEP:
            piece.fewest = min(MOST_ROWS_OF_A_STEP, piece.samples * 10)
            piece.task, piece.count, piece.size = None, None, 0
            return
        piece.found, piece.whole = rows, True

    def _take(self, piece: _Piece, rows: Rows) -> None:
        piece.found, count = rows, piece.count or 0
        if self._windows.may_be_sample(piece.samples, count):
            self._narrow(piece, rows)
            return
        self._windows.self_evident = self._evenly and piece.is_dense()
        piece.whole = self._windows.self_evident or self._windows.shows_whole(count)

    def _narrow(self, piece: _Piece, rows: Rows) -> None:
        self._windows.sampled(piece.steps, piece.samples, (rows.steps - piece.begin).tolist())
        self._reopen(piece)

    async def _request(self, begin: int, stop: int, samples: int, bounds: Bounds) -> list[str]:
        return list(
            await self._upstream.history(
                self._path, min_step=begin, max_step=stop, samples=samples, wait=self._waits(), bounds=bounds
            )
        )

    # Servers with a ceiling of their own

    def _prove_first(self) -> None:
        """Looks for a proof that the first piece is whole, and counts its rows again when there is none."""
        first = self._pieces[0] if self._pieces else None
        if first is None or first.found is None or first.whole or self._checking:
            return
        if self._windows.shows_whole(first.count or 0) or self._all_seen():
            first.whole = True
        elif not self._proof_may_come():
            self._checking = True
            self._start(self._check(first, first.found))

    def _proof_may_come(self) -> bool:
        """Whether what is asked for anyway may prove the first piece: a larger page, or the number of all rows."""
        rows, _ = self._windows.expected
        if self._windows.settled and self._lines and self._seen() + rows * AT_ONCE < self._lines:
            return False
        if any(piece.under_way for piece in self._pieces):
            return True
        return any(piece.open for piece in self._pieces) and self._may_ask()

    async def _check(self, piece: _Piece, found: Rows) -> None:
        """Counts the rows of a piece in two halves: where answers have a ceiling, these hold more together."""
        at = found.steps
        middle = min(max(int(at[len(at) // 2]) if len(at) else 0, piece.begin + 1), piece.stop - 1)
        count, lower, upper = piece.count or 0, 0, 0
        lower = len(await self._request(piece.begin, middle, piece.samples, UNBOUNDED))
        if lower <= count:
            upper = len(await self._request(middle, piece.stop, piece.samples, UNBOUNDED))
        self._checking = False
        if lower + upper <= count:
            piece.whole = True
            return
        self._windows.met_ceiling(min([count] + [half for half in (lower, upper) if half * 10 >= count * 9]))
        for other in reversed([other for other in self._pieces if not other.whole]):
            if other.found is not None and self._windows.may_be_sample(other.samples, other.count or 0):
                self._narrow(other, other.found)


async def system(upstream: Upstream, path: RunPath, *, waits: Waits) -> tuple[Rows, bool]:
    """Returns the rows of system metrics, and whether they are all there are.

    Servers sample this stream and cannot be asked for a part of it, so that nothing can be counted twice: rows are
    taken for all only when there are fewer than were asked for, and not as many as a ceiling would let through.
    """
    samples = MOST_ROWS
    while True:
        bounds = _BOUNDS if samples > 10 else UNBOUNDED
        try:
            texts = await upstream.events(path, samples=samples, wait=waits(), bounds=bounds)
        except _FAILING:
            if samples <= 10:
                raise
            samples //= 4
            continue
        rows, count = await parse_rows(texts), len(texts)
        _check_readable(count, rows.length)
        return rows, count < samples and count not in _LIKELY_CEILINGS


def _check_readable(count: int, readable: int) -> None:
    """Raises InvalidAnswer when there were rows, and not one that could be read: that is no history."""
    if count and not readable:
        raise faults.InvalidAnswer(f"none of {count} rows is a JSON object with a whole number as its step")
