"""BatchGetRuns: many runs by path in few requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from runtap.v1 import common_pb2, runs_pb2
from tests.support.daemon import Daemon
from tests.support.scripted_world import DEADLINE_S, PROJECT, World, failing, make_world, options
from tests.support.upstream import ENTITY, ScriptedUpstream
from tests.support.upstream_faults import Status


@pytest.fixture
def world(start: Callable[..., Daemon]) -> Iterator[World]:
    with ScriptedUpstream() as server:
        yield make_world(server, start)


def batch(
    world: World, *paths: str, timeout: float = DEADLINE_S, **fields: Any
) -> runs_pb2.BatchGetRunsResponse:
    defaults = common_pb2.PathDefaults(entity=ENTITY, project=PROJECT)
    request = runs_pb2.BatchGetRunsRequest(paths=paths, defaults=defaults, **fields)
    return world.runs().BatchGetRuns(request, timeout=timeout)


def counts(world: World) -> dict[str, int]:
    found = {name: n for name, n in world.server.counts().items() if name != "Viewer"}
    world.server.requests.clear()
    return found


def test_a_hundred_runs_are_one_request_and_then_none(world: World) -> None:
    world.add_runs(100, summary={"loss": 1})
    wanted = [f"r{i:04}" for i in reversed(range(100))]
    answer = batch(world, *wanted)
    assert [run.run_id for run in answer.runs] == wanted and not answer.errors and not answer.unread
    assert counts(world) == {"Runs": 1}
    assert [run.run_id for run in batch(world, *wanted).runs] == wanted
    world.server.add_run(ENTITY, PROJECT, "new")
    assert [run.run_id for run in batch(world, "new", *wanted).runs] == ["new", *wanted]
    assert counts(world) == {"Run": 1}


def test_runs_of_several_projects_and_the_same_one_twice(world: World) -> None:
    world.add_runs(2)
    for run_id in ("a", "b"):
        world.server.add_run("other", "speech", run_id)
    paths = ["other/speech/a", "r0001", f"{ENTITY}/{PROJECT}/runs/r0000", "other/speech/b", "r0001"]
    answer = batch(world, *paths)
    assert [run.run_id for run in answer.runs] == ["a", "r0001", "r0000", "b", "r0001"]
    assert counts(world) == {"Runs": 2}


def test_what_cannot_be_read_is_an_error_of_its_own(world: World) -> None:
    world.add_runs(20)
    world.server.poison = {"r0007"}
    gone = [f"gone{i}" for i in range(8)]
    answer = batch(world, *(f"r{i:04}" for i in range(20)), *gone, "nowhere/at-all/x")
    assert len(answer.runs) == 19 and "r0007" not in {run.run_id for run in answer.runs}
    errors = {error.item: (error.code, error.reason) for error in answer.errors}
    assert errors.pop("r0007")[1] == "UPSTREAM_UNAVAILABLE"
    assert set(errors) == {*gone, "nowhere/at-all/x"}
    assert {code for code, _ in errors.values()} == {grpc.StatusCode.NOT_FOUND.value[0]}
    assert "gone5" in next(error.message for error in answer.errors if error.item == "gone5")
    assert counts(world)["Run"] <= 10


def test_a_server_that_finds_no_runs_by_name_is_asked_one_by_one(world: World) -> None:
    world.add_runs(5)
    world.server.misjudges = ('"name"',)
    answer = batch(world, *(f"r{i:04}" for i in range(5)))
    assert len(answer.runs) == 5 and not answer.errors


def test_large_batches_end_early_and_name_the_rest(world: World) -> None:
    text = json.dumps({"blob": "x" * 400_000})
    world.add_runs(9, summary=text)
    wanted, seen = [f"r{i:04}" for i in range(9)], []
    while wanted:
        answer = batch(world, *wanted)
        seen += [run.run_id for run in answer.runs]
        assert answer.ByteSize() <= 2 * 2**20 and len(answer.runs) > 0
        wanted = list(answer.unread)
    assert seen == [f"r{i:04}" for i in range(9)]


def test_wrong_paths_and_too_many_name_the_field(world: World) -> None:
    failure = failing(lambda: batch(world, "r1", "a/b/c/d/e/f"))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT and failure.fields == ["paths[1]"]
    failure = failing(lambda: batch(world, *(["r"] * 1001)))
    assert failure.fields == ["paths"] and "1000" in failure.message


def test_a_server_that_is_down_fails_the_call(world: World) -> None:
    world.add_runs(3)
    world.server.fail("*", Status(503), times=1000)
    failure = failing(lambda: batch(world, "r0000", "r0001", timeout=3))
    assert failure.reason in ("UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT")


def test_only_the_cache(world: World) -> None:
    world.add_runs(2)
    world.get("r0000")
    answer = batch(world, "r0000", "r0001", options=options(cache_only=True))
    assert [run.run_id for run in answer.runs] == ["r0000"]
    assert [error.reason for error in answer.errors] == ["NOT_IN_CACHE"]
