"""Whose turn it is: the requests of one account, waiting on the loop, interactive ones ahead of bulk ones.

A turn needs two things: that the budget lets a request go (`budget.py`), and a connection of its class, so that bodies
that drip never hold up the other class. Waiting ends at the waiter's deadline, when it is cancelled, or at once when
the server has asked for a pause longer than the waiter has time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runtapd import faults
from runtapd.upstream.api import Urgency, Wait
from runtapd.upstream.budget import Budget, Told

CONNECTIONS: Mapping[Urgency, int] = {Urgency.INTERACTIVE: 48, Urgency.BULK: 8}
"""How many requests of a class one account may have under way, bodies included. Interactive ones are small, and each
has somebody waiting for it: those whose bodies drip should leave room for others."""


@dataclass(slots=True)
class _Waiter:
    wait: Wait
    since: float
    turn: asyncio.Future[Turn]


@dataclass(slots=True)
class Turn:
    """The right to send one request; to be ended."""

    urgency: Urgency
    number: int
    _turns: Turns

    def heard(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer has begun; tells what its head says."""
        self._turns.heard(self.number, Told.of(status, headers, time.time()))

    def end(self) -> None:
        """The connection is free again."""
        self._turns.ended(self)


@dataclass
class Turns:
    """Hands out the turns of one account. Lives on the loop."""

    server: str
    connections: Mapping[Urgency, int] = field(default_factory=lambda: CONNECTIONS)
    clock: Callable[[], float] = time.monotonic
    _waiting: list[_Waiter] = field(default_factory=list)
    _busy: dict[Urgency, int] = field(default_factory=lambda: dict.fromkeys(Urgency, 0))
    _timer: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self._budget = Budget(self.clock)

    async def take(self, wait: Wait) -> Turn:
        """Waits for a turn. Raises RateLimited where limits make that too long, UpstreamUnavailable where a server
        in trouble asked for a pause, UpstreamTimeout where it leaves others unanswered; what `dismiss` was given."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(wait, self.clock(), loop.create_future())
        self._waiting.append(waiter)
        wait.on_join.append(self._pump)
        try:
            self._pump()
            while not waiter.turn.done():
                left = wait.deadline - loop.time()
                if left <= 0:
                    raise self._too_late(waiter)
                await asyncio.wait([waiter.turn], timeout=left)
            return waiter.turn.result()
        except asyncio.CancelledError:
            if waiter.turn.done() and waiter.turn.exception() is None:
                waiter.turn.result().end()  # it came, but nobody is there to use it
            raise
        finally:
            wait.on_join.remove(self._pump)
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def dismiss(self, fault: faults.Fault) -> None:
        """Sends all who wait away. What the server asked for still holds for those who come later."""
        for waiter in self._waiting:
            waiter.turn.set_exception(fault)
        self._waiting.clear()

    def heard(self, number: int, told: Told) -> None:
        """Takes in the head of an answer; what it says may let others go, or hold them."""
        self._budget.heard(number, told)
        self._pump()

    def ended(self, turn: Turn) -> None:
        """Takes a turn back."""
        self._busy[turn.urgency] -= 1
        self._budget.ended(turn.number)
        self._pump()

    def held_back(self) -> str:
        """Says, for people, what requests wait for; empty when nothing is held back by limits."""
        waiting = f"; {len(self._waiting)} requests wait" if self._waiting else ""
        if self._budget.paused_s:
            return f"has asked for a pause of another {self._budget.paused_s:.0f} s{waiting}"
        return f"limits the rate{waiting}" if self._waiting and self._budget.limited else ""

    def _pump(self) -> None:
        """Hands out all turns that can be had now, and comes back when the next one can."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._send_away()
        for urgency in (Urgency.INTERACTIVE, Urgency.BULK):
            for waiter in [waiter for waiter in self._waiting if waiter.wait.urgency is urgency]:
                if self._busy[urgency] >= self.connections[urgency]:
                    break
                left = self._budget.ready_at(urgency) - self.clock()
                if left > 0:
                    # Nobody behind goes first: what an interactive request waits for, no bulk one may take.
                    self._timer = asyncio.get_running_loop().call_later(left, self._pump)
                    return
                self._waiting.remove(waiter)
                self._busy[urgency] += 1
                waiter.turn.set_result(Turn(urgency, self._budget.sent(), self))

    def _send_away(self) -> None:
        """Lets those go whose time ends inside the pause."""
        pause = self._budget.paused_s
        for waiter in list(self._waiting):
            if pause and waiter.wait.deadline - self.clock() <= pause:
                self._waiting.remove(waiter)
                waiter.turn.set_exception(self._paused(pause))

    def _too_late(self, waiter: _Waiter) -> faults.UpstreamFault:
        waited = self.clock() - waiter.since
        if self._budget.limited and self._busy[waiter.wait.urgency] < self.connections[waiter.wait.urgency]:
            return self._limited(max(0.0, self._budget.ready_at(waiter.wait.urgency) - self.clock()))
        busy = sum(self._busy.values())
        return faults.UpstreamTimeout(
            f"{self.server} has left {busy} earlier requests of this account unanswered; this one was not sent within "
            f"{waited:.1f} s",
            metadata={"server": self.server},
        )

    def _paused(self, seconds: float) -> faults.UpstreamFault:
        status = self._budget.paused_by
        kind = faults.RateLimited if status == 429 else faults.UpstreamUnavailable
        return kind(
            f"{self.server} answered HTTP {status} and asked for a pause, of which {seconds:.1f} s are left; that is "
            f"longer than this request can wait",
            metadata={"server": self.server, "http_status": str(status)},
            retry_after_s=seconds,
        )

    def _limited(self, seconds: float) -> faults.RateLimited:
        return faults.RateLimited(
            f"{self.server} limits how often this account may ask: the next request can be sent in {seconds:.1f} s, "
            f"which is later than this one can wait",
            metadata={"server": self.server},
            retry_after_s=seconds,
        )
