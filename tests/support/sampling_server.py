"""The history of one run as servers give it: a sample of what was asked for, and worse; every request noted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

from runtapd.faults import Fault
from runtapd.history import fetch
from runtapd.history.rows import Row
from runtapd.model.paths import RunPath
from runtapd.upstream.api import UNBOUNDED, Bounds, Wait
from tests.support.history_rows import plain_rows

PATH = RunPath("team", "vision", "r1")
Asked = tuple[int, int, int]
"""The first step, the step behind the last, and how many rows at most."""


class Server:
    """Rows of one run, sampled when more than asked for match; `cap` never gives more."""

    def __init__(self, rows: list[Row], cap: int = 10**9, over: float = 0.0) -> None:
        self.rows, self.cap, self.over = rows, cap, over
        self.asked: list[Asked] = []
        self.fails: Callable[[Asked, int], Fault | None] = lambda asked, found: None
        """What becomes of a request for so many rows."""
        self.open = asyncio.Event()
        """Answers wait for it."""
        self.open.set()
        self.under_way = 0
        self.cancelled = 0
        self.most_requests = 500

    async def history(
        self,
        path: RunPath,
        *,
        min_step: int,
        max_step: int,
        samples: int,
        wait: Wait,
        bounds: Bounds = UNBOUNDED,
    ) -> Sequence[str]:
        self.asked.append((min_step, max_step, samples))
        assert len(self.asked) < self.most_requests, "this does not end"
        found = [row for row in self.rows if min_step <= row["_step"] < max_step]
        self.under_way += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if (fault := self.fails(self.asked[-1], len(found))) is not None:
            raise fault
        return [json.dumps(row) for row in self._sampled(found, min(samples, self.cap))]

    async def events(
        self, path: RunPath, *, samples: int, wait: Wait, bounds: Bounds = UNBOUNDED
    ) -> Sequence[str]:
        self.asked.append((0, 0, samples))
        if (fault := self.fails(self.asked[-1], len(self.rows))) is not None:
            raise fault
        return [json.dumps(row) for row in self._sampled(self.rows, min(samples, self.cap))]

    def _sampled(self, rows: list[Row], samples: int) -> list[Row]:
        if len(rows) <= samples:
            return rows
        samples = min(len(rows), int(samples * (1 + self.over)))
        return [rows[i * len(rows) // samples] for i in range(samples)]

    @property
    def end(self) -> int:
        return self.rows[-1]["_step"] + 1 if self.rows else 0

    def pages(
        self, *, page_rows: int | None = None, counted: bool = True, begin: int = 0, end: int | None = None
    ) -> fetch.Pages:
        return fetch.steps(
            self,  # type: ignore[arg-type]  # of Upstream, what histories need
            PATH,
            begin=begin,
            end=self.end if end is None else end,
            line_count=len(self.rows) if counted else None,
            page_rows=page_rows,
            waits=lambda: Wait(0.0),
        )

    def fetched(
        self, *, page_rows: int | None = None, counted: bool = True, end: int | None = None
    ) -> list[Row]:
        """Everything, as it comes; the pages must follow each other."""

        async def all_rows() -> list[Row]:
            rows: list[Row] = []
            behind = 0
            async for page, stop in self.pages(page_rows=page_rows, counted=counted, end=end):
                assert stop > behind
                assert all(behind <= step < stop for step in page.steps.tolist())
                rows += plain_rows(page)
                behind = stop
            assert behind == (self.end if end is None else end)
            return rows

        return asyncio.run(all_rows())


def rows_at(*steps: int) -> list[Row]:
    """One row at each of these steps."""
    return [{"_step": step, "loss": 1 / (step + 1)} for step in steps]
