"""Whose turn it is, and how old what is known of a run may be then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.cache.records import Held
from runtapd.model import encode
from runtapd.model.freshness import Freshness, Source
from runtapd.model.paths import RunPath
from runtapd.model.run import Record
from runtapd.reads.overlay import ShownRun
from runtapd.reads.rosters import AT_ONCE, Roster, Rosters
from runtapd.reads.standing import TRUSTED_S, Standing
from runtapd.upstream.api import Wait
from tests.support.one_history import on_loop
from tests.support.runs import make_run


@dataclass
class Server:
    """Answers for runs by name, and stands in for the cache of one account."""

    now: float = 1000.0
    state: str = "finished"
    line_count: int = 5
    gone: set[str] = field(default_factory=set)
    down: bool = False
    asked: list[list[str]] = field(default_factory=list)
    cached: dict[str, Record] = field(default_factory=dict)

    def record(self, run_id: str) -> Record:
        run = make_run(run_id=run_id, state=self.state, history_line_count=self.line_count)
        return encode.record_of(run, app_url="https://x", fetched_at=self.now, last_step=None)

    async def by_path(self, path: str) -> Held | None:
        return Held(self.cached[path]) if path in self.cached else None

    async def held(self, part: Any, path: RunPath, wishes: Wishes) -> ShownRun | None:
        record = self.cached.get(str(path))
        return ShownRun(record, Freshness(record.fetched_at, Source.MEMORY), {}) if record else None

    async def runs(
        self, part: Any, paths: Sequence[RunPath], wishes: Wishes, wait: Wait
    ) -> list[ShownRun | faults.Fault]:
        if not paths:
            return []
        self.asked.append([path.run_id for path in paths])
        if self.down:
            raise faults.UpstreamUnavailable("down")
        return [
            faults.NotFound("gone") if path.run_id in self.gone else self.shown(path.run_id) for path in paths
        ]

    def shown(self, run_id: str) -> ShownRun:
        record = self.record(run_id)
        self.cached[record.path] = record
        return ShownRun(record, Freshness(self.now, Source.MEMORY), {})

    def roster(self, count: int, wishes: Wishes | None = None) -> Roster:
        rosters = Rosters.__new__(Rosters)
        rosters.clock, rosters.runs, rosters.batches = lambda: self.now, self, self  # type: ignore[assignment]
        part = type("Part", (), {"cache": self})()
        paths = [RunPath("team", "vision", f"r{i}") for i in range(count)]
        return rosters.named(part, [*paths, *paths[:1]], wishes or Wishes(), lambda: Wait(1e9))


async def standing(roster: Roster) -> Standing:
    turn = await roster.next()
    assert turn is not None and isinstance(turn[1], Standing)
    return turn[1]


@on_loop
async def test_many_are_asked_for_together_each_once() -> None:
    server = Server()
    roster = server.roster(AT_ONCE + 10)
    found = [(await standing(roster)).path.run_id for _ in range(AT_ONCE + 10)]
    assert found == [f"r{i}" for i in range(AT_ONCE + 10)] and await roster.next() is None
    assert [len(asked) for asked in server.asked] == [AT_ONCE, 10] and roster.total == AT_ONCE + 10


@on_loop
async def test_what_was_heard_too_long_ago_is_asked_for_again_with_all_that_follow() -> None:
    server = Server(state="running")
    roster = server.roster(6)
    for _ in range(2):
        await standing(roster)
    server.now += TRUSTED_S
    server.line_count = 7
    assert (await standing(roster)).told.line_count == 7
    assert server.asked == [[f"r{i}" for i in range(6)], [f"r{i}" for i in range(2, 6)]]


@on_loop
async def test_runs_that_ended_are_believed_from_the_cache_for_a_moment_and_live_ones_are_not() -> None:
    server = Server()
    for run_id in ("r0", "r1"):
        server.shown(run_id)
    server.state = "running"
    server.shown("r2")
    server.now += TRUSTED_S / 2
    roster = server.roster(3)
    assert [(await standing(roster)).path.run_id for _ in range(3)] == ["r0", "r1", "r2"]
    assert server.asked == [["r2"]]


@on_loop
async def test_what_others_have_learnt_meanwhile_counts() -> None:
    server = Server()
    roster = server.roster(2)
    await standing(roster)
    server.now, server.line_count = server.now + 1, 9
    server.shown("r1")
    assert (await standing(roster)).told.line_count == 9 and len(server.asked) == 1


@on_loop
async def test_what_is_wrong_with_one_run_is_its_own_and_a_dead_server_everybodys() -> None:
    server = Server(gone={"r1"})
    roster = server.roster(2)
    await standing(roster)
    turn = await roster.next()
    assert turn is not None and isinstance(turn[1], faults.NotFound)
    server.down = True
    with pytest.raises(faults.UpstreamUnavailable):
        await server.roster(2, Wishes(max_age_s=0.0)).next()


@on_loop
async def test_an_old_answer_is_one_where_the_server_is_away() -> None:
    server = Server(state="running")
    server.shown("r0")
    server.down, server.now = True, server.now + 500
    roster = server.roster(2, Wishes(allow_stale_on_error=True))
    assert (await standing(roster)).freshness.stale
    turn = await roster.next()
    assert turn is not None and isinstance(turn[1], faults.UpstreamUnavailable)
