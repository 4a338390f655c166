"""Runs that their server cannot give: all others are listed, and each of these is told by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from runtap.v1 import runs_pb2, sweeps_pb2, sweeps_pb2_grpc
from tests.support.daemon import Daemon, eventually, start_daemon
from tests.support.faulty_reads import fill, held, now, shown
from tests.support.faulty_worlds import Worlds, faulty_worlds, server_of
from tests.support.scripted_world import World, failing, options
from tests.support.upstream import ENTITY, KEY

P = "p"
LONG_S = 50.0
Listed = tuple[list[Any], list[str], list[str]]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests here: each has a server, and so an account, of its own."""
    with start_daemon(tmp_path_factory.mktemp("poison") / "home", secrets=[KEY]) as daemon:
        yield daemon


@pytest.fixture
def worlds(daemon: Daemon) -> Iterator[Worlds]:
    with faulty_worlds(daemon) as make:
        yield make


def name(number: int) -> str:
    return f"r{number:04}"


def listed(world: World, **fields: Any) -> Listed:
    """Every run, the names of those that could not be read, and why the list is incomplete."""
    pages = list(world.pages(project=f"{ENTITY}/{P}", timeout=LONG_S, **fields))
    return _all(pages)


def streamed(world: World, **fields: Any) -> Listed:
    fields.pop("page_size", None)
    messages = world.stream(project=f"{ENTITY}/{P}", timeout=LONG_S, **fields)
    done = messages[-1].progress
    assert done.done == done.total
    return _all(messages)


def _all(answers: Any) -> Listed:
    runs = shown([run for answer in answers for run in answer.runs])
    errors = [error for answer in answers for error in answer.errors]
    assert all(error.reason.startswith("UPSTREAM_") and error.message and error.code for error in errors)
    prefix = f"{ENTITY}/{P}/"
    assert all(error.item.startswith(prefix) for error in errors)
    reasons = [answer.incomplete_reason for answer in answers if answer.incomplete_reason]
    return runs, [error.item.removeprefix(prefix) for error in errors], reasons


def good(world: World) -> list[Any]:
    """The runs that the server can give, newest first."""
    return [run for run in held(server_of(world), P) if run[0] not in world.server.poison]


WHICH: dict[str, Callable[[int], set[int]]] = {
    "first": lambda n: {n - 1},
    "last": lambda n: {0},
    "several": lambda n: {0, n // 3, n // 2, n - 1},
    "a page": lambda n: set(range(max(0, n - 50), n)),
}


@pytest.mark.parametrize("mode", ["status", "null"])
@pytest.mark.parametrize("count", [1, 50, 120])
@pytest.mark.parametrize("which", WHICH)
def test_the_others_are_listed_and_each_of_these_is_told(
    worlds: Worlds, which: str, count: int, mode: Any
) -> None:
    bad = {name(i) for i in WHICH[which](count)}
    wanted = [name(i) for i in reversed(range(count)) if name(i) in bad]
    for read, lacks_updated_at in ((listed, False), (streamed, True)):
        world = worlds(poison_mode=mode, lacks_updated_at=lacks_updated_at, poison=bad)
        server = server_of(world)
        fill(server, P, count)
        assert read(world) == (good(world), wanted, [])
        asked = server.asked(P)
        assert asked.total() <= 12 + 8 * min(4, len(bad)) + 5 * len(bad), asked
        assert read(world) == (good(world), wanted, [])
        assert (server.asked(P) - asked).total() <= 1, "not tried in every list"


def test_a_server_that_can_give_no_run_at_all_is_not_asked_for_each(worlds: Worlds) -> None:
    world = worlds(poison={name(i) for i in range(400)})
    fill(server_of(world), P, 400)
    runs, errors, _ = streamed(world)
    assert not runs and errors == [name(i) for i in reversed(range(400))]
    assert server_of(world).asked(P).total() < 300


def test_however_many_cannot_be_read_the_others_are(worlds: Worlds) -> None:
    bad = {name(i) for i in range(150) if i % 2 or i < 30}
    world = worlds(poison=bad)
    fill(server_of(world), P, 150)
    assert streamed(world) == (good(world), sorted(bad, reverse=True), [])
    assert server_of(world).asked(P).total() <= 7 * len(bad)


@pytest.mark.parametrize("lacks_updated_at", [False, True])
def test_a_run_that_cannot_be_read_any_more_is_told_and_one_that_can_is_read_again(
    worlds: Worlds, lacks_updated_at: bool
) -> None:
    world = worlds(lacks_updated_at=lacks_updated_at)
    server = server_of(world)
    fill(server, P, 60)
    assert streamed(world) == (good(world), [], [])
    for bad in ({name(59)}, {name(0), name(30), name(31)}, set()):
        server.poison.clear()
        for run_id in bad:
            server.projects[ENTITY, P][run_id] |= {"updatedAt": "2026-02-01T00:00:00Z", "state": "crashed"}
        server.poison.update(bad)
        expected: Listed = (good(world), sorted(bad, reverse=True), [])
        for read in (listed, streamed):
            before = server.asked(P).total()
            assert read(world, options=now()) == expected
            assert server.asked(P).total() - before <= 3 + 12 * 3
        assert listed(world, page_size=7) == expected


def test_healed_runs_are_asked_for_alone_and_only_by_those_who_want_it(worlds: Worlds) -> None:
    world = worlds(poison={name(5), name(40)})
    server = server_of(world)
    fill(server, P, 60)
    broken: Listed = (good(world), [name(40), name(5)], [])
    earlier = now()
    assert streamed(world) == broken
    server.poison = set()
    assert streamed(world, options=earlier) == broken, "tried since"
    before = server.asked(P)
    assert streamed(world, options=now()) == (good(world), [], [])
    assert (server.asked(P) - before) == {"RunsGlance": 1, "Runs": 2}
    assert world.runs().GetRun(runs_pb2.GetRunRequest(path=f"{ENTITY}/{P}/{name(5)}"), timeout=20)


def test_two_readers_at_once_share_the_search(worlds: Worlds) -> None:
    world = worlds(poison={name(7), name(99)})
    server = server_of(world)
    fill(server, P, 120)
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(read, world) for read in (listed, streamed, listed, streamed)]
        assert [call.result() for call in calls] == [(good(world), [name(99), name(7)], [])] * 4
    assert server.asked(P).total() <= 14 + 2 * 18


@pytest.mark.parametrize("leaves_after", [1, 3, 5, 8])
def test_another_goes_on_where_one_left(worlds: Worlds, leaves_after: int) -> None:
    world = worlds(poison={name(7), name(99)})
    server = server_of(world)
    fill(server, P, 120)
    server.latency_s = 0.03
    request = runs_pb2.StreamRunsRequest(project=f"{ENTITY}/{P}")
    leaving = world.runs().StreamRuns(request, timeout=LONG_S)
    eventually(lambda: server.asked(P).total() >= leaves_after, "the search goes on")
    leaving.cancel()
    server.latency_s = 0.0
    assert streamed(world) == (good(world), [name(99), name(7)], [])
    assert server.asked(P).total() <= 14 + 2 * 18


@pytest.mark.parametrize("count", [2, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(90)])])
def test_a_run_that_hangs_is_found_within_a_minute(worlds: Worlds, count: int) -> None:
    world = worlds(poison={name(0)}, poison_mode="hang")
    fill(server_of(world), P, count)
    page = world.list(project=f"{ENTITY}/{P}", timeout=LONG_S)
    assert _all([page]) == (good(world), [name(0)], [])
    assert {error.reason for error in page.errors} == {"UPSTREAM_TIMEOUT"}


def test_what_cannot_be_read_cannot_be_judged_and_is_told(worlds: Worlds) -> None:
    world = worlds(poison={name(7), name(40)})
    fill(server_of(world), P, 60)
    query = {"filter_json": '{"summary.loss": {"$gte": 0}, "config.a.b": {"$exists": false}}'}
    for order in ("+config.lr", "-created_at"):
        for read in (listed, streamed):
            runs, errors, reasons = read(world, order=order, **query)
            assert runs == (good(world) if order[0] == "-" else good(world)[::-1])
            assert (sorted(errors), reasons) == ([name(7), name(40)], [])


@pytest.mark.parametrize("pick", [sweeps_pb2.METRIC_PICK_LAST, sweeps_pb2.METRIC_PICK_MIN])
def test_the_best_run_is_told_with_those_that_were_not_looked_at(worlds: Worlds, pick: Any) -> None:
    for bad, best in (({name(0), name(9)}, 1), ({name(i) for i in range(60)}, None)):
        world = worlds(poison=bad)
        server = server_of(world)
        fill(server, P, 60)
        for i in range(60):  # the smallest is that of the first run
            server.add_history(ENTITY, P, name(i), [{"_step": 0, "loss": i * 7 % 60}])
        stub = sweeps_pb2_grpc.SweepServiceStub(world.channel())
        request = sweeps_pb2.GetBestRunRequest(path=f"{ENTITY}/{P}/s1", pick=pick)
        found = stub.GetBestRun(request, timeout=LONG_S)
        assert (found.value if found.HasField("run") else None) == best
        assert all(f"{ENTITY}/{P}/{run_id}" in found.warning for run_id in sorted(bad)[:2]), found.warning
        assert f"{len(bad)} could not be read" in found.warning


def test_a_single_run_that_cannot_be_read_is_an_error(worlds: Worlds) -> None:
    world = worlds(poison={name(0)})
    fill(server_of(world), P, 2)
    for mode, reason in (("status", "UPSTREAM_UNAVAILABLE"), ("null", "UPSTREAM_REFUSED")):
        world.server.poison_mode = mode  # type: ignore[assignment]
        told = failing(lambda: world.get(name(0), timeout=1.0, options=options(no_cache=True)))
        assert told.reason in (reason, "RUN_NOT_FOUND")
