"""How fast one account may send to its server: decisions only, with a clock from outside. `turns.py` does the waiting.

Three things bound it. A *pause* is what Retry-After asks for; nothing is sent inside it. A *window* is what
RateLimit-Remaining and RateLimit-Reset tell. Where a server tells nothing, a *pace* is learnt from its refusals: none
at first, halved by each 429, grown back slowly. Interactive requests may use all that is left of a window and run ahead
of a pace; bulk ones are spread, so that an interactive one hardly ever finds nothing left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runtapd.upstream import retry
from runtapd.upstream.api import Urgency

OWN_PAUSE_S = 1.0
"""After a 429 that does not say how long to wait."""
HEARD_WITHIN_S = 0.5
"""Limiters refuse at once: what has not been answered for so long has most likely been let through."""
GOOD_FOR_ONE_REFUSAL = 50
"""While a server says nothing of its limits, each further request at once is paid for by so many that went well: when
the limit is met, all that are under way may be refused."""
SLOWEST_RATE = 0.5
"""Requests a second; slower than this only because a server says so."""
ENOUGH_GOOD = 5
"""A server that refuses before it has answered so often may have been busy with others: once, that tells no rate."""
IDLE_S = 5.0
INTERACTIVE_AHEAD = 4
"""So many requests more may an interactive one find under way, and so many beats may it run ahead of the pace."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the head of an answer tells about limits."""

    status: int
    remaining: float | None = None
    reset_s: float | None = None
    retry_after_s: float | None = None

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], wall_now: float) -> Told:
        """Reads headers, their names in lower case; what cannot be understood was not told."""
        remaining, reset_s = (_number(headers.get(f"ratelimit-{name}")) for name in ("remaining", "reset"))
        if remaining is None or reset_s is None or reset_s > retry.LONGEST_PAUSE_S:
            remaining = reset_s = None
        pause = retry.retry_after(headers.get("retry-after"), wall_now) if retry.may_retry(status) else None
        return cls(status, remaining, reset_s, pause)


def _number(header: str | None) -> float | None:
    try:
        value = float(header or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


@dataclass(slots=True)
class _Window:
    """What a server has told: so many requests until then."""

    remaining: float = 0.0
    ends_at: float = -math.inf
    most: float = 0.0
    """The most that was ever left: about the limit."""
    sent_at: float = 0.0

    def told(self, now: float, remaining: float, reset_s: float, uncounted: int) -> None:
        """Takes in a report; `uncounted` requests are under way that it may not include."""
        ends_at = now + reset_s
        self.most = max(self.most, remaining)
        # The end moves a little with each answer's way through the network, and on when a new window begins.
        if now >= self.ends_at or ends_at > self.ends_at + max(0.1, reset_s / 4):
            self.remaining, self.ends_at = remaining - uncounted, ends_at
        else:
            self.remaining = min(self.remaining, remaining)

    def sent(self, now: float) -> None:
        self.remaining -= 1
        self.sent_at = now

    def ready_at(self, now: float, urgency: Urgency) -> float:
        """While the window lasts. Bulk has the first half for itself as fast as it likes, the rest evenly."""
        if self.remaining < 1:
            return self.ends_at
        if urgency is Urgency.INTERACTIVE or self.remaining > self.most / 2:
            return now
        return self.sent_at + (self.ends_at - self.sent_at) / self.remaining


@dataclass(slots=True)
class _Pace:
    """What is learnt from refusals alone."""

    rate: float = math.inf
    """Requests a second."""
    ceiling: float = math.inf
    """About the rate at which the server last refused."""
    good: int = 0
    """Answers since the last refusal."""
    refused_at: float = -math.inf
    _due: float = -math.inf
    _sent_at: float = -math.inf
    _epoch: float = -math.inf
    _epoch_good: int = 0
    _refusals: int = 0

    @property
    def at_once(self) -> int:
        """How many requests may be under way unanswered."""
        price = GOOD_FOR_ONE_REFUSAL if self.ceiling == math.inf else 4 * GOOD_FOR_ONE_REFUSAL
        return 1 + self.good // price

    def sent(self, now: float) -> None:
        if now - self._sent_at > IDLE_S:
            self._epoch, self._epoch_good = now, 0  # a rate over hours of silence says nothing
        self._sent_at = now
        self._due = max(self._due + 1 / self.rate, now)

    def ready_at(self, urgency: Urgency) -> float:
        ahead = INTERACTIVE_AHEAD / self.rate if urgency is Urgency.INTERACTIVE else 0.0
        return self._due - ahead

    def passed(self) -> None:
        """Grows back: soon to near the rate that was refused, slowly past it, and faster when nothing happens there."""
        self.good += 1
        self._epoch_good += 1
        if self.rate < math.inf:
            near = 0.9 * self.ceiling <= self.rate <= 1.1 * self.ceiling
            self.rate += self.ceiling * (0.001 if near else 0.02)

    def refused(self, now: float, sent_at: float, pause_s: float) -> None:
        """Halves the rate at which the server was asked; once for all that were under way together."""
        if sent_at <= self.refused_at:
            return
        self._refusals += 1
        span = max(now - self._epoch, 0.001) + pause_s
        if self._epoch_good >= ENOUGH_GOOD or self._refusals > 1:
            self.ceiling = max(SLOWEST_RATE, min(self.rate, max(1, self._epoch_good) / span))
            self.rate = max(SLOWEST_RATE, self.ceiling / 2)
        self.refused_at, self.good, self._epoch_good = now, 0, 0
        self._epoch = self._due = now + pause_s


@dataclass
class Budget:
    """When the next request of an account may be sent."""

    clock: Callable[[], float]
    paused_by: int = 429
    """The status that came with the pause; 503 speaks of the server's health, not of this account's limits."""
    _paused_until: float = -math.inf
    _window: _Window | None = None
    _silent: bool = False
    """True when answers come that tell nothing of limits."""
    _pace: _Pace = field(default_factory=_Pace)
    _unheard: dict[int, float] = field(default_factory=dict)
    """When the requests were sent whose answers have not begun, by number."""
    _sent: int = 0

    @property
    def paused_s(self) -> float:
        """For how long nothing may be sent at all."""
        return max(0.0, self._paused_until - self.clock())

    @property
    def limited(self) -> bool:
        """True when it is the server's limits that requests wait for, rather than its answers."""
        in_window = self._window is not None and self.clock() < self._window.ends_at
        return in_window or self._pace.rate < math.inf or self.paused_s > 0

    def ready_at(self, urgency: Urgency) -> float:
        """Returns the earliest moment at which a request may be sent, as far as can be said before the next answer."""
        now = self.clock()
        window = self._window
        if window is not None and now < window.ends_at:
            at = window.ready_at(now, urgency)
        elif self._silent:
            at = self._room_at(now, self._pace.at_once, INTERACTIVE_AHEAD, urgency)
        else:
            # Nothing is known of the limit now: one request finds out, and an interactive one need not wait for it.
            at = self._room_at(now, 1, 1, urgency)
        return max(at, self._paused_until, self._pace.ready_at(urgency))

    def _room_at(self, now: float, most: int, ahead: int, urgency: Urgency) -> float:
        if urgency is Urgency.INTERACTIVE:
            most += ahead
        recent = self._recent(now)
        return now if len(recent) < most else recent[-most] + HEARD_WITHIN_S

    def _recent(self, now: float) -> list[float]:
        return [sent_at for sent_at in self._unheard.values() if sent_at > now - HEARD_WITHIN_S]

    def sent(self) -> int:
        """Notes a request; returns its number."""
        now = self.clock()
        self._sent += 1
        self._unheard[self._sent] = now
        self._pace.sent(now)
        if self._window is not None:
            self._window.sent(now)
        return self._sent

    def ended(self, number: int) -> None:
        """Notes that a request is over, with or without an answer."""
        self._unheard.pop(number, None)

    def heard(self, number: int, told: Told) -> None:
        """Takes in the head of an answer."""
        now = self.clock()
        sent_at = self._unheard.pop(number, now)
        if told.remaining is not None and told.reset_s is not None:
            self._window, self._silent = self._window or _Window(sent_at=sent_at), False
            self._window.told(now, told.remaining, told.reset_s, len(self._recent(now)))
        elif told.status == 200 and (self._window is None or now >= self._window.ends_at):
            self._window, self._silent = None, True
        if told.retry_after_s is not None:
            self._pause(now, max(retry.SHORTEST_PAUSE_S, told.retry_after_s), told.status)
        if told.status == 429:
            self._refused(now, sent_at, told)
        elif told.status < 400:
            self._pace.passed()

    def _refused(self, now: float, sent_at: float, told: Told) -> None:
        if told.reset_s and told.remaining is not None and told.remaining < 1:
            return  # the window is used up, which says until when; the pace is not to blame
        if told.retry_after_s is None:
            self._pause(now, OWN_PAUSE_S, told.status)
        self._pace.refused(now, sent_at, self._paused_until - now)

    def _pause(self, now: float, seconds: float, status: int) -> None:
        if now + seconds > self._paused_until:
            self._paused_until, self.paused_by = now + seconds, status
