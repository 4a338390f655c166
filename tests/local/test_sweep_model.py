"""A grid under agents that live, die, lose answers and have their runs deleted, in many random orders: no point is ever
searched by two at once, and once all is calm each has been searched.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from runtap_local import auth
from runtap_local.store import projects, runs, sweeps, tables, trials, users
from runtap_local.store.database import Database
from runtap_local.sweeps import running
from runtap_local.sweeps.commands import MAX_ATTEMPTS

SILENCE = 300_000_000
TICK = 1_000_000
POINTS = 9
GRID = "method: grid\nparameters: {a: {values: [1, 2, 3]}, b: {values: [x, y, z]}}"


@dataclass
class Agent:
    """An agent and the run it has; ``point`` is what it was told to search."""

    pk: int
    run: str | None = None
    point: str = ""
    begun: bool = False


@dataclass
class World:
    """One sweep, its agents, and a clock that only moves when it is told to."""

    connection: Connection
    chance: random.Random
    project: int
    user: int
    sweep: int
    now: int = 10**15
    agents: list[Agent] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    deleted: int = 0
    deaths: int = 0

    def join(self) -> None:
        made = trials.register(self.connection, self.sweep, self.user, "h", self.now)
        self.agents.append(Agent(made.pk))

    def report(self, agent: Agent, lost: bool = False) -> str:
        """Let an agent report; what it is told may get lost on the way."""
        row = sweeps.by_pk(self.connection, self.sweep)
        has = [agent.run] if agent.run else []
        commands = running.report(self.connection, row, agent.pk, has, self.now, SILENCE)
        if not commands or lost:
            return "nothing"
        assert agent.run is None, "a busy agent is left alone"
        if commands[0]["type"] == "run":
            agent.run, agent.begun = commands[0]["run_id"], False
            agent.point = str({name: item["value"] for name, item in commands[0]["args"].items()})
            others = [other.point for other in self.agents if other is not agent and other.run]
            assert agent.point not in others, "a point is with one agent at a time"
        return str(commands[0]["type"])

    def begin(self, agent: Agent) -> None:
        assert agent.run is not None
        sweep = sweeps.by_pk(self.connection, self.sweep)
        pk = runs.create(
            self.connection, self.project, agent.run, self.user, self.now, {"sweep_name": sweep.name}
        )
        running.run_appeared(self.connection, runs.by_pk(self.connection, pk), self.now)
        agent.begun = True

    def end(self, agent: Agent) -> None:
        run = runs.find(self.connection, self.project, agent.run or "")
        agent.run = None
        if run is None:
            return  # deleted under its program
        state = self.chance.choice(["finished", "failed"])
        runs.change(self.connection, run.pk, self.now, {"state": state})
        running.run_ended(self.connection, run, self.now, SILENCE)
        self.ended.append(agent.point)

    def die(self, agent: Agent) -> None:
        """A machine goes down: long afterwards its run is crashed and its point free. The others go on reporting."""
        self.agents.remove(agent)
        self.deaths += 1
        run = runs.find(self.connection, self.project, agent.run or "")
        self.now += SILENCE + TICK
        if run is not None and agent.begun:
            runs.change(self.connection, run.pk, self.now, {"state": "crashed"})
        for other in self.agents:
            trials.reported(self.connection, other.pk, [other.run] if other.run else [], self.now)

    def delete(self) -> None:
        found = self.connection.scalars(
            select(tables.runs.c.pk).where(tables.runs.c.project_pk == self.project)
        ).all()
        if found:
            runs.remove(self.connection, self.chance.choice(found))
            self.deleted += 1

    def step(self) -> None:
        self.now += TICK
        if not self.agents:
            self.join()
        agent = self.chance.choice(self.agents)
        action = self.chance.random()
        if action < 0.05:
            self.join()
        elif action < 0.08:
            self.die(agent)
        elif action < 0.11:
            self.delete()
        elif agent.run is None:
            self.report(agent, lost=self.chance.random() < 0.1)
        elif not agent.begun:
            self.begin(agent) if self.chance.random() < 0.7 else self.report(agent)
        else:
            self.end(agent) if self.chance.random() < 0.5 else self.report(agent)

    def calm_down(self) -> None:
        """Everybody goes on in peace until all are sent home."""
        home: set[int] = set()
        for _ in range(2000):
            self.now += TICK
            for agent in self.agents:
                if agent.run is None and self.report(agent) == "exit":
                    home.add(agent.pk)
                elif agent.run and not agent.begun:
                    self.begin(agent)
                elif agent.run:
                    self.end(agent)
            if home >= {agent.pk for agent in self.agents}:
                return
        raise AssertionError("the sweep does not end")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "local.db")


@pytest.mark.parametrize("seed", [0, 2, 5, 9, 14, 20, 27, 35, 73, 76, 120, 131, 138])
def test_every_point_is_searched_whatever_happens(database: Database, seed: int) -> None:
    try:
        with database.write() as connection:
            user = users.add(connection, "u", auth.mint_key(), 1)
            project, _ = projects.upsert(connection, "u", "p", user.pk, 1)
            sweep = sweeps.create(connection, project.pk, user.pk, "PENDING", 1, {"config": GRID})
            world = World(connection, random.Random(seed), project.pk, user.pk, sweep.pk)
            for _ in range(seed * 3):
                world.step()
            if not world.agents:
                world.join()
            # Whatever was deleted after the end is searched again once people resume the sweep.
            sweeps.change(connection, sweep.pk, world.now, {"state": "RUNNING"})
            world.calm_down()
            assert sweeps.by_pk(connection, sweep.pk).state == "FINISHED"
            check(world)
    finally:
        database.close()


def check(world: World) -> None:
    searched = Counter(world.ended)
    if not world.deaths:
        assert len(searched) == POINTS
    if not world.deaths and not world.deleted:
        assert set(searched.values()) == {1}, "no point twice"
    counting = world.connection.execute(
        select(tables.trials).where(tables.trials.c.sweep_pk == world.sweep, tables.trials.c.counts)
    ).all()
    assert sorted(row.number for row in counting) == list(range(POINTS))
    assert max(row.attempts for row in counting) <= MAX_ATTEMPTS
