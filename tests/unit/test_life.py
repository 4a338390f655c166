"""The turn from serving to draining: once, at the right moment, and with nothing half accepted."""

from __future__ import annotations

import asyncio

import pytest

from runtapd.faults import Draining
from runtapd.life import Life
from runtapd.limits import Ledger


class World:
    """What a Life sees of its daemon."""

    def __init__(self, idle_exit_s: float = 10.0) -> None:
        self.now = 0.0
        self.withdrawn = 0
        self.sendable = 0
        ledger = Ledger(max_open_calls_per_client=9, max_streams_per_client=9, clock=lambda: self.now)
        self.life = Life(
            ledger,
            idle_exit_s=idle_exit_s,
            sendable_writes=lambda: self.sendable,
            withdraw=self.withdraw,
            clock=lambda: self.now,
        )

    def withdraw(self) -> None:
        assert not self.life.draining.is_set(), "the info file goes before anybody is told"
        self.withdrawn += 1


def test_it_drains_once() -> None:
    world = World()
    assert world.life.drain("shutdown", 2.0)
    assert not world.life.drain("signal")
    assert world.withdrawn == 1
    assert world.life.ending is not None
    assert (world.life.ending.reason, world.life.ending.grace_s) == ("shutdown", 2.0)


def test_after_the_turn_nothing_is_let_in() -> None:
    world = World()
    world.life.admit("a", "m", streaming=False, passive=False)
    world.life.drain("idle")
    with pytest.raises(Draining):
        world.life.admit("a", "m", streaming=False, passive=True)
    assert len(world.life.ledger.open_calls()) == 1


def test_idle_time_runs_from_the_last_use() -> None:
    world = World(idle_exit_s=10)
    assert world.life.idle_left_s() == 10
    world.now = 4
    call = world.life.admit("a", "m", streaming=False, passive=False)
    assert world.life.idle_left_s() is None
    world.now = 100
    assert not world.life.drain_if_idle()
    world.life.ledger.leave(call, failed=False)
    assert world.life.idle_left_s() == 10
    world.now = 109.9
    assert not world.life.drain_if_idle()
    world.now = 110
    assert world.life.drain_if_idle()
    assert world.life.ending is not None and world.life.ending.reason == "idle"


def test_writes_that_can_be_sent_keep_it_alive() -> None:
    world = World(idle_exit_s=10)
    world.now, world.sendable = 50, 1
    assert world.life.idle_left_s() is None
    assert not world.life.drain_if_idle()
    world.sendable = 0
    assert world.life.drain_if_idle()


def test_zero_means_never() -> None:
    world = World(idle_exit_s=0)
    world.now = 1e9
    assert world.life.idle_left_s() is None
    assert not world.life.drain_if_idle()


def test_cutting_off_marks_a_call_before_its_task_is_cancelled() -> None:
    async def story() -> bool:
        world = World()
        call = world.life.admit("a", "m", streaming=True, passive=False)
        call.task = asyncio.create_task(asyncio.sleep(60))
        assert world.life.tasks_in_use() == [call.task]
        assert len(world.life.cut_off_open_calls()) == 1
        with pytest.raises(asyncio.CancelledError):
            await call.task
        return call.cut_off

    assert asyncio.run(story())
