"""How long to wait before a write is tried again. Pure."""

from __future__ import annotations

FIRST_S = 0.5
LONGEST_S = 300.0
LONGEST_RETRY_AFTER_S = 3600.0


def pause_s(failures: int, chance: float, retry_after_s: float | None) -> float:
    """Seconds to wait after this many failures in a row (the first is 1), with `chance` between 0 and 1.

    Full jitter: anything up to a limit that doubles each time, so that daemons which failed together do not come back
    together. Never sooner than the server asked for.
    """
    limit = min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 16))
    return max(limit * chance, min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S))
