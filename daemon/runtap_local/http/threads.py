"""The threads in which requests are worked off, shared so that nobody can keep all of them."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

T = TypeVar("T")
_ALL: Final = 8
_EACH: Final = 4


class Threads:
    """A few threads. Whoever asks for more than half of them at once waits, and lets others pass."""

    def __init__(self) -> None:
        self._all: anyio.CapacityLimiter | None = None
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def run(self, work: Callable[[], T], who: str = "") -> T:
        """Do work that takes time; ``who`` is anything that tells people apart, or empty."""
        if self._all is None:
            self._all = anyio.CapacityLimiter(_ALL)
        if not who:
            return await anyio.to_thread.run_sync(work, limiter=self._all)
        turns = self._turns.get(who)
        if turns is None:
            turns = self._turns[who] = asyncio.Semaphore(_EACH)
        async with turns:
            return await anyio.to_thread.run_sync(work, limiter=self._all)
