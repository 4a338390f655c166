"""Servers in trouble: what is read is complete and right, or it is said what is missing, and nothing takes for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from runtap.v1 import accounts_pb2, accounts_pb2_grpc
from tests.support.daemon import Daemon, start_daemon
from tests.support.faulty_reads import READINGS, Reading, change, fill, now
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.scripted_world import DEADLINE_S, World, failing, login, options
from tests.support.upstream import KEY
from tests.support.upstream_faults import (
    CutShort,
    Delay,
    Drip,
    Empty,
    Html,
    Refuse,
    ResetBefore,
    ResetInside,
    ShortBody,
    Status,
    UpstreamFailure,
)

Worlds = Callable[..., World]
LONG_S = 40.0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests here: each has a server, and so an account, of its own."""
    with start_daemon(tmp_path_factory.mktemp("faults") / "home", secrets=[KEY]) as daemon:
        yield daemon


@pytest.fixture
def worlds(daemon: Daemon) -> Iterator[Worlds]:
    """Makes servers, with an account of the daemon for each."""
    with ExitStack() as stack:

        def make(**fields: Any) -> World:
            server = stack.enter_context(FaultyUpstream(**fields))
            world = World(server, daemon, login(daemon, server))
            stack.callback(_log_out, world)
            return world

        yield make


def _log_out(world: World) -> None:
    stub = accounts_pb2_grpc.AccountServiceStub(world.daemon.channel())
    stub.Logout(accounts_pb2.LogoutRequest(account_id=world.account), timeout=DEADLINE_S)


@pytest.fixture(params=["updatedAt", "no updatedAt"])
def world(worlds: Worlds, request: pytest.FixtureRequest) -> World:
    return worlds(lacks_updated_at=request.param == "no updatedAt")


def server_of(world: World) -> FaultyUpstream:
    assert isinstance(world.server, FaultyUpstream)
    return world.server


# Trouble that passes

PASSING: dict[str, Sequence[UpstreamFailure]] = {
    "500, 502, 504": [Status(500), Status(502), Status(504)],
    "503 with Retry-After": [Status(503, b"{}", {"Retry-After": "0.1"})],
    "reset before": [ResetBefore()] * 2,
    "reset inside": [ResetInside()] * 2,
    "closed inside": [ShortBody()] * 2,
    "truncated JSON": [CutShort()] * 2,
    "HTML": [Html()] * 2,
    "empty": [Empty()] * 2,
    "one after the other": [ResetBefore(), Html(), CutShort()],
}


@pytest.mark.parametrize("failures", PASSING.values(), ids=PASSING)
def test_everything_is_right_once_trouble_has_passed(world: World, failures: Any) -> None:
    server = server_of(world)

    def cold(name: str, reading: Reading) -> None:
        project = f"{name}-cold"
        fill(server, project)
        server.trouble(project, failures)
        _right(world, reading, project)
        assert server.asked(project).total() <= 2 * len(failures) * 3 + 4, "no storm"

    def warm(name: str, reading: Reading) -> None:
        project = f"{name}-warm"
        fill(server, project)
        _right(world, reading, project)
        before = server.asked(project).total()
        change(server, project)
        server.trouble(project, failures)
        _right(world, reading, project)
        assert server.asked(project).total() - before <= 2 * len(failures) * 3 + 8, "no storm"

    _all_at_once((cold, warm))


def _right(world: World, reading: Reading, project: str) -> None:
    found = reading.read(world, project, now(), LONG_S)
    assert found == reading.expected(server_of(world), project)


def _all_at_once(jobs: Sequence[Callable[[str, Reading], None]]) -> None:
    """Does each job for each kind of read; all of them at the same time."""
    with ThreadPoolExecutor(len(jobs) * len(READINGS)) as threads:
        calls = {
            f"{job.__name__} {name}": threads.submit(job, name, reading)
            for job in jobs
            for name, reading in READINGS.items()
        }
    wrong = {name: error for name, call in calls.items() if (error := call.exception()) is not None}
    assert not wrong, "\n".join(f"{name}: {error}" for name, error in wrong.items())


def test_latency_changes_nothing(world: World) -> None:
    server = server_of(world)

    def cold_and_warm(name: str, reading: Reading) -> None:
        fill(server, name)
        _right(world, reading, name)
        change(server, name)
        _right(world, reading, name)

    server.latency_s = 0.05
    _all_at_once((cold_and_warm,))


@pytest.mark.parametrize("name", READINGS)
def test_a_limit_that_sends_back_is_waited_for(worlds: Worlds, name: str) -> None:
    world, reading = worlds(), READINGS[name]
    server = server_of(world)
    fill(server, name)
    for _ in range(2):
        server.trouble(name, [Status(429, b"{}", {"Retry-After": "0.3"})])
        _right(world, reading, name)
        change(server, name)


# Trouble that stays

STAYING: dict[str, tuple[UpstreamFailure, set[str]]] = {
    "503": (Status(503), {"UPSTREAM_UNAVAILABLE"}),
    "429": (Status(429, b"{}"), {"RATE_LIMITED", "UPSTREAM_TIMEOUT"}),  # or it never had its turn
    "429 with Retry-After": (Status(429, b"{}", {"Retry-After": "60"}), {"RATE_LIMITED"}),
    "no answer": (Delay(60), {"UPSTREAM_TIMEOUT"}),
    "dripping": (Drip(0.05), {"UPSTREAM_TIMEOUT"}),
    "reset": (ResetInside(), {"UPSTREAM_UNAVAILABLE"}),
    "truncated JSON": (CutShort(), {"UPSTREAM_INVALID_ANSWER"}),
    "HTML": (Html(), {"UPSTREAM_INVALID_ANSWER"}),
    "empty": (Empty(), {"UPSTREAM_INVALID_ANSWER"}),
    "a refusal": (Refuse(), {"UPSTREAM_REFUSED"}),
}


@pytest.mark.parametrize(("failure", "reasons"), STAYING.values(), ids=STAYING)
def test_what_goes_wrong_for_good_is_said_in_time(worlds: Worlds, failure: Any, reasons: set[str]) -> None:
    world = worlds()
    server = server_of(world)
    patience = options(request_timeout={"seconds": 2})

    def ends(name: str, reading: Reading) -> None:
        fill(server, name)
        server.hopeless(name, failure)
        begun = time.monotonic()
        told = failing(lambda: reading.read(world, name, patience, LONG_S))
        assert time.monotonic() - begun < 2 + 1
        assert told.reason in reasons and server.url in told.message, told
        sent = server.asked(name).total()
        assert sent <= 20, "no storm"
        time.sleep(0.5)
        assert server.asked(name).total() == sent, "nothing goes on behind the caller's back"

    _all_at_once((ends,))


def test_what_went_wrong_for_good_is_read_when_it_is_over(worlds: Worlds) -> None:
    world = worlds()
    server = server_of(world)
    patience = options(request_timeout={"seconds": 1})

    def comes_back(name: str, reading: Reading) -> None:
        fill(server, name)
        server.hopeless(name, Status(502))
        failing(lambda: reading.read(world, name, patience, LONG_S))
        server.hopeless(name, Delay(0))
        _right(world, reading, name)

    _all_at_once((comes_back,))
