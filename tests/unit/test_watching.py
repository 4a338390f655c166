"""What watches over the daemon while it serves."""

from __future__ import annotations

import asyncio
import time

import pytest

from runtapd.limits import Ledger
from runtapd.watching import WARM_UP_AFTER_S, LagMeter, warm_up_when_quiet


def test_a_loop_that_was_held_up_shows() -> None:
    async def story() -> float:
        meter = LagMeter()
        task = asyncio.create_task(meter.run())
        await asyncio.sleep(0)
        time.sleep(1.3)
        await asyncio.sleep(0.05)
        task.cancel()
        return meter.lag_s

    assert asyncio.run(story()) >= 0.2


@pytest.mark.parametrize("quiet_s", [WARM_UP_AFTER_S / 2, WARM_UP_AFTER_S])
def test_what_takes_long_to_load_is_in_nobodys_way(quiet_s: float) -> None:
    async def story() -> list[str]:
        now, loaded = [0.0], list[str]()
        ledger = Ledger(max_open_calls_per_client=9, max_streams_per_client=9, clock=lambda: now[0])
        now[0] = 100.0
        ledger.leave(ledger.enter("a", "m", streaming=False), failed=False)
        now[0] += quiet_s
        task = asyncio.create_task(warm_up_when_quiet(ledger, lambda: loaded.append("all of it")))
        await asyncio.wait([task], timeout=20 if quiet_s == WARM_UP_AFTER_S else 0.2)
        task.cancel()
        return loaded

    assert asyncio.run(story()) == (["all of it"] if quiet_s == WARM_UP_AFTER_S else [])
