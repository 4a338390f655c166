"""Whose turn it is, on a real loop with a clock that a test moves where it matters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from runtapd import faults
from runtapd.upstream.api import Urgency, Wait
from runtapd.upstream.turns import Turn, Turns

BULK, INTERACTIVE = Urgency.BULK, Urgency.INTERACTIVE
SERVER = "https://upstream.example"
PLENTY = {"ratelimit-remaining": "1000", "ratelimit-reset": "3600"}
NOTHING_LEFT = {"ratelimit-remaining": "0", "ratelimit-reset": "3600"}


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def wait(seconds: float = 10.0, urgency: Urgency = BULK) -> Wait:
    return Wait(asyncio.get_running_loop().time() + seconds, urgency)


def asked(turns: Turns, urgency: Urgency = BULK, seconds: float = 10.0) -> asyncio.Task[Turn]:
    return asyncio.ensure_future(turns.take(wait(seconds, urgency)))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def allowed(connections: int = 2) -> Turns:
    """Turns of a server that has said that it lets a thousand requests through."""
    turns = Turns(SERVER, {INTERACTIVE: connections, BULK: connections})
    turn = await turns.take(wait())
    turn.heard(200, PLENTY)
    turn.end()
    return turns


def test_each_class_has_connections_of_its_own() -> None:
    async def story() -> None:
        turns = await allowed()
        bulk = [asked(turns) for _ in range(3)]
        await settle()
        assert [task.done() for task in bulk] == [True, True, False]
        assert (await asked(turns, INTERACTIVE)).urgency is INTERACTIVE
        (await bulk[0]).end()
        assert (await bulk[2]).urgency is BULK

    run(story())


def test_who_becomes_urgent_while_waiting_goes_at_once() -> None:
    async def story() -> None:
        turns = await allowed()
        for _ in range(2):
            await turns.take(wait())
        shared = wait(5)
        task = asyncio.ensure_future(turns.take(shared))
        await settle()
        assert not task.done()
        shared.join(wait(10, INTERACTIVE))
        assert (await task).urgency is INTERACTIVE and not shared.on_join

    run(story())


def test_a_deadline_that_moves_on_keeps_the_place() -> None:
    async def story() -> None:
        turns = await allowed(1)
        first = await turns.take(wait())
        shared = wait(0.5)
        task = asyncio.ensure_future(turns.take(shared))
        await settle()
        shared.join(wait(10))
        await asyncio.sleep(0.6)
        assert not task.done()
        first.end()
        await task

    run(story())


def test_interactive_goes_first_when_the_pause_is_over() -> None:
    async def story() -> None:
        turns = await allowed()
        turn = await turns.take(wait())
        began = time.monotonic()
        turn.heard(429, {"retry-after": "1"})
        turn.end()
        order: list[Urgency] = []
        for urgency in (BULK, BULK, INTERACTIVE):
            asked(turns, urgency).add_done_callback(lambda task: order.append(task.result().urgency))
        await settle()
        assert not order and "pause" in turns.held_back() and "3 requests wait" in turns.held_back()
        while len(order) < 1:
            await asyncio.sleep(0.005)
        assert order[0] is INTERACTIVE and time.monotonic() - began >= 0.95
        while len(order) < 3:
            await asyncio.sleep(0.005)

    run(story())


@pytest.mark.parametrize(("status", "kind"), [(429, faults.RateLimited), (503, faults.UpstreamUnavailable)])
@pytest.mark.parametrize("asked_before", [True, False])
def test_a_pause_longer_than_the_time_is_told_at_once(
    asked_before: bool, status: int, kind: type[faults.Fault]
) -> None:
    async def story() -> None:
        turns = await allowed(1)
        turn = await turns.take(wait())
        late = asked(turns, seconds=20) if asked_before else None
        await settle()
        turn.heard(status, {"retry-after": "60"})
        turn.end()
        with pytest.raises(kind, match=f"{SERVER} .* HTTP {status} .* 60.0 s") as caught:
            await (late or asked(turns, seconds=20))
        assert caught.value.retry_after_s == pytest.approx(60, abs=2)
        assert caught.value.metadata["server"] == SERVER

    run(story())


def test_a_window_that_ends_too_late_is_told_at_the_deadline() -> None:
    async def story() -> None:
        turns = await allowed()
        turn = await turns.take(wait())
        turn.heard(200, NOTHING_LEFT)
        turn.end()
        with pytest.raises(faults.RateLimited, match=SERVER) as caught:
            await turns.take(wait(0.1))
        assert caught.value.retry_after_s == pytest.approx(3600, abs=20)

    run(story())


def test_a_server_that_answers_nobody_is_no_limit() -> None:
    async def story() -> None:
        turns = await allowed()
        for _ in range(2):
            await turns.take(wait())
        with pytest.raises(faults.UpstreamTimeout, match="2 earlier requests"):
            await turns.take(wait(0.05))

    run(story())


def test_who_leaves_gives_the_turn_to_the_next() -> None:
    async def story() -> None:
        turns = await allowed(1)
        turn = await turns.take(wait())
        leaving, staying = asked(turns), asked(turns)
        await settle()
        turn.end()  # the turn is the leaving one's now, but it has not heard so yet
        leaving.cancel()
        await staying
        assert leaving.cancelled()

    run(story())


def test_who_leaves_the_queue_is_forgotten() -> None:
    async def story() -> None:
        turns = await allowed(1)
        turn = await turns.take(wait())
        leaving, staying = asked(turns), asked(turns)
        await settle()
        leaving.cancel()
        await settle()
        turn.end()
        await staying

    run(story())


def test_who_waits_can_be_sent_away_and_the_limits_stay() -> None:
    async def story() -> None:
        turns = await allowed(1)
        turn = await turns.take(wait())
        waiting = [asked(turns) for _ in range(2)]
        await settle()
        turns.dismiss(faults.NeedsLogin("logged out"))
        for task in waiting:
            with pytest.raises(faults.NeedsLogin, match="logged out"):
                await task
        turn.heard(429, {"retry-after": "60"})
        turn.end()
        with pytest.raises(faults.RateLimited):
            await turns.take(wait(1))

    run(story())
