"""Whether to ask again, and when. Pure: what happened goes in, a decision comes out.

The table by status is the one real clients use (4xx are final but for 408, 425 and 429; 5xx are not but for 501).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 20.0
SHORTEST_PAUSE_S = 0.1
"""A server that asks for no pause at all still gets one."""
LONGEST_PAUSE_S = 86_400.0
RETRIED_STATUS = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Again:
    """Ask again after so many seconds."""

    after_s: float


def may_retry(status: int) -> bool:
    """True when a later request may succeed where this one got `status`."""
    return status in RETRIED_STATUS or (status >= 500 and status != 501)


def decide(
    *, errors: int, retry_after_s: float | None, remaining_s: float, draw: random.Random
) -> Again | None:
    """Returns when to ask again, or None to give up because the time is too short.

    `errors` counts failures so far, this one included; waits the server asked for do not count as failures. Full
    jitter keeps many clients from coming back at the same moment.
    """
    if retry_after_s is not None:
        after = max(SHORTEST_PAUSE_S, retry_after_s) + draw.uniform(0, 0.1)
    else:
        after = draw.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(errors, 16)))
    return Again(after) if after < remaining_s else None


def retry_after(header: str | None, now: float) -> float | None:
    """Reads a Retry-After header in both its forms: seconds, or a date. None when absent or unreadable."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_PAUSE_S)
