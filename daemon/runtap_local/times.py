"""Moments: whole microseconds since 1970 inside, ISO 8601 with a Z on the wire."""

import time
from datetime import datetime, timedelta

_EPOCH = datetime(1970, 1, 1)


def now_us() -> int:
    """The present moment."""
    return time.time_ns() // 1000


def to_wire(moment_us: int | None) -> str | None:
    """Spell a moment with all its digits, so that two writes within a second can be told apart."""
    if moment_us is None:
        return None
    return (_EPOCH + timedelta(microseconds=moment_us)).isoformat(timespec="microseconds") + "Z"
