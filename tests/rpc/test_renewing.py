"""Lists that were read before: a glance renews them, and only what has changed is read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from runtap.v1 import common_pb2
from tests.support.daemon import Daemon
from tests.support.scripted_world import PROJECT, World, login, make_world, options
from tests.support.upstream import ENTITY, ScriptedUpstream


@pytest.fixture
def world(start: Callable[..., Daemon]) -> Iterator[World]:
    with ScriptedUpstream() as server:
        yield make_world(server, start)


@pytest.fixture
def older(start: Callable[..., Daemon]) -> Iterator[World]:
    """A server that does not tell when a run was last changed."""
    with ScriptedUpstream(lacks_updated_at=True) as server:
        yield make_world(server, start)


def later() -> common_pb2.ReadOptions:
    """What a process asks that trusts nothing from before now."""
    stamp = Timestamp()
    stamp.FromNanoseconds(time.time_ns())
    return options(not_before=stamp)


def ids(answers: Sequence[Any]) -> list[str]:
    return [run.run_id for answer in answers for run in answer.runs]


def counted(world: World) -> dict[str, int]:
    """The requests since the last look, and looks away."""
    found = {name: n for name, n in world.server.counts().items() if name != "Viewer"}
    world.server.requests.clear()
    return found


def read_by_name(world: World) -> set[str]:
    """The runs whose documents were asked for by name."""
    names: set[str] = set()
    for request in world.server.requests:
        asked = json.loads(request.variables.get("filters") or "{}").get("name")
        if request.operation == "Runs" and isinstance(asked, dict):
            names |= set(asked["$in"])
    return names


def change(world: World, run_id: str, **fields: Any) -> None:
    """Somebody else changes a run."""
    stamp = f"2026-01-03T00:00:00.{len(world.server.requests) + 1:06}Z"
    world.server.projects[ENTITY, PROJECT][run_id].update(fields, updatedAt=stamp)


def test_a_list_of_which_nothing_changed_is_one_light_page(world: World) -> None:
    world.add_runs(120, config={"lr": {"value": 0.1}}, summary={"loss": 1})
    before = world.stream()
    assert counted(world) == {"Runs": 1}
    again = world.stream(options=later())
    assert ids(again) == ids(before) and len(ids(again)) == 120
    assert counted(world) == {"RunsGlance": 1}
    assert list(again[0].freshness.revalidated) == ["updated_at"]
    assert again[0].freshness.fetched_at.ToNanoseconds() > before[0].freshness.fetched_at.ToNanoseconds()
    # A single run has been looked at as well.
    assert world.get("r0003").freshness.fetched_at == again[0].freshness.fetched_at
    assert counted(world) == {}


def test_pages_of_a_list_that_was_read_whole_are_renewed_at_once(world: World) -> None:
    world.add_runs(120)
    before = list(world.pages())
    counted(world)
    assert ids(list(world.pages(options=later()))) == ids(before)
    assert counted(world) == {"RunsGlance": 1}


def test_a_page_size_that_was_asked_for_is_a_ceiling(world: World) -> None:
    world.add_runs(120)
    before = list(world.pages(page_size=40))
    counted(world)
    assert ids(list(world.pages(page_size=40, options=later()))) == ids(before)
    assert counted(world) == {"RunsGlance": 3}


def test_only_runs_that_changed_are_read(world: World) -> None:
    world.add_runs(120)
    world.stream()
    change(world, "r0007", tags=["new"])
    change(world, "r0100", config='{"lr": {"value": 0.5}}')
    change(world, "r0110", summaryMetrics='{"loss": 0.25}')
    counted(world)
    again = {run.run_id: run for answer in world.stream(options=later()) for run in answer.runs}
    assert list(again["r0007"].tags) == ["new"]
    assert json.loads(again["r0100"].config_json) == {"lr": {"value": 0.5}}
    assert json.loads(again["r0110"].summary_json) == {"loss": 0.25}
    assert read_by_name(world) == {"r0007", "r0100", "r0110"}
    assert counted(world) == {"RunsGlance": 1, "Runs": 1}


def test_runs_that_came_and_went_are_seen(world: World) -> None:
    world.add_runs(60)
    world.stream()
    del world.server.projects[ENTITY, PROJECT]["r0030"]
    world.add_runs(2, "s")
    counted(world)
    again = world.stream(options=later())
    assert ids(again)[:2] == ["s0001", "s0000"] and "r0030" not in ids(again) and len(ids(again)) == 61
    assert not again[-1].incomplete_reason
    assert read_by_name(world) == {"s0000", "s0001"}
    assert counted(world) == {"RunsGlance": 1, "Runs": 1}


def test_a_change_within_the_second_in_which_a_run_was_read_is_seen(world: World) -> None:
    """A moment in whole seconds does not tell two changes within it apart."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    world.add_runs(3, updatedAt=now)
    world.stream()
    world.server.projects[ENTITY, PROJECT]["r0001"]["summaryMetrics"] = '{"loss": 7}'
    again = {run.run_id: run for answer in world.stream(options=later()) for run in answer.runs}
    assert json.loads(again["r0001"].summary_json) == {"loss": 7}


def test_without_moments_of_change_documents_are_read_again(older: World) -> None:
    older.add_runs(120, summary={"loss": 1})
    older.stream()
    older.server.projects[ENTITY, PROJECT]["r0007"]["summaryMetrics"] = '{"loss": 7}'
    counted(older)
    again = {run.run_id: run for answer in older.stream(options=later()) for run in answer.runs}
    assert json.loads(again["r0007"].summary_json) == {"loss": 7}
    assert counted(older) == {"Runs": 1}


def test_whoever_wants_no_cache_reads_everything(world: World) -> None:
    world.add_runs(60)
    world.stream()
    counted(world)
    world.stream(options=options(no_cache=True))
    assert counted(world) == {"Runs": 1}


@pytest.mark.parametrize("way", ["refuses", "misjudges"])
def test_a_server_that_finds_no_runs_by_name_is_read_whole(world: World, way: str) -> None:
    world.add_runs(60)
    world.stream()
    setattr(world.server, way, ('"name"',))
    for run_id in ("r0003", "r0005", "r0007", "r0009", "r0011", "r0013"):
        change(world, run_id, tags=["new"])
    again = {run.run_id: run for answer in world.stream(options=later()) for run in answer.runs}
    assert len(again) == 60 and list(again["r0003"].tags) == ["new"]
    counted(world)
    world.stream(options=later())  # learnt
    assert counted(world) == {"Runs": 1}


def test_a_list_is_renewed_from_disk_after_a_restart(start: Callable[..., Daemon], world: World) -> None:
    world.add_runs(60)
    world.stream()
    home = world.daemon.home
    world.daemon.stop()
    world.daemon = start(home)
    world.account = login(world.daemon, world.server)
    change(world, "r0007", tags=["new"])
    counted(world)
    again = world.stream(options=later())
    assert len(ids(again)) == 60
    assert read_by_name(world) == {"r0007"}
    assert counted(world) == {"RunsGlance": 1, "Runs": 1}


def test_filtered_and_judged_lists_are_renewed_too(world: World) -> None:
    world.add_runs(60, summary={"loss": 1})
    for order, filters in (("+summary.loss", ""), ("-created_at", '{"state": "finished"}')):
        before = world.stream(order=order, filter_json=filters)
        change(world, "r0007", summaryMetrics='{"loss": 0.5}')
        counted(world)
        again = world.stream(order=order, filter_json=filters, options=later())
        assert sorted(ids(again)) == sorted(ids(before)) and len(ids(again)) == 60
        assert read_by_name(world) == {"r0007"}
        assert counted(world) == {"RunsGlance": 1, "Runs": 1}
        if order == "+summary.loss":
            assert ids(again)[0] == "r0007"


def test_a_run_with_large_documents_is_only_glanced_at(world: World) -> None:
    world.add_runs(1, summary={"blob": "x" * 2**21})
    first = world.get("r0000")
    again = world.get("r0000", options=later())
    assert again.run == first.run and list(again.freshness.revalidated) == ["updated_at"]
    assert counted(world) == {"Run": 1, "RunsGlance": 1}
    change(world, "r0000", tags=["new"])
    assert list(world.get("r0000", options=later()).run.tags) == ["new"]
    assert counted(world) == {"Run": 1, "RunsGlance": 1}
    world.get("r0000", options=options(no_cache=True))
    assert counted(world) == {"Run": 1}
