"""Identical requests in flight are one: whoever asks for the same thing waits for the same task.

Cancelling one caller, or its time running out, ends its wait only; the task is cancelled when nobody waits any more.
Lives on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from runtapd.faults import UpstreamTimeout
from runtapd.upstream.api import Wait

T = TypeVar("T")
_GRACE_S = 0.1
"""A flight whose time ran out together with its waiter's has this long to say what it met."""


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    wait: Wait
    begun_at: float
    waiters: int = 0


class Flights(Generic[T]):
    """The requests under way, by what they ask."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def join(
        self, key: Hashable, wait: Wait, start: Callable[[Wait], Awaitable[T]], *, not_before: float = 0.0
    ) -> T:
        """Returns what the request for `key` brings, starting it when none is under way that began late enough.

        Raises UpstreamTimeout at the waiter's own deadline, however long others are prepared to wait.
        """
        flight = self._flights.get(key)
        if flight is None or flight.begun_at < not_before or flight.task.cancelled():
            flight = self._begun(key, Wait(wait.deadline, wait.urgency), start)
        elif flight.task.done():
            # It ends in this very moment and is still to land. Whoever asks in a loop would find it here for ever, and
            # keep the loop from landing it.
            await asyncio.sleep(0)
            return flight.task.result()
        else:
            flight.wait.join(wait)
        flight.waiters += 1
        try:
            async with asyncio.timeout_at(wait.deadline + _GRACE_S):
                return await asyncio.shield(flight.task)
        except TimeoutError as error:
            raise UpstreamTimeout("the server did not answer in time") from error
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                # Whoever comes next starts anew rather than waiting for a task that is being cancelled.
                if self._flights.get(key) is flight:
                    del self._flights[key]
                flight.task.cancel()

    def _begun(self, key: Hashable, shared: Wait, start: Callable[[Wait], Awaitable[T]]) -> _Flight[T]:
        flight = _Flight(asyncio.ensure_future(start(shared)), shared, self._clock())
        self._flights[key] = flight
        flight.task.add_done_callback(lambda done: self._land(key, flight))
        return flight

    def _land(self, key: Hashable, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.task.cancelled():
            flight.task.exception()  # looked at here, so that nobody complains when all waiters have left
