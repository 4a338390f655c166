"""Identical requests in flight are one: whoever asks for the same thing waits for the same task.

Cancelling one caller ends its wait only; the task is cancelled when nobody waits any more. Lives on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from runtapd.upstream.api import Wait

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    wait: Wait
    waiters: int = 0


class Flights(Generic[T]):
    """The requests under way, by what they ask."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def join(self, key: Hashable, wait: Wait, start: Callable[[Wait], Awaitable[T]]) -> T:
        """Returns what the request for `key` brings, starting it when it is not under way."""
        flight = self._flights.get(key)
        if flight is None:
            shared = Wait(wait.deadline, wait.urgency)
            flight = _Flight(asyncio.ensure_future(start(shared)), shared)
            self._flights[key] = flight
            flight.task.add_done_callback(lambda done: self._land(key, done))
        else:
            flight.wait.join(wait)
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                # Whoever comes next starts anew rather than waiting for a task that is being cancelled.
                if self._flights.get(key) is flight:
                    del self._flights[key]
                flight.task.cancel()

    def _land(self, key: Hashable, done: asyncio.Task[T]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is done:
            del self._flights[key]
        if not done.cancelled():
            done.exception()  # looked at here, so that nobody complains when all waiters have left
