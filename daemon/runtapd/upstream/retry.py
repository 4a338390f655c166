"""Whether to ask again, and when. Pure: what happened goes in, a decision comes out.

The table by status is the one real clients use: 408, 425, 429 and 5xx but for 501 may pass, and the 4xx that say what
is wrong are final. Other 4xx are oddities of what stands before a server; they are tried again too, but not all day.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 20.0
SHORTEST_PAUSE_S = 0.1
"""A server that asks for no pause at all still gets one."""
LONGEST_PAUSE_S = 86_400.0
RETRIED_STATUS = frozenset({408, 425, 429})
FINAL_STATUS = frozenset({400, 401, 403, 404, 409, 410, 413, 422})


@dataclass(frozen=True, slots=True)
class Again:
    """Ask again after so many seconds."""

    after_s: float


def may_retry(status: int) -> bool:
    """True when a later request may succeed where this one got `status`."""
    return status in RETRIED_STATUS or (status >= 500 and status != 501)


def is_odd(status: int) -> bool:
    """True for a status that no server of this protocol gives by itself."""
    return 400 <= status < 500 and status not in RETRIED_STATUS | FINAL_STATUS


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
            date = parsedate_to_datetime(header)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        # A date without a zone is one of Greenwich, wherever we are.
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_PAUSE_S)
