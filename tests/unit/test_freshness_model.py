"""Random lives of readers, writers and a clock, compared with everything the server ever held.

Every answer must be allowed by what its reader wished, and every Freshness must be true. Each seed is one story, told
in the same order each time; one that fails is cut down to the steps that it takes. `RUNTAP_STORIES=5000` tells more,
`RUNTAP_STORY=17` one alone.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.model.patch import Patch
from tests.support import freshness_verdicts as verdicts
from tests.support.freshness_stories import CLIENTS, FLOOR_S, RUNS, Step, Story, edit, story
from tests.support.freshness_world import Answer, Asked, Query, World
from tests.support.remembering_server import ENTITY, PROJECT
from tests.support.virtual_time import run_on_paper

STORIES = int(os.environ.get("RUNTAP_STORIES", "600"))
ONLY = os.environ.get("RUNTAP_STORY")


class Untrue(Exception):
    """An answer was not allowed, or its Freshness not true."""


class Telling:
    """One story as it happens."""

    def __init__(self, told: Story, folder: Path) -> None:
        self._told = told
        self.world = World(folder, told.kind, str(told.seed), told.knows_server)
        self._floors = [0.0] * CLIENTS
        self._wrong: list[str] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def tell(self) -> None:
        """Goes through all steps; raises Untrue at the first answer that is wrong."""
        world = self.world
        chance = random.Random(f"beginning {self._told.seed}")
        for i in range(RUNS - 2):
            world.server.create(f"r{i}")
            for _ in range(3):
                world.server.change(world.server.now()[_path(f"r{i}")], **dict([edit(chance)]))
        await world.start()
        try:
            for number, one in enumerate(self._told.steps):
                await asyncio.sleep(one.pause)
                await self._take(number, one)
                if self._wrong:
                    break
            await self._rest()
        finally:
            await world.stop()
        if self._wrong:
            raise Untrue("\n".join(self._wrong))

    async def _take(self, number: int, one: Step) -> None:
        world, detail = self.world, one.detail
        world.tell(f"[{number}] {one.what} {', '.join(map(str, detail))}")
        if one.what == "read":
            self._begin(self._read(number, *detail))
        elif one.what == "list":
            self._begin(self._list(number, *detail))
        elif one.what == "write":
            self._begin(self._write(*detail))
        elif one.what in ("flush", "new client"):
            self._floors[detail[0]] = world.clock() - (FLOOR_S if one.what == "new client" else 0.0)
        elif one.what == "flush all":
            world.partitions.flush("")
        elif one.what == "set clock":
            world.clock.step(0.0 if self._told.kind.in_seconds else detail[0])
        elif one.what == "fail":
            world.server.failing = detail[0]
        elif one.what == "restart":
            await self._rest()
            await world.stop()
            await world.start()
        else:
            self._at_the_server(one)

    def _at_the_server(self, one: Step) -> None:
        server, run_id = self.world.server, one.detail[0]
        run = server.now().get(_path(run_id))
        if one.what == "create" and run is None:
            server.create(run_id)
        elif one.what == "delete" and run is not None:
            server.delete(run)
        elif one.what == "edit" and run is not None:
            server.change(run, **{one.detail[1]: one.detail[2]})

    def _begin(self, doing: Awaitable[None]) -> None:
        task = asyncio.ensure_future(doing)
        self._under_way.add(task)

    async def _rest(self) -> None:
        """Waits for all readers and writers."""
        while self._under_way:
            await self._under_way.pop()

    async def _read(self, number: int, run_id: str, client: int, wished: Wishes) -> None:
        world, wished = self.world, self._of(client, wished)
        begun = world.begin(wished)
        try:
            answer = await world.read(run_id, wished)
        except faults.NotFound:
            self._hear(number, verdicts.of_missing(world, world.end(begun), _path(run_id)))
        except (faults.UpstreamFault, faults.NotInCache) as fault:
            self._fail(number, begun, fault)
        else:
            self._show(number, answer)
            self._hear(number, verdicts.of_run(world, answer))

    async def _list(self, number: int, query: Query, client: int, wished: Wishes, most: int | None) -> None:
        world, wished = self.world, self._of(client, wished)
        begun = world.begin(wished)
        try:
            answer = await world.list(query, wished, most)
        except (faults.UpstreamFault, faults.NotInCache) as fault:
            self._fail(number, begun, fault)
        else:
            self._show(number, answer)
            self._hear(number, verdicts.of_list(world, query, answer))

    def _fail(self, number: int, begun: Asked, fault: faults.Fault) -> None:
        self.world.tell(f"  [{number}] ends with {type(fault).__name__}: {fault}")
        self._hear(number, verdicts.of_failure(self.world, begun, fault))

    async def _write(self, run_id: str, change: Patch) -> None:
        write_id = await self.world.write(run_id, change)
        self.world.tell(f"  write {write_id} of {run_id} is acknowledged")

    def _of(self, client: int, wished: Wishes) -> Wishes:
        # As the client does: who names an age, or wants no questions asked, would not want the floor to overrule it.
        floor = 0.0 if wished.max_age_s is not None or wished.cache_only else self._floors[client]
        return Wishes(
            wished.max_age_s, wished.cache_only, wished.no_cache, wished.allow_stale_on_error, floor
        )

    def _show(self, number: int, answer: Answer) -> None:
        runs = [shown.run for shown in answer.runs]
        self.world.tell(f"  [{number}] is answered with {answer.freshness}")
        for run in runs:
            self.world.tell(
                f"      {run.run_id} {run.state} {run.tags} {run.config} {run.summary} {run.notes}"
            )

    def _hear(self, number: int, complaints: Iterator[str]) -> None:
        self._wrong += [f"[{number}] {complaint}" for complaint in complaints]


def _path(run_id: str) -> str:
    return f"{ENTITY}/{PROJECT}/{run_id}"


def tell(told: Story, folder: Path) -> str:
    """Tells a story; returns what is wrong with it, and what happened, or nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    said: list[str] = []

    async def telling() -> None:
        one = Telling(told, folder)
        one.world.said = said
        await one.tell()

    try:
        run_on_paper(telling, f"loop {told.seed}")
    except Untrue as wrong:
        return f"{wrong}\n\nWhat happened:\n" + "\n".join(said)
    return ""


def shortened(told: Story, folder: Path) -> Story:
    """Leaves out whatever a story fails without."""
    size = len(told.steps) // 2
    while size:
        start = 0
        while start < len(told.steps):
            steps = told.steps[:start] + told.steps[start + size :]
            shorter = replace(told, steps=steps)
            if tell(shorter, folder):
                told = shorter
            else:
                start += size
        size //= 2
    return told


@pytest.mark.timeout(60 + STORIES // 2)
@pytest.mark.parametrize("part", range(4))
def test_every_answer_is_allowed_by_its_freshness_and_every_freshness_is_true(
    part: int, tmp_path: Path
) -> None:
    for seed in [int(ONLY)] if ONLY else range(part, STORIES, 4):
        told = story(seed)
        if tell(told, tmp_path / "home"):
            told = shortened(told, tmp_path / "home")
            pytest.fail(f"{told}\n\n{tell(told, tmp_path / 'home')}", pytrace=False)
