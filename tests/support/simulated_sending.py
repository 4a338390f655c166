"""Many senders, one budget and a limiter, in a time that only exists on paper: hours of sending take milliseconds."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from runtapd.upstream.api import Urgency
from runtapd.upstream.budget import Budget, Told
from tests.support.limited_upstream import Limiter, Verdict


@dataclass
class Simulation:
    """Sends through a budget to a limiter; every answer takes `latency_s`."""

    limiter: Limiter | None
    latency_s: float = 0.01
    tells: bool = True
    tells_pause: bool = True
    now: float = 0.0
    sent: list[tuple[float, Urgency, bool]] = field(default_factory=list)
    """When, how urgent, and whether it was let through."""
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.budget = Budget(lambda: self.now)

    @property
    def refused(self) -> int:
        return sum(not allowed for _, _, allowed in self.sent)

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def run(self, requests: int, *, senders: int = 8) -> None:
        """Lets `senders` send `requests` in all, each its next one when it has an answer; ends when all are done."""
        left = requests

        def send() -> None:
            nonlocal left
            if left > 0:
                left -= 1
                self.request(Urgency.BULK, send)

        for _ in range(senders):
            self.at(self.now, send)
        while self._events:
            self.now, _, what = heapq.heappop(self._events)
            what()

    def request(self, urgency: Urgency, done: Callable[[], None]) -> None:
        """Sends one request, again and again until it is let through."""
        ready_at = self.budget.ready_at(urgency)
        if ready_at > self.now:
            # As the loop does: what was told meanwhile may bring the moment nearer.
            wake = min(ready_at, self.now + self.latency_s / 4)
            self.at(max(wake, self.now + 1e-6), lambda: self.request(urgency, done))
            return
        number, verdict = self.budget.sent(), None
        if self.limiter is not None:
            verdict = self.limiter.judge(self.now + self.latency_s / 2)
        self.sent.append((self.now, urgency, verdict is None or verdict.allowed))
        self.at(self.now + self.latency_s, lambda: self._answered(number, verdict, urgency, done))

    def _answered(
        self, number: int, verdict: Verdict | None, urgency: Urgency, done: Callable[[], None]
    ) -> None:
        self.budget.heard(number, self._told(verdict))
        self.budget.ended(number)
        if verdict is None or verdict.allowed:
            done()
        else:
            self.request(urgency, done)

    def _told(self, verdict: Verdict | None) -> Told:
        if verdict is None:
            return Told(200)
        remaining, reset_s = (float(verdict.remaining), verdict.reset_s) if self.tells else (None, None)
        pause = None if verdict.allowed or not self.tells_pause else verdict.retry_after_s
        return Told(200 if verdict.allowed else 429, remaining, reset_s, pause)
