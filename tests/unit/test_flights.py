"""Identical requests in flight are one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from runtapd.faults import UpstreamTimeout, UpstreamUnavailable
from runtapd.reads.flights import Flights
from runtapd.upstream.api import Urgency, Wait


class Server:
    """Counts what it is asked, and answers when told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.cancelled = 0
        self.open = asyncio.Event()
        self.waits: list[Wait] = []
        self.clock = 100.0
        self.flights: Flights[int] = Flights(lambda: self.clock)

    async def answer(self, wait: Wait) -> int:
        self.asked += 1
        number = self.asked
        self.waits.append(wait)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number

    def ask(self, seconds: float = 5.0, *, key: str = "k", not_before: float = 0.0) -> asyncio.Task[int]:
        wait = Wait(asyncio.get_running_loop().time() + seconds, Urgency.BULK)
        return asyncio.ensure_future(self.flights.join(key, wait, self.answer, not_before=not_before))


def run(story: Coroutine[None, None, None]) -> None:
    asyncio.run(story)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_asks_the_same_shares_the_answer() -> None:
    async def story() -> None:
        server = Server()
        tasks = [server.ask() for _ in range(50)] + [server.ask(key="other")]
        await settle()
        server.open.set()
        assert await asyncio.gather(*tasks) == [1] * 50 + [2]
        assert await server.ask() == 3, "an answer that has landed is for the cache, not for later callers"

    run(story())


def test_one_who_leaves_does_not_take_the_others_along() -> None:
    async def story() -> None:
        server = Server()
        first, second = server.ask(), server.ask()
        await settle()
        first.cancel()
        await settle()
        assert not server.cancelled
        server.open.set()
        assert await second == 1

    run(story())


def test_the_last_one_who_leaves_ends_the_request() -> None:
    async def story() -> None:
        server = Server()
        tasks = [server.ask(), server.ask()]
        await settle()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        late = server.ask()
        await settle()
        assert (server.asked, server.cancelled) == (2, 1), "and whoever comes then begins anew"
        server.open.set()
        assert await late == 2

    run(story())


def test_the_most_patient_and_urgent_waiter_counts() -> None:
    async def story() -> None:
        server = Server()
        tasks = [server.ask(1.0), server.ask(9.0), server.ask(3.0)]
        await settle()
        shared = server.waits[0]
        assert shared.deadline - asyncio.get_running_loop().time() > 8
        assert shared.urgency.value == "bulk"
        shared.join(Wait(0.0, Urgency.INTERACTIVE))
        assert shared.urgency.value == "interactive"
        server.open.set()
        await asyncio.gather(*tasks)

    run(story())


def test_each_waiter_has_its_own_deadline() -> None:
    async def story() -> None:
        server = Server()
        patient, hasty = server.ask(30.0), server.ask(0.05)
        with pytest.raises(UpstreamTimeout):
            await hasty
        assert not patient.done() and not server.cancelled
        server.open.set()
        assert await patient == 1

    run(story())


def test_a_request_that_began_too_early_is_not_shared() -> None:
    async def story() -> None:
        server = Server()
        early = server.ask()
        await settle()
        server.clock = 200.0
        late = server.ask(not_before=150.0)
        await settle()
        third = server.ask()
        server.open.set()
        assert list(await asyncio.gather(early, late, third)) == [1, 2, 2]

    run(story())


def test_a_failure_is_everybodys_and_nobody_complains_of_one_unseen() -> None:
    async def fails(wait: Wait) -> int:
        await asyncio.sleep(0.01)
        raise UpstreamUnavailable("down")

    async def story() -> None:
        flights: Flights[int] = Flights(lambda: 0.0)
        wait = Wait(asyncio.get_running_loop().time() + 5)
        tasks = [asyncio.ensure_future(flights.join("k", wait, fails)) for _ in range(3)]
        await settle()
        tasks[0].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [
            asyncio.CancelledError, UpstreamUnavailable, UpstreamUnavailable,
        ]  # fmt: skip

    run(story())


def test_who_asks_in_a_loop_is_not_caught_by_an_answer_that_just_came() -> None:
    async def story() -> None:
        flights: Flights[None] = Flights(lambda: 100.0)
        grown: list[int] = []
        came = asyncio.Event()
        joined = 0

        async def grow(wait: Wait) -> None:
            await asyncio.sleep(0)
            grown.append(1)
            came.set()  # whoever waits for this runs before the answer lands

        async def until(length: int) -> None:
            nonlocal joined
            while len(grown) < length:
                joined += 1
                assert joined < 100, "the loop never gets its turn"
                await flights.join("k", Wait(asyncio.get_running_loop().time() + 5.0, Urgency.BULK), grow)

        async def late() -> None:
            await came.wait()
            await until(3)

        await asyncio.gather(late(), until(3))
        assert len(grown) == 3

    run(story())
