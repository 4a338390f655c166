"""An interrupt in the middle of something costs what was being done, and nothing that is done afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runtap
from runtap import ahead, channel, paged
from runtap import runs as runs_module
from runtap.freshness import Freshness, older
from runtap.v1 import common_pb2
from tests.support.client import wait_until
from tests.support.scripted_daemon import ScriptedDaemon, scripted_daemon

ALL = [f"r{number}" for number in range(60)]
PAGE = 20


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    with scripted_daemon(tmp_path, monkeypatch) as script:
        for run_id in ALL:
            script.add_run(run_id)
        yield script


def interrupted_once(function: Callable[..., Any], at: int = 1) -> Callable[..., Any]:
    """The function, which the user interrupts when it is called for the `at`-th time."""
    calls = 0

    def called(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return function(*arguments)

    return called


@pytest.mark.parametrize("page", [1, 2, 3])
@pytest.mark.parametrize("step", ["older", "Run"])
def test_runs_come_once_after_an_interrupt(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch, page: int, step: str
) -> None:
    runs = runtap.Api().runs("ada/digits", per_page=PAGE)
    at = page if step == "older" else (page - 1) * PAGE + 7
    monkeypatch.setattr(runs_module, step, interrupted_once(getattr(runs_module, step), at))
    with pytest.raises(KeyboardInterrupt):
        list(runs)
    assert [run.id for run in runs] == ALL
    assert len(runs) == len(ALL)


class Numbers(paged.Paged[int]):
    """Six numbers in pages of two."""

    def _page(self, token: str) -> tuple[list[int], str, Freshness]:
        begin = int(token or 0)
        return [begin, begin + 1], str(begin + 2) if begin < 4 else "", Freshness(None, "memory")


@pytest.mark.parametrize("page", [1, 2, 3])
def test_items_come_once_after_an_interrupt(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    numbers = Numbers(runtap.Api().client)
    monkeypatch.setattr(paged, "older", interrupted_once(older, page))
    with pytest.raises(KeyboardInterrupt):
        list(numbers)
    assert list(numbers) == list(range(6))


def test_an_interrupted_call_leaves_no_lock_to_the_next_one(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC may have been interrupted with its channel's lock in hand: nobody calls over that channel again."""
    api = runtap.Api()
    before = channel.daemon().connection()
    monkeypatch.setattr(channel, "_invoke", interrupted_once(channel._invoke))
    with pytest.raises(KeyboardInterrupt):
        api.run("ada/digits/r1")
    assert api.run("ada/digits/r1").id == "r1"
    assert channel.daemon().connection() is not before


def test_a_page_fetched_ahead_that_does_not_come_is_asked_for(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.freshness.source = common_pb2.FRESHNESS_SOURCE_MEMORY
    monkeypatch.setattr(ahead, "YOUNG_S", 0.05)
    runs = runtap.Api().runs("ada/digits", per_page=PAGE)
    release = threading.Event()
    released: list[bool] = []
    handle = channel.daemon()
    call = handle.call

    def stuck(*arguments: Any, in_earnest: bool = True, **options: Any) -> Any:
        if not in_earnest:
            released.append(release.wait(10))
        return call(*arguments, in_earnest=in_earnest, **options)

    monkeypatch.setattr(handle, "call", stuck)
    try:
        assert [run.id for run in runs] == ALL
        assert released == []  # the loop waited for none of them
    finally:
        release.set()
        wait_until(lambda: not any(thread.name == "runtap-ahead" for thread in threading.enumerate()))
