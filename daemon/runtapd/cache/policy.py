"""Whether something cached may be used for a request. Pure: (age, state, wishes) in, a decision out."""

from __future__ import annotations

from dataclasses import dataclass

from runtap_query import parse_moment

CLOCKS_APART_S = 60.0
"""How far a server's clock may be from ours."""
LIVE_STATES = frozenset({"running", "pending", "preempting"})


@dataclass(frozen=True, slots=True)
class Wishes:
    """How old an answer may be, in the words of `runtap.v1.ReadOptions`."""

    max_age_s: float | None = None
    cache_only: bool = False
    no_cache: bool = False
    allow_stale_on_error: bool = False
    not_before: float = 0.0
    """Unix seconds: nothing older than this is used unasked."""


@dataclass(frozen=True, slots=True)
class SoftLimits:
    """How long answers are served without asking the server again, in seconds."""

    running_s: float
    list_s: float
    finished_s: float

    def of_run(self, state: str) -> float:
        """Returns the limit for a run in this state; a finished run can still be edited, so it has one too."""
        return self.running_s if state in LIVE_STATES else self.finished_s


def usable(fetched_at: float, now: float, soft_limit_s: float, wishes: Wishes, floor: float) -> bool:
    """Returns whether an answer fetched at that time may be given without asking the server.

    `floor` is the moment of the last flush of everybody; `wishes.not_before` that of this caller. With `cache_only`
    any age will do: the caller knows what it asks for.
    """
    if wishes.cache_only:
        return True
    if wishes.no_cache or fetched_at < max(floor, wishes.not_before):
        return False
    limit = soft_limit_s if wishes.max_age_s is None else wishes.max_age_s
    # A clock that was set back makes ages negative; that says nothing about freshness.
    return 0 <= now - fetched_at < limit if limit else False


def vouched(updated_at: str | None, fetched_at: float) -> bool:
    """Whether `updated_at` would be another one by now if the run had changed since it was fetched.

    One in whole seconds cannot tell two changes within a second apart, so it says nothing of a run that was fetched
    about when it changed.
    """
    if updated_at is None:
        return False
    _, _, fraction = updated_at.partition(".")
    if fraction.strip("Z0") != "":
        return True
    moment = parse_moment(updated_at)
    return moment is not None and abs(fetched_at - moment.start) > CLOCKS_APART_S
