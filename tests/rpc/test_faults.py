"""Servers in trouble: what is read is complete and right, or it is said what is missing, and nothing takes for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.daemon import Daemon, eventually, start_daemon
from tests.support.faulty_reads import READINGS, Reading, change, fill, now
from tests.support.faulty_worlds import Worlds, faulty_worlds, server_of
from tests.support.scripted_world import World, failing, options
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

LONG_S = 40.0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests here: each has a server, and so an account, of its own."""
    with start_daemon(tmp_path_factory.mktemp("faults") / "home", secrets=[KEY]) as daemon:
        yield daemon


@pytest.fixture
def worlds(daemon: Daemon) -> Iterator[Worlds]:
    with faulty_worlds(daemon) as make:
        yield make


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
def test_everything_is_right_once_trouble_has_passed(worlds: Worlds, failures: Any) -> None:
    def cold(world: World, name: str, reading: Reading) -> None:
        project, server = f"{name}-cold", server_of(world)
        fill(server, project)
        server.trouble(project, failures)
        _right(world, reading, project)
        assert server.asked(project).total() <= 6 * len(failures) + 4, "no storm"

    def warm(world: World, name: str, reading: Reading) -> None:
        project, server = f"{name}-warm", server_of(world)
        fill(server, project)
        _right(world, reading, project)
        before = server.asked(project)
        change(server, project)
        server.trouble(project, failures)
        _right(world, reading, project)
        assert (server.asked(project) - before).total() <= 6 * len(failures) + 8, "no storm"

    _all_at_once([worlds(), worlds(lacks_updated_at=True)], cold, warm)


def _right(world: World, reading: Reading, project: str) -> None:
    found = reading.read(world, project, now(), LONG_S)
    assert found == reading.expected(server_of(world), project)


def _all_at_once(worlds: Sequence[World], *jobs: Callable[[World, str, Reading], None]) -> None:
    """Does each job in each world for each kind of read; all of them at the same time."""
    with ThreadPoolExecutor(len(worlds) * len(jobs) * len(READINGS)) as threads:
        calls = {
            f"{job.__name__} {name} {number}": threads.submit(job, world, name, reading)
            for number, world in enumerate(worlds)
            for job in jobs
            for name, reading in READINGS.items()
        }
    wrong = {name: error for name, call in calls.items() if (error := call.exception()) is not None}
    assert not wrong, "\n".join(f"{name}: {error}" for name, error in wrong.items())


def _cold_and_warm(world: World, name: str, reading: Reading) -> None:
    server = server_of(world)
    fill(server, name)
    _right(world, reading, name)
    change(server, name)
    _right(world, reading, name)
    assert server.asked(name).total() <= 40, "no storm"


def test_latency_changes_nothing(worlds: Worlds) -> None:
    _all_at_once([worlds(latency_s=0.05), worlds(latency_s=0.05, lacks_updated_at=True)], _cold_and_warm)


def test_a_page_that_drips_is_given_up_for_smaller_ones(worlds: Worlds) -> None:
    world = worlds()
    fill(server_of(world), "p", 10)
    server_of(world).fail("Runs", Drip(0.05))
    _right(world, READINGS["ListRuns"], "p")
    eventually(lambda: server_of(world).abandoned == 1, "the server sees the daemon leave")


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

    def ends(world: World, name: str, reading: Reading) -> None:
        fill(server, name)
        server.hopeless(name, failure)
        begun = time.monotonic()
        told = failing(lambda: reading.read(world, name, patience, LONG_S))
        assert time.monotonic() - begun < LONG_S / 3
        assert told.reason in reasons and server.url in told.message, told
        time.sleep(0.2)  # what was on its way then may still arrive
        sent = server.asked(name).total()
        assert sent <= 20, "no storm"
        time.sleep(0.5)
        assert server.asked(name).total() == sent, "nothing goes on behind the caller's back"

    _all_at_once([world], ends)


def test_what_went_wrong_for_good_is_read_when_it_is_over(worlds: Worlds) -> None:
    world = worlds()
    server = server_of(world)
    patience = options(request_timeout={"seconds": 1})

    def comes_back(world: World, name: str, reading: Reading) -> None:
        fill(server, name)
        server.hopeless(name, Status(502))
        failing(lambda: reading.read(world, name, patience, LONG_S))
        server.hopeless(name, Delay(0))
        _right(world, reading, name)

    _all_at_once([world], comes_back)


# Servers that cannot do everything

INCAPABLE: dict[str, dict[str, Any]] = {
    "small pages": {"page_cap": 7},
    "ignores order": {"ignores_order": True},
    "ignores order, small pages": {"ignores_order": True, "page_cap": 7},
    "refuses summary and config": {"refuses": ("summary_metrics.", "config.")},
    "refuses every filter": {"refuses": ("$", "createdAt", "state")},
    "refuses introspection": {"refuses_introspection": True},
    "lacks what is new": {"lacks": {("Run", "updatedAt"), ("Project", "description"), ("Sweep", "method")}},
    "lacks what is new, refuses introspection": {
        "lacks": {("Run", "updatedAt"), ("Project", "description"), ("Sweep", "method")},
        "refuses_introspection": True,
    },
    "counts too few": {"counts_wrongly_by": -3},
}


@pytest.mark.parametrize("fields", INCAPABLE.values(), ids=INCAPABLE)
def test_what_a_server_cannot_do_is_done_here(worlds: Worlds, fields: dict[str, Any]) -> None:
    _all_at_once([worlds(**fields)], _cold_and_warm)


def test_a_field_that_every_server_has_is_named_where_one_has_it_not(worlds: Worlds) -> None:
    world = worlds(lacks={("Run", "displayName")})
    fill(server_of(world), "p")
    for name in ("GetRun", "ListRuns", "StreamRuns", "judged", "ReadDocument", "GetBestRun"):
        told = failing(lambda name=name: READINGS[name].read(world, "p", now(), LONG_S))  # type: ignore[misc]
        assert told.reason == "UPSTREAM_REFUSED" and "displayName" in told.message
    assert server_of(world).asked("p").total() <= 6 * 4, "no storm"
