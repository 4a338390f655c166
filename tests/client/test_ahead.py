"""Pages of a cached list are fetched while the caller works on the one before; nobody can tell but by the time."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import runtap
from runtap import ahead, channel
from runtap.v1 import common_pb2
from tests.support.scripted_daemon import Fault, ScriptedDaemon, scripted_daemon

ALL = [f"r{number}" for number in range(100)]
PAGE = 20


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    with scripted_daemon(tmp_path, monkeypatch) as script:
        script.freshness.source = common_pb2.FRESHNESS_SOURCE_MEMORY
        for run_id in ALL:
            script.add_run(run_id)
        yield script


@pytest.fixture
def runs(daemon: ScriptedDaemon) -> runtap.Runs:
    return runtap.Api().runs("ada/digits", per_page=PAGE)


def asked(daemon: ScriptedDaemon) -> list[bool]:
    """Of each page asked for: whether out of the cache only."""
    return [call.request.options.cache_only for call in daemon.calls if call.method == "runs.ListRuns"]


def ids(runs: runtap.Runs) -> list[str]:
    return [run.id for run in runs]


def test_pages_are_fetched_ahead_each_once(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    assert ids(runs) == ALL
    assert asked(daemon) == [False, True, True, True, True]
    assert runs.complete
    assert not any(thread.name == "runtap-ahead" for thread in threading.enumerate())


def test_the_first_page_alone_costs_no_more(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    assert runs[PAGE - 1].id == f"r{PAGE - 1}"
    assert next(iter(runs)) is runs[0]
    assert asked(daemon) == [False]


def test_what_comes_from_the_server_is_not_fetched_ahead(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    daemon.freshness.source = common_pb2.FRESHNESS_SOURCE_UPSTREAM
    assert ids(runs) == ALL
    assert asked(daemon) == [False] * 5


def test_what_is_not_in_the_cache_is_asked_for_as_usual(
    daemon: ScriptedDaemon, runs: runtap.Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = daemon.enter

    def nothing_cached(method: str, request: Any, context: grpc.ServicerContext) -> None:
        if method == "runs.ListRuns" and request.options.cache_only:
            daemon.fail(method, Fault(grpc.StatusCode.FAILED_PRECONDITION, "NOT_IN_CACHE"))
        enter(method, request, context)

    monkeypatch.setattr(daemon, "enter", nothing_cached)
    assert ids(runs) == ALL
    assert asked(daemon) == [False, True, False, False, False, False]


def test_a_daemon_that_is_gone_is_replaced_only_when_somebody_waits(
    daemon: ScriptedDaemon, runs: runtap.Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter, before = daemon.enter, channel.daemon().connection()
    used: list[bool] = []

    def gone(method: str, request: Any, context: grpc.ServicerContext) -> None:
        if method == "runs.ListRuns" and request.options.cache_only:
            daemon.fail(method, Fault(grpc.StatusCode.UNAVAILABLE, ""))
        elif method == "runs.ListRuns":
            used.append(channel.daemon().connection() is before)
        enter(method, request, context)

    monkeypatch.setattr(daemon, "enter", gone)
    assert ids(runs) == ALL
    assert asked(daemon) == [False, True, False, False, False, False]
    assert all(used)


def test_what_the_cache_does_not_have_whole_is_asked_for_as_usual(
    daemon: ScriptedDaemon, runs: runtap.Runs
) -> None:
    daemon.incomplete_reason = "some are gone"
    with pytest.warns(UserWarning, match="some are gone"):
        assert ids(runs) == ALL
    assert asked(daemon)[-2:] == [True, False]


def test_a_page_from_before_another_call_is_not_used(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    run = runs[PAGE]
    daemon.runs["ada/digits/r50"].display_name = "renamed"
    run.load()
    assert runs[50].name == "renamed"
    assert ids(runs) == ALL
    assert asked(daemon) == [False, False, True, False, False, False]


def test_a_page_fetched_long_ago_is_not_used(
    daemon: ScriptedDaemon, runs: runtap.Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "YOUNG_S", 0.0)
    assert ids(runs) == ALL
    assert asked(daemon) == [False, True, False, False, False, False]


def test_a_copy_has_what_was_fetched_and_goes_on_by_itself(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    assert runs[PAGE]
    copy = pickle.loads(pickle.dumps(runs))
    assert ids(copy) == ids(runs) == ALL


FORKS = """
import os, sys, warnings
import runtap
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads; the server's are in another process
runs = runtap.Api().runs("ada/digits", per_page=4)
seen = []
for number, run in enumerate(runs):
    seen.append(run.id)
    if number % 4 == 0:
        child = os.fork()
        if child == 0:
            rest = [run.id for run in runs]
            os._exit(0 if rest == [f"r{number}" for number in range(100)] else 1)
        assert os.waitpid(child, 0)[1] == 0
print(seen == [f"r{number}" for number in range(100)])
"""


def test_a_fork_in_the_middle_of_a_list_goes_on_in_both(daemon: ScriptedDaemon) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], env=dict(os.environ), capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
