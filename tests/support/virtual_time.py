"""Time that only exists on paper: a loop whose waiting costs nothing, on which everything happens in one fixed order.

Whatever sleeps or waits with a deadline does so in the loop's time, which jumps to the next thing to do. Work for
threads is done at once and its result delivered a little later, so that what awaits it is interrupted as in real life,
but the same way each time. A story that waits for something that nothing will ever do fails instead of hanging.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")
HOP_S = 0.004
"""The longest a thread takes to hand over its result."""


class _Jumping(selectors.SelectSelector):
    """Waits by moving the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits for something that nobody does")
        self.now += max(0.0, timeout)
        return super().select(0)


class PaperLoop(asyncio.SelectorEventLoop):
    """An event loop in a time of its own."""

    def __init__(self, seed: str) -> None:
        self._jumping = _Jumping()
        self._chance = random.Random(seed)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        delivered: asyncio.Future[T] = self.create_future()
        try:
            # One that belongs to somebody is asked through its own queue, behind what was asked of it before.
            result = func(*args) if executor is None else executor.submit(func, *args).result()
        except Exception as error:  # noqa: BLE001 - delivered as a thread would
            self._later(_set, delivered, error, None)
        else:
            self._later(_set, delivered, None, result)
        return delivered

    def _later(self, what: Callable[..., None], *args: Any) -> None:
        self.call_later(self._chance.uniform(0.0, HOP_S), what, *args)


def _set(delivered: asyncio.Future[Any], error: Exception | None, result: Any) -> None:
    if delivered.done():
        return
    if error is not None:
        delivered.set_exception(error)
    else:
        delivered.set_result(result)


def run_on_paper(story: Callable[[], Awaitable[T]], seed: str) -> T:
    """Runs a story to its end on a loop of its own."""

    async def told() -> T:
        return await story()

    with asyncio.Runner(loop_factory=lambda: PaperLoop(seed)) as runner:
        return runner.run(told())


class WallClock:
    """What the daemon takes for the time of day. Can be set; remembers every moment at which it was."""

    def __init__(self, moment: Callable[[], float], start: float = 1000.0) -> None:
        self._moment = moment
        self._offsets = [(moment(), start)]

    def __call__(self) -> float:
        return self._moment() + self._offsets[-1][1]

    def step(self, seconds: float) -> None:
        """Sets it forward, or back."""
        self._offsets.append((self._moment(), self._offsets[-1][1] + seconds))

    def moments_since(self, told: float, end: float) -> list[tuple[float, float]]:
        """All stretches of true time up to `end` in which it showed `told` or later."""
        stretches = []
        ends = [moment for moment, _ in self._offsets[1:]] + [end]
        for (begin, offset), until in zip(self._offsets, ends, strict=True):
            start = max(begin, told - offset - 1e-6)
            if start <= min(until, end):
                stretches.append((start, min(until, end)))
        return stretches
