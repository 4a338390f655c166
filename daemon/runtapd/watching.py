"""Tasks that watch over the daemon while it serves: idleness, the info file, the loop itself.

Each is a loop of sleeping and looking, most of which end the daemon through `Life` when they must; none holds state
that others need, but for the loop's lag, which GetStatus shows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from runtapd.life import Life
from runtapd.limits import Ledger

SELF_CHECK_EVERY_S = 5.0
_LAG_SAMPLE_EVERY_S = 1.0
_LAG_WORTH_A_WARNING_S = 0.1
_LONGEST_NAP_S = 60.0
_BUSY_NAP_S = 1.0
WARM_UP_AFTER_S = 2.0
log = logging.getLogger(__name__)


async def end_when_idle(life: Life) -> None:
    """Ends the daemon when nobody has used it for long enough."""
    while life.ending is None and not life.drain_if_idle():
        left_s = life.idle_left_s()
        await asyncio.sleep(_BUSY_NAP_S if left_s is None else min(left_s, _LONGEST_NAP_S))


async def end_when_replaced(
    life: Life, is_ours: Callable[[], bool], environment_is_gone: Callable[[], bool]
) -> None:
    """Ends the daemon when clients no longer find it, or when the files it runs from were deleted."""
    while True:
        await asyncio.sleep(SELF_CHECK_EVERY_S)
        if not is_ours():
            life.drain("replaced")
        elif environment_is_gone():
            life.drain("environment-gone")


async def warm_up_when_quiet(ledger: Ledger, load: Callable[[], object]) -> None:
    """Loads, in a thread, what only some calls need: before somebody waits for it, but in nobody's way."""
    while True:
        left_s = WARM_UP_AFTER_S - ledger.quiet_s()
        if left_s <= 0:
            break
        await asyncio.sleep(left_s)
    await asyncio.to_thread(load)


class LagMeter:
    """Measures how late the loop runs: a stand-in for anything that holds it up."""

    def __init__(self) -> None:
        self.lag_s = 0.0

    async def run(self) -> None:
        """Measures until cancelled."""
        while True:
            asked = time.monotonic()
            await asyncio.sleep(_LAG_SAMPLE_EVERY_S)
            self.lag_s = max(0.0, time.monotonic() - asked - _LAG_SAMPLE_EVERY_S)
            if self.lag_s > _LAG_WORTH_A_WARNING_S:
                log.warning("the loop ran late", extra={"lag_ms": round(self.lag_s * 1000)})
