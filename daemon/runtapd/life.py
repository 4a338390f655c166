"""The daemon's life as one small state machine: serving, then draining, once and for good.

Owns the moment of the turn: after it no call is admitted, the info file is gone, and everybody who waits for
`draining` knows. Deciding and turning happen on the loop without an await in between, so a call that arrives at that
moment is either served in full or refused; none is half accepted. Does no waiting: `app.py` does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from runtapd.faults import Draining
from runtapd.limits import Ledger, OpenCall

DEFAULT_GRACE_S = 5.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ending:
    """Why and how the daemon ends."""

    reason: str
    """`idle`, `shutdown`, `signal`, `replaced`, `environment-gone`, or a word of whoever asked."""
    grace_s: float


class Life:
    """Lets calls in while the daemon serves, and turns to draining when asked."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        idle_exit_s: float,
        sendable_writes: Callable[[], int],
        withdraw: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ledger = ledger
        self.ending: Ending | None = None
        self.draining = asyncio.Event()
        self._idle_exit_s = idle_exit_s
        self._sendable_writes = sendable_writes
        self._withdraw = withdraw
        self._clock = clock

    def admit(self, client: str, method: str, *, streaming: bool, passive: bool) -> OpenCall:
        """Lets a call in, or raises Draining or Busy."""
        if self.ending is not None:
            raise draining_fault()
        return self.ledger.enter(client, method, streaming=streaming, passive=passive)

    def drain(self, reason: str, grace_s: float = DEFAULT_GRACE_S) -> bool:
        """Turns to draining; returns False if that had already happened.

        The info file goes first: whoever is told of the end may start a successor at once.
        """
        if self.ending is not None:
            return False
        self.ending = Ending(reason, grace_s)
        self._withdraw()
        self.draining.set()
        log.info("draining", extra={"reason": reason, "grace_s": grace_s})
        return True

    def idle_left_s(self) -> float | None:
        """Seconds until the daemon ends for idleness if nothing happens; None while it does not wait to."""
        if (
            not self._idle_exit_s
            or self.ending is not None
            or self.ledger.in_use()
            or self._sendable_writes()
        ):
            return None
        return max(0.0, self.ledger.last_use + self._idle_exit_s - self._clock())

    def drain_if_idle(self) -> bool:
        """Ends the daemon if it has been idle for long enough."""
        return self.idle_left_s() == 0.0 and self.drain("idle")

    def tasks_in_use(self) -> list[asyncio.Task[object]]:
        """The tasks of the open calls that count as use."""
        calls = self.ledger.open_calls()
        return [call.task for call in calls if call.task is not None and not call.passive]

    def cut_off_open_calls(self) -> list[asyncio.Task[object]]:
        """Ends every open call with DAEMON_DRAINING; returns the tasks that are telling so."""
        tasks = []
        for call in self.ledger.open_calls():
            call.cut_off = True
            if call.task is not None:
                call.task.cancel()
                tasks.append(call.task)
        return tasks


def draining_fault() -> Draining:
    """What a call is told that comes too late."""
    return Draining("the daemon is shutting down; connect again, which finds or starts the next one")
