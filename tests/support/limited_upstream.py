"""A scripted upstream that limits how often it may be asked, by a fixed window or a token bucket, and tells or not.

Each account (key) has a limit of its own. It notes every request with whether it was let through, and every request
that came inside a pause the server had asked for.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

from tests.support.upstream import Request, ScriptedUpstream
from tests.support.upstream_faults import Status, UpstreamFailure
from tests.support.upstream_http import GraphQLHandler

ON_ITS_WAY_S = 0.25
"""Requests that were under way when a pause was asked for are not to blame; a busy machine is slow to hear of it."""


@dataclass(frozen=True)
class Verdict:
    """What a limiter says to one request."""

    allowed: bool
    remaining: int
    reset_s: float
    retry_after_s: float


class Limiter(Protocol):
    """Counts the requests of one account."""

    def judge(self, now: float) -> Verdict:
        """Counts a request that comes now."""


@dataclass
class FixedWindow:
    """So many requests in each stretch of time; the first begins with the first request."""

    limit: int
    window_s: float
    _ends_at: float = -math.inf
    _used: int = 0

    def judge(self, now: float) -> Verdict:
        if now >= self._ends_at:
            missed = 0 if self._ends_at == -math.inf else (now - self._ends_at) // self.window_s
            begun = now if self._ends_at == -math.inf else self._ends_at + missed * self.window_s
            self._ends_at, self._used = begun + self.window_s, 0
        left = self._ends_at - now
        if self._used >= self.limit:
            return Verdict(False, 0, left, left)
        self._used += 1
        return Verdict(True, self.limit - self._used, left, left)


@dataclass
class TokenBucket:
    """So many requests a second, and a store of them for bursts."""

    rate: float
    size: int
    _tokens: float = -1.0
    _at: float = 0.0

    def judge(self, now: float) -> Verdict:
        tokens = (
            self.size if self._tokens < 0 else min(self.size, self._tokens + (now - self._at) * self.rate)
        )
        allowed = tokens >= 1
        self._tokens, self._at = tokens - allowed, now
        full_in = (self.size - self._tokens) / self.rate
        return Verdict(allowed, int(self._tokens), full_in, max(0.0, 1 - self._tokens) / self.rate)


@dataclass
class Arrival:
    """One request as the limiter saw it."""

    at: float
    operation: str
    key: str
    allowed: bool
    in_pause: bool
    """It came although the server had asked for a pause, long enough before for its answer to have arrived."""


class _Telling(GraphQLHandler):
    """Says in each answer how much of the limit is left."""

    owner: LimitedUpstream

    def end_headers(self) -> None:
        verdict = self.owner.verdict()
        if verdict is not None and self.owner.tells:
            self.send_header("RateLimit-Remaining", str(verdict.remaining))
            self.send_header("RateLimit-Reset", f"{verdict.reset_s:.4f}")
        super().end_headers()


@dataclass
class LimitedUpstream(ScriptedUpstream):
    """Give each key a limiter in `limiters`; a key without one is not limited."""

    limiters: dict[str, Limiter] = field(default_factory=dict)
    tells: bool = True
    """Answers carry RateLimit-Remaining and RateLimit-Reset."""
    arrivals: list[Arrival] = field(default_factory=list)
    _judging: threading.Lock = field(default_factory=threading.Lock)
    _pauses: dict[str, tuple[float, float]] = field(default_factory=dict)
    _verdict: threading.local = field(default_factory=threading.local)
    _handler = _Telling

    def take(self, request: Request) -> UpstreamFailure | None:
        failure = super().take(request)
        limiter = self.limiters.get(request.key)
        with self._judging:
            now = time.monotonic()
            verdict = self._verdict.last = limiter.judge(now) if limiter else None
            allowed = verdict is None or verdict.allowed
            asked_at, until = self._pauses.get(request.key, (0.0, 0.0))
            in_pause = asked_at + ON_ITS_WAY_S < now < until
            self.arrivals.append(Arrival(now, request.operation, request.key, allowed, in_pause))
            if verdict is None or verdict.allowed:
                return failure
            self._pauses[request.key] = (now, now + verdict.retry_after_s)
        return Status(
            429, b'{"errors":[{"message":"slow down"}]}', {"Retry-After": f"{verdict.retry_after_s:.4f}"}
        )

    def verdict(self) -> Verdict | None:
        """On the request that this thread answers."""
        return getattr(self._verdict, "last", None)

    # What it saw

    @property
    def refused(self) -> int:
        """Requests that were too many."""
        return sum(not arrival.allowed for arrival in self.arrivals)
