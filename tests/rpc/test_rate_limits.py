"""A server that limits how often it may be asked, or that lets its answers drip: who waits for whom, and how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from runtap.v1 import daemon_pb2, daemon_pb2_grpc, runs_pb2
from tests.support.daemon import Daemon, eventually
from tests.support.limited_upstream import FixedWindow, LimitedUpstream, Limiter, TokenBucket
from tests.support.scripted_world import DEADLINE_S, World, failing, login, make_world
from tests.support.upstream import ENTITY, KEY
from tests.support.upstream_faults import Drip, Status

OTHER_KEY = "canary0scripted0key0of0the0other0user0000"
PROJECTS = 8
PAGES = 26
RUNS_A_PAGE = 2


@pytest.fixture
def server() -> Iterator[LimitedUpstream]:
    with LimitedUpstream(page_cap=RUNS_A_PAGE) as server:
        server.add_user(OTHER_KEY, "bob", "bobs")
        yield server


@pytest.fixture
def world(server: LimitedUpstream, start: Callable[..., Daemon]) -> World:
    for project in range(PROJECTS):
        for run in range(PAGES * RUNS_A_PAGE):
            server.add_run(ENTITY, f"p{project}", f"p{project}r{run}")
    server.add_run("bobs", "p", "r")
    return make_world(server, start)


def export(world: World, project: int, **options: str) -> Any:
    """The stream of all runs of a project; a client of its own."""
    stub = world.runs(client=f"test/1/{project}", **options)
    return stub.StreamRuns(runs_pb2.StreamRunsRequest(project=f"{ENTITY}/p{project}"), timeout=60)


def exported(world: World, project: int) -> int:
    return sum(len(message.runs) for message in export(world, project))


def get(world: World, path: str, timeout: float = DEADLINE_S, **options: str) -> None:
    world.runs(**options).GetRun(runs_pb2.GetRunRequest(path=path), timeout=timeout)


@pytest.mark.parametrize("tells", [True, False], ids=["with headers", "without"])
@pytest.mark.parametrize(
    "limiter",
    [lambda: FixedWindow(40, 0.6), lambda: TokenBucket(60, 30)],
    ids=["fixed window", "token bucket"],
)
def test_eight_exports_share_what_is_allowed(
    world: World, server: LimitedUpstream, limiter: Callable[[], Limiter], tells: bool
) -> None:
    server.tells = tells
    server.limiters[KEY] = limiter()
    with ThreadPoolExecutor(PROJECTS) as threads:
        found = list(threads.map(lambda project: exported(world, project), range(PROJECTS)))
    assert found == [PAGES * RUNS_A_PAGE] * PROJECTS
    requests = len(server.arrivals)
    assert requests >= 200
    assert server.refused <= (1 if tells else requests // 50)
    assert not [arrival for arrival in server.arrivals if arrival.in_pause]


@pytest.mark.parametrize("tells", [True, False], ids=["with headers", "without"])
def test_a_person_waits_for_one_request_of_a_bulk_job_at_most(
    world: World, server: LimitedUpstream, tells: bool
) -> None:
    server.tells = tells
    server.limiters[KEY] = TokenBucket(10, 5)
    streams = [export(world, project) for project in range(PROJECTS)]
    readers = [threading.Thread(target=_read, args=(stream,)) for stream in streams]
    for reader in readers:
        reader.start()
    eventually(lambda: server.count("Runs") >= 12, "the exports have met the limit")
    went_first = []
    for number in range(5):
        before = len(server.arrivals)
        get(world, f"{ENTITY}/p0/p0r{number}")
        since = server.arrivals[before:]
        run = next(i for i, arrival in enumerate(since) if arrival.operation == "Run" and arrival.allowed)
        went_first.append(sum(arrival.operation == "Runs" for arrival in since[:run]))
    # On a busy machine a call may need longer to the daemon than a bulk request; one that waits its turn always would.
    assert sorted(went_first)[2] <= 1, went_first
    for stream in streams:
        stream.cancel()
    for reader in readers:
        reader.join(5)
    eventually(lambda: world.daemon.open_calls() == 0, "the daemon hears of it")
    time.sleep(0.1)  # what was on its way then may still arrive
    gone = server.count()
    time.sleep(0.5)
    assert server.count() == gone, "nobody waits any more, so nothing is sent"


def _read(stream: Any) -> None:
    try:
        for _ in stream:
            pass
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.CANCELLED


def pauses(world: World) -> list[str]:
    """What `status` says of pauses that servers have asked for."""
    stub = daemon_pb2_grpc.DaemonServiceStub(world.daemon.channel())
    status = stub.GetStatus(daemon_pb2.GetStatusRequest(), timeout=DEADLINE_S)
    return [warning for warning in status.warnings if "pause" in warning]


def test_the_limits_of_two_accounts_are_apart(world: World, server: LimitedUpstream) -> None:
    bob = login(world.daemon, server, OTHER_KEY)
    server.fail("Run", Status(429, b"{}", {"Retry-After": "60"}))
    assert failing(lambda: get(world, f"{ENTITY}/p0/p0r0")).reason == "RATE_LIMITED"
    get(world, "bobs/p/r", account=bob)
    sent = server.count()
    told = failing(lambda: get(world, f"{ENTITY}/p1/p1r0"))
    assert (
        told.reason == "RATE_LIMITED" and server.url in told.message and 50 < (told.retry_after_s or 0) <= 60
    )
    assert server.count() == sent, "nothing is sent inside the pause"
    held = pauses(world)
    assert len(held) == 1 and server.url in held[0] and "(account of ada)" in held[0]


def test_cancelling_ends_a_wait_for_a_turn_at_once(world: World, server: LimitedUpstream) -> None:
    server.fail("Run", Status(429, b"{}", {"Retry-After": "3"}), times=3)
    calls = [
        world.runs().GetRun.future(runs_pb2.GetRunRequest(path=f"{ENTITY}/p0/p0r{i}"), timeout=30)
        for i in range(3)
    ]
    eventually(lambda: world.daemon.open_calls() == 3 and pauses(world), "all wait for the pause to be over")
    sent = server.count()
    for call in calls:
        call.cancel()
    time.sleep(3.2)
    assert server.count() == sent
    server.heal()
    get(world, f"{ENTITY}/p0/p0r0")


def test_dripping_bodies_hold_up_neither_other_accounts_nor_people(
    world: World, server: LimitedUpstream
) -> None:
    bob = login(world.daemon, server, OTHER_KEY)
    for number in range(32):
        server.add_run(ENTITY, f"drip{number}", "r", summary={"text": "x" * 5000})
    server.fail("Runs", Drip(0.05), times=32)
    streams = [
        world.runs(client=f"test/2/{number}").StreamRuns(
            runs_pb2.StreamRunsRequest(project=f"{ENTITY}/drip{number}"), timeout=60
        )
        for number in range(32)
    ]
    eventually(lambda: server.count("Runs") >= 8, "as many bodies drip as the account has connections")
    for number in range(3):
        get(world, f"{ENTITY}/p0/p0r{number}", timeout=5)
    get(world, "bobs/p/r", timeout=5, account=bob)
    for stream in streams:
        stream.cancel()
    server.heal()
    eventually(lambda: server.abandoned >= 8, "the bodies are given up")
    assert exported(world, 1) == PAGES * RUNS_A_PAGE, "and their connections are free again"


def test_dripping_answers_to_people_hold_up_nobody_else(world: World, server: LimitedUpstream) -> None:
    bob = login(world.daemon, server, OTHER_KEY)
    server.fail("Run", Drip(0.05), times=32)
    stub = world.runs()
    calls = [
        stub.GetRun.future(runs_pb2.GetRunRequest(path=f"{ENTITY}/p0/p0r{i}"), timeout=60) for i in range(32)
    ]
    eventually(lambda: server.count("Run") == 32, "all bodies drip")
    get(world, "bobs/p/r", timeout=5, account=bob)
    get(world, f"{ENTITY}/p1/p1r0", timeout=5)
    for call in calls:
        call.cancel()
    eventually(lambda: server.abandoned == 32, "the bodies are given up")
