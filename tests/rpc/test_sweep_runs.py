"""The runs of a sweep and the best of them, through a real daemon, from a scripted server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from runtap.v1 import sweeps_pb2, sweeps_pb2_grpc
from tests.support.scripted_world import DEADLINE_S, PROJECT, World, failing, options
from tests.support.upstream import ENTITY
from tests.support.upstream_faults import Status
from tests.support.upstream_sweeps import SweepingUpstream

LOWEST = "method: random\nmetric: {name: loss}\n"
HIGHEST = "method: random\nmetric: {name: loss, goal: maximize}\n"
PATH = f"{ENTITY}/{PROJECT}/s1"
NAN = float("nan")


@pytest.fixture
def server() -> Iterator[SweepingUpstream]:
    with SweepingUpstream() as server:
        yield server


def stub(world: World) -> sweeps_pb2_grpc.SweepServiceStub:
    return sweeps_pb2_grpc.SweepServiceStub(world.channel())


def listed(world: World, path: str = PATH, **fields: Any) -> sweeps_pb2.ListSweepRunsResponse:
    request = sweeps_pb2.ListSweepRunsRequest(path=path, **fields)
    return stub(world).ListSweepRuns(request, timeout=DEADLINE_S)


def best(world: World, path: str = PATH, **fields: Any) -> sweeps_pb2.GetBestRunResponse:
    return stub(world).GetBestRun(sweeps_pb2.GetBestRunRequest(path=path, **fields), timeout=DEADLINE_S)


def add(server: SweepingUpstream, config: str, *values: Any, key: str = "loss") -> None:
    """Adds a sweep whose runs r0000, r0001, ... have these values; ... stands for none."""
    server.add_sweep(ENTITY, PROJECT, "s1", config)
    for number, value in enumerate(values):
        summary = {} if value is ... else {key: value}
        server.add_run(ENTITY, PROJECT, f"r{number:04}", sweepName="s1", summary=json.dumps(summary))
    server.add_run(ENTITY, PROJECT, "other", summary={key: -1e9}, sweepName=None)


# Its runs


def test_the_runs_of_a_sweep_are_a_list_like_any_other(world: World, server: SweepingUpstream) -> None:
    add(server, LOWEST, *range(7))
    first = listed(world, page_size=3)
    assert [run.run_id for run in first.runs] == ["r0006", "r0005", "r0004"]
    assert first.total_size == 7
    second = listed(world, page_size=3, page_token=first.next_page_token)
    third = listed(world, page_size=3, page_token=second.next_page_token)
    assert [run.run_id for run in third.runs] == ["r0000"] and not third.next_page_token
    assert {run.run_id for page in (first, second, third) for run in page.runs}.isdisjoint({"other"})
    assert server.count("Runs") == 3 and server.count("Sweep") == 0
    listed(world, page_size=3)
    assert server.count("Runs") == 3, "the second reader is answered from memory"
    world.get("r0003")
    assert server.count("Run") == 0, "its runs are records as all others are"


def test_order_mask_and_options(world: World, server: SweepingUpstream) -> None:
    add(server, LOWEST, 3, 1, 2)
    mask = FieldMask(paths=["summary_json.loss"])
    found = listed(world, order="+summary.loss", read_mask=mask)
    assert [json.loads(run.summary_json) for run in found.runs] == [{"loss": 1}, {"loss": 2}, {"loss": 3}]
    assert not any(run.config_json for run in found.runs)
    cached = listed(world, order="+summary.loss", options=options(cache_only=True))
    assert len(cached.runs) == 3 and server.count("Runs") == 1


def test_no_runs_and_no_sweep_are_told_apart(world: World, server: SweepingUpstream) -> None:
    add(server, LOWEST)
    empty = listed(world)
    assert not empty.runs and empty.total_size == 0
    missing = failing(lambda: listed(world, f"{ENTITY}/{PROJECT}/nope"))
    assert missing.reason == "SWEEP_NOT_FOUND"
    assert missing.message == f"Could not find sweep {ENTITY}/{PROJECT}/nope at {server.url} as user ada"
    assert failing(lambda: listed(world, "none/none/s1")).reason == "PROJECT_NOT_FOUND"


def test_wrong_requests_name_the_field(world: World, server: SweepingUpstream) -> None:
    add(server, LOWEST, 1, 2)
    token = listed(world, page_size=1).next_page_token
    for call, name in (
        (lambda: listed(world, "a/b/c/d"), "path"),
        (lambda: listed(world, page_size=-1), "page_size"),
        (lambda: listed(world, page_token=token, order="+created_at"), "page_token"),
        (lambda: best(world, "a/b/c/d"), "path"),
        (lambda: best(world, order="+"), "order"),
        (lambda: best(world, order="+nonsense"), "order"),
        (lambda: best(world, pick=9), "pick"),
        (lambda: best(world, order="+config.lr", pick=sweeps_pb2.METRIC_PICK_MIN), "pick"),
    ):
        refused = failing(call)
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [name]), refused.message


# The best of them


@pytest.mark.parametrize(
    ("config", "values", "winner", "value"),
    [
        (LOWEST, [3, 1, 2], "r0001", 1),
        (HIGHEST, [3, 1, 4.5], "r0002", 4.5),
        (LOWEST, [..., NAN, 7, None, "low", True, {"min": 1}], "r0002", 7),
        (HIGHEST, [..., NAN, -7, None, "x"], "r0002", -7),
        (HIGHEST, [1, "Infinity", "NaN"], "r0001", float("inf")),
        (LOWEST, [2, 1, 1], "r0001", 1),
    ],
)
@pytest.mark.parametrize("trouble", ["none", "ignores_order", "nan_counts"])
def test_the_best_run(
    world: World,
    server: SweepingUpstream,
    config: str,
    values: list[Any],
    winner: str,
    value: float,
    trouble: str,
) -> None:
    if trouble != "none":
        setattr(server, trouble, True)
    add(server, config, *values)
    found = best(world)
    assert (found.run.run_id, found.value, found.warning) == (winner, value, "")
    assert json.loads(found.run.summary_json)["loss"] in (value, "Infinity")


def test_a_page_or_two_tell_and_then_memory(world: World, server: SweepingUpstream) -> None:
    add(server, LOWEST, *range(120, 0, -1), ..., NAN)
    assert best(world).run.run_id == "r0119"
    first = server.counts()
    assert first["Runs"] <= 2, "one page where the server is trusted to order, else all runs"
    assert first["Sweep"] == 1
    assert best(world).value == 1
    assert server.counts() == first, "answered from memory"


@pytest.mark.parametrize("trouble", ["ignores_order", "nan_counts"])
def test_the_whole_list_is_read_where_it_does_not(
    world: World, server: SweepingUpstream, trouble: str
) -> None:
    setattr(server, trouble, True)
    add(server, LOWEST, *([NAN] * 60), *range(120, 0, -1))
    found = best(world)
    assert (found.run.run_id, found.value) == ("r0179", 1)
    assert server.count("Runs") == 2


def test_with_the_metric_nowhere_there_is_none_and_a_warning(world: World, server: SweepingUpstream) -> None:
    add(server, LOWEST, ..., NAN)
    found = best(world)
    assert not found.HasField("run") and not found.HasField("value")
    assert found.warning == f"none of the 2 runs of sweep {PATH} has a number for summary_metrics.loss"


def test_a_sweep_without_runs_says_so(world: World, server: SweepingUpstream) -> None:
    add(server, LOWEST)
    found = best(world)
    assert not found.HasField("run") and found.warning == f"sweep {PATH} has no runs yet"


def test_a_sweep_without_a_metric_gives_its_newest_run(world: World, server: SweepingUpstream) -> None:
    add(server, "method: grid", 1, 2, 3)
    found = best(world)
    assert found.run.run_id == "r0002" and not found.HasField("value")
    assert found.warning == f"sweep {PATH} has no metric in its configuration; this is its newest run"


def test_another_order_than_the_sweeps(world: World, server: SweepingUpstream) -> None:
    add(server, LOWEST, 1, 2, 3)
    for run, rate in (("r0000", 0.5), ("r0001", 0.1), ("r0002", 0.9)):
        server.projects[ENTITY, PROJECT][run]["config"] = json.dumps({"lr": {"value": rate}})
    server.ignores_order = True
    assert (best(world, order="-summary.loss").run.run_id, best(world, order="+config.lr").value) == (
        "r0002",
        0.1,
    )
    server.ignores_order = False
    oldest = best(world, order="+created_at")
    assert oldest.run.run_id == "r0000" and not oldest.HasField("value") and not oldest.warning


def test_dotted_metrics_and_documents_too_large_for_a_message(world: World, server: SweepingUpstream) -> None:
    add(server, "metric: {name: val.loss}", 2, key="val.loss")
    nested = json.dumps({"val": {"loss": 1}, "much": "x" * 2_000_000})
    server.add_run(ENTITY, PROJECT, "nested", sweepName="s1", summary=nested)
    found = best(world)
    assert (found.run.run_id, found.value) == ("nested", 1)
    assert [omitted.document for omitted in found.run.omitted]


def test_over_the_whole_history(world: World, server: SweepingUpstream) -> None:
    add(server, LOWEST, 5, 4, 3, ...)
    for run, losses in (("r0000", [1, 9, 5]), ("r0001", [2, NAN, 4]), ("r0002", [3, 3, 3]), ("r0003", [])):
        rows = [{"_step": step, "loss": loss} for step, loss in enumerate(losses)]
        server.add_history(ENTITY, PROJECT, run, rows)
    lowest = best(world, pick=sweeps_pb2.METRIC_PICK_MIN)
    assert (lowest.run.run_id, lowest.value) == ("r0000", 1)
    highest = best(world, order="-summary.loss", pick=sweeps_pb2.METRIC_PICK_MAX)
    assert (highest.run.run_id, highest.value) == ("r0000", 9)
    last = best(world, pick=sweeps_pb2.METRIC_PICK_LAST)
    assert (last.run.run_id, last.value) == ("r0002", 3)


def test_a_run_of_nothing_but_trouble(world: World, server: SweepingUpstream) -> None:
    add(server, LOWEST, 2, 1)
    best(world)
    server.fail("*", Status(400), times=9)
    stale = best(world, options=options(max_age=Duration(), allow_stale_on_error=True))
    assert stale.run.run_id == "r0001" and stale.freshness.stale
    assert failing(lambda: best(world, options=options(max_age=Duration()))).reason == "UPSTREAM_REFUSED"
    assert best(world, options=options(cache_only=True)).run.run_id == "r0001"
