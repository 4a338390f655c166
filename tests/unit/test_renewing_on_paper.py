"""What it costs to read lists again, by a clock that is set: minutes take no time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runtapd.cache.policy import Wishes
from tests.support.freshness_world import Query, World
from tests.support.remembering_server import ENTITY, PROJECT, Kind
from tests.support.virtual_time import run_on_paper

ALL = Query("all")
RUNS = 30
STARTS_AFTER_S = 10.0
"""How long before its own start a client takes what was fetched."""
UPDATES = pytest.mark.parametrize("tells_updates", [True, False], ids=["updatedAt", "no updatedAt"])


def told(folder: Path, tells_updates: bool, what: Callable[[World], Awaitable[None]]) -> None:
    """Tells a story about a list that has just been read."""

    async def story() -> None:
        world = World(folder, Kind(tells_updates=tells_updates), "renewing")
        for i in range(RUNS):
            world.server.create(f"r{i}", state="finished")
        await world.start()
        try:
            await world.list(ALL, Wishes(), None)
            await what(world)
        finally:
            await world.stop()

    run_on_paper(story, "renewing")


async def requests(world: World, wishes: Wishes) -> list[tuple[str, ...]]:
    """Lists all runs; returns for each request which of them came with their documents."""
    before = len(world.server.sent)
    answer = await world.list(ALL, wishes, None)
    assert len(answer.runs) == RUNS and answer.complete
    return [sent.brought for sent in world.server.sent[before:]]


@UPDATES
def test_clients_that_start_within_ten_seconds_add_nothing_and_later_ones_one(
    tells_updates: bool, tmp_path: Path
) -> None:
    async def starting(world: World) -> None:
        read_at = world.server.sent[0].sent_at
        for seconds in range(1, 9):
            await asyncio.sleep(read_at + seconds - world.clock())
            assert not await requests(world, Wishes(not_before=world.clock() - STARTS_AFTER_S))
        await asyncio.sleep(3.0)
        assert len(await requests(world, Wishes(not_before=world.clock() - STARTS_AFTER_S))) == 1

    told(tmp_path, tells_updates, starting)


@UPDATES
def test_of_a_list_that_is_ten_seconds_old_only_the_run_that_changed_is_read(
    tells_updates: bool, tmp_path: Path
) -> None:
    async def changing(world: World) -> None:
        await asyncio.sleep(11.0)
        assert await requests(world, Wishes()) == [()]
        world.server.change(world.server.now()[f"{ENTITY}/{PROJECT}/r7"], tags=("new",))
        await asyncio.sleep(11.0)
        assert await requests(world, Wishes()) == [(), ("r7",)]

    told(tmp_path, tells_updates, changing)


@UPDATES
def test_documents_that_nothing_vouches_for_are_read_again_after_five_minutes(
    tells_updates: bool, tmp_path: Path
) -> None:
    async def waiting(world: World) -> None:
        await asyncio.sleep(310.0)
        (brought,) = await requests(world, Wishes())
        assert len(brought) == (0 if tells_updates else RUNS)

    told(tmp_path, tells_updates, waiting)


@UPDATES
def test_who_trusts_no_cache_reads_everything(tells_updates: bool, tmp_path: Path) -> None:
    async def reading(world: World) -> None:
        (brought,) = await requests(world, Wishes(no_cache=True))
        assert len(brought) == RUNS

    told(tmp_path, tells_updates, reading)
