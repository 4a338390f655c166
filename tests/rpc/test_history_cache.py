"""What was read once is not asked for again, and is never taken for something else: the store of histories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from runtap.v1 import history_pb2 as pb
from tests.support.daemon import Daemon, eventually, start_daemon
from tests.support.history_shapes import SHAPES, dense, rows, sparse
from tests.support.history_world import FORMATS, HistoryWorlds, history_worlds, world_of
from tests.support.scripted_world import DEADLINE_S, failing, login, options
from tests.support.upstream import ENTITY
from tests.support.upstream_faults import Status
from tests.support.upstream_histories import HistoriesUpstream

NOW = options(max_age=Duration())
OTHER_KEY = "canary0scripted0key0of0the0other0user0000"


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryWorlds]:
    with start_daemon(tmp_path_factory.mktemp("cache") / "home") as daemon, history_worlds(daemon) as make:
        yield make


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_read_is_not_asked_for_again(worlds: HistoryWorlds, shape: str) -> None:
    world = worlds()
    path = world.server.run(SHAPES[shape]())
    world.check(path)
    before = world.server.rows_asked
    steps = world.server.steps(path) or [0]
    for wanted in FORMATS.values():
        world.check(path, format=wanted)
        world.check(path, keys=["loss", "a", "odd"], format=wanted)
        world.check(path, keys=["loss", "_runtime"], join=pb.HISTORY_JOIN_INNER, format=wanted)
        world.check(path, min_step=steps[len(steps) // 2], format=wanted)
        world.check(path, max_step=steps[len(steps) // 2], last_rows=3, format=wanted)
    world.check(path, options=NOW)
    assert world.server.rows_asked == before


def test_what_was_read_is_known_without_the_server(worlds: HistoryWorlds) -> None:
    world = worlds()
    path, other = world.server.run(dense(1500)), world.server.run(dense(10), "other")
    world.check(path)
    requests = world.server.count()
    world.check(path, options=options(cache_only=True))
    assert failing(lambda: world.read(other, options=options(cache_only=True))).reason == "NOT_IN_CACHE"
    assert world.server.count() == requests
    world.server.fail("*", Status(503), times=1000)
    stale = options(max_age=Duration(), allow_stale_on_error=True, request_timeout=Duration(seconds=1))
    found = world.read(path, options=stale)
    assert found.steps == world.server.steps(path) and found.end.freshness.stale


def test_what_was_read_survives_the_daemon(tmp_path: Path, start: Callable[..., Daemon]) -> None:
    with HistoriesUpstream() as server:
        path = server.run(dense(2500))
        home, asked = tmp_path / "home", []
        for _ in range(2):
            daemon = start(home)
            world_of(server, daemon).check(path)
            asked.append(server.rows_asked)
            daemon.stop()
        assert asked[0] == asked[1]


@pytest.mark.parametrize("first", [dense(5000), sparse()], ids=["dense", "sparse"])
def test_growth_costs_the_tail(worlds: HistoryWorlds, first: list[Any]) -> None:
    world = worlds()
    path = world.server.run(first, state="running")
    world.check(path, options=NOW)
    for _ in range(5):
        asked, (overlap, *_, last) = world.server.rows_asked, world.server.steps(path)[-20:]
        world.server.log(path, rows(range(last + 1, last + 11)))
        seen = len(world.server.requests)
        world.check(path, options=NOW)
        assert world.server.rows_asked - asked == 1
        for request in world.server.requests[seen:]:
            assert request.variables.get("minStep", last) >= overlap, "but for a few rows, to compare"


def test_readers_at_once_are_one_for_the_server(worlds: HistoryWorlds) -> None:
    world = worlds(latency_s=0.05)
    alone, together = world.server.run(dense(4000), "alone"), world.server.run(dense(4000), "together")
    world.check(alone)
    asked = world.server.rows_asked
    with ThreadPoolExecutor(8) as pool:
        for done in [
            pool.submit(world.check, together, format=list(FORMATS.values())[i % 2]) for i in range(8)
        ]:
            done.result()
    assert world.server.rows_asked <= 2 * asked


def test_a_capped_history_is_asked_for_once(worlds: HistoryWorlds) -> None:
    world = worlds(hidden_cap=500)
    path = world.server.run(dense(2600))
    world.check(path)
    asked = world.server.rows_asked
    world.check(path, options=NOW)
    assert world.server.rows_asked == asked


def test_one_cap_is_not_taken_for_that_of_another_server(worlds: HistoryWorlds) -> None:
    """A server that caps is remembered as such, and no other."""
    capped, free = worlds(hidden_cap=500), worlds()
    for world in (capped, free, capped, free):
        path = world.server.run(dense(2600), f"r{len(world.server.lines)}")
        asked = world.server.rows_asked
        world.check(path)
    assert free.server.rows_asked - asked <= 6


def test_the_same_path_on_two_servers_is_two_runs(worlds: HistoryWorlds) -> None:
    """F7: the real client's cache knows neither server nor account."""
    here, there = worlds(), worlds()
    path = here.server.run(rows(range(100), who="here"))
    assert there.server.run(rows(range(100), who="there")) == path
    for world in (here, there, here, there):
        world.check(path)


def test_two_accounts_of_a_server_keep_what_each_may_see(worlds: HistoryWorlds) -> None:
    world = worlds()
    path = world.server.run(dense(100))
    world.check(path)
    asked = world.server.rows_asked
    world.server.add_user(OTHER_KEY, "bob", ENTITY)
    other = login(world.daemon, world.server, OTHER_KEY)
    stub = world.histories(account=other)
    assert list(stub.ReadHistory(pb.ReadHistoryRequest(path=path), timeout=20))
    assert world.server.rows_asked > asked, "what one account was given says nothing of another"


def test_a_kill_in_the_middle_costs_what_was_not_stored(tmp_path: Path, start: Callable[..., Daemon]) -> None:
    with HistoriesUpstream(latency_s=0.02) as server:
        path = server.run(rows(range(60_000)))
        home = tmp_path / "home"
        daemon = start(home)
        request, got = pb.ReadHistoryRequest(path=path), 0

        def kill() -> None:
            eventually(lambda: got, "the reader has some rows")
            daemon.kill()

        server.meanwhile(9, kill)
        with pytest.raises(grpc.RpcError):
            for message in world_of(server, daemon).histories().ReadHistory(request, timeout=DEADLINE_S):
                got += message.row_count
        assert 0 < got < 60_000
        seen = len(server.requests)
        world_of(server, start(home)).check(path)
        asked = [r.variables["minStep"] for r in server.requests[seen:] if "minStep" in r.variables]
        assert asked and min(asked) >= got - 100, (
            "what a reader had was stored, and but for an overlap not asked for"
        )


def test_pages_of_any_size_are_one_history(worlds: HistoryWorlds) -> None:
    world = worlds()
    path = world.server.run(dense(1200))
    for page in (100, 1000, 0):
        world.check(path, upstream_page_size=page)
    before = world.server.rows_asked
    world.check(path, upstream_page_size=7)
    assert world.server.rows_asked == before


def test_no_cache_fetches_whole(worlds: HistoryWorlds) -> None:
    world = worlds()
    path = world.server.run(dense(1200))
    world.check(path)
    before = world.server.rows_asked
    world.check(path, options=options(no_cache=True))
    assert world.server.rows_asked > before


def test_a_little_of_a_long_history_does_not_cost_the_whole(worlds: HistoryWorlds) -> None:
    world = worlds()
    path = world.server.run(rows(range(60_000)), state="running")
    for fields in (
        {"last_rows": 5},
        {"min_step": 30_000, "max_step": 30_100},
        {"min_step": 59_000, "keys": ["loss"]},
        {"max_step": 7, "last_rows": 2},
    ):
        asked = world.server.rows_asked
        found = world.check(path, **fields)
        assert world.server.rows_asked - asked <= 2
        for token, done in found.tokens[:2]:
            assert world.read(path, resume_token=token, **fields).steps == found.steps[done:]
    world.check(path)
