"""What watches over the daemon while it serves."""

from __future__ import annotations

import asyncio
import time

from runtapd.watching import LagMeter


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
