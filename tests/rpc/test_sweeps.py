"""Reading sweeps through a real daemon, from a scripted server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from runtap.v1 import common_pb2, sweeps_pb2, sweeps_pb2_grpc
from tests.support.daemon import eventually
from tests.support.scripted_world import DEADLINE_S, PROJECT, World, all_pages, failing, options
from tests.support.upstream import ENTITY
from tests.support.upstream_faults import Html, Status
from tests.support.upstream_sweeps import SweepingUpstream

MEMORY = common_pb2.FRESHNESS_SOURCE_MEMORY
UPSTREAM = common_pb2.FRESHNESS_SOURCE_UPSTREAM
CONFIG = "# mine\nmethod: random\nmetric: {name: val/loss, goal: maximize}\nparameters: {ü: {values: [1]}}\n"
PATH = f"{ENTITY}/{PROJECT}/s1"


@pytest.fixture
def server() -> Iterator[SweepingUpstream]:
    with SweepingUpstream() as server:
        yield server


def stub(world: World) -> sweeps_pb2_grpc.SweepServiceStub:
    return sweeps_pb2_grpc.SweepServiceStub(world.channel())


def get(world: World, path: str = PATH, **fields: Any) -> sweeps_pb2.GetSweepResponse:
    return stub(world).GetSweep(sweeps_pb2.GetSweepRequest(path=path, **fields), timeout=DEADLINE_S)


def listed(world: World, **fields: Any) -> sweeps_pb2.ListSweepsResponse:
    request = sweeps_pb2.ListSweepsRequest(**{"project": f"{ENTITY}/{PROJECT}"} | fields)
    return stub(world).ListSweeps(request, timeout=DEADLINE_S)


def pages(world: World, **fields: Any) -> list[list[str]]:
    given = all_pages(lambda token: listed(world, page_token=token, **fields))
    return [[sweep.sweep_id for sweep in page.sweeps] for page in given]


def test_a_sweep_is_told_whole_and_then_from_memory(world: World, server: SweepingUpstream) -> None:
    server.add_sweep(
        ENTITY, PROJECT, "s1", CONFIG, displayName="shown", state="running", bestLoss=0.5, runCount=7,
        runCountExpected=9,
    )  # fmt: skip
    first = get(world)
    assert first.sweep == sweeps_pb2.Sweep(
        storage_id="sweep-s1",
        entity=ENTITY,
        project=PROJECT,
        sweep_id="s1",
        url=f"{server.url}/{ENTITY}/{PROJECT}/sweeps/s1",
        display_name="shown",
        state="RUNNING",
        method="grid",
        config_yaml=CONFIG,
        metric="val/loss",
        maximize=True,
        best_loss=0.5,
        run_count=7,
        expected_run_count=9,
        created_at="2026-01-01T00:00:00Z",
    )
    assert first.freshness.source == UPSTREAM
    with_defaults = common_pb2.PathDefaults(project=PROJECT)
    for path in ("s1", f"{PROJECT}/s1", f"{PROJECT}:s1", f"{ENTITY}/{PROJECT}/sweeps/s1"):
        assert get(world, path, defaults=with_defaults).freshness.source == MEMORY, path
    assert get(world, f"{first.sweep.url}?tab=runs").freshness.source == MEMORY
    assert server.count("Sweep") == 1


def test_what_a_sweep_has_not_is_absent(world: World, server: SweepingUpstream) -> None:
    server.add_sweep(ENTITY, PROJECT, "s1", "method: grid", runCount=None, bestLoss="NaN")
    sweep = get(world).sweep
    assert [sweep.HasField(name) for name in ("best_loss", "run_count", "expected_run_count")] == [False] * 3
    assert (sweep.metric, sweep.maximize, sweep.display_name) == ("", False, "")


def test_servers_of_old_are_asked_in_the_base_shape(world: World, server: SweepingUpstream) -> None:
    server.lacks = {
        ("Sweep", name) for name in ("displayName", "method", "createdAt", "runCount", "runCountExpected")
    }
    server.add_sweep(ENTITY, PROJECT, "s1", CONFIG, bestLoss=0.5)
    sweep = get(world).sweep
    assert (sweep.method, sweep.metric, sweep.best_loss) == ("random", "val/loss", 0.5)
    assert (sweep.created_at, sweep.HasField("run_count")) == ("", False)
    assert server.count("Sweep") == 2
    assert listed(world).sweeps[0] == sweep
    assert server.count("Sweeps") == 1, "what it lacks is remembered"
    world.add_runs(1)
    world.get("r0000")
    assert server.count("Run") == 1, "and of runs it lacks nothing"


def test_read_options(world: World, server: SweepingUpstream) -> None:
    server.add_sweep(ENTITY, PROJECT, "s1", CONFIG)
    assert failing(lambda: get(world, options=options(cache_only=True))).reason == "NOT_IN_CACHE"
    get(world)
    for wished, source in (
        (options(cache_only=True), MEMORY),
        (options(max_age=Duration()), UPSTREAM),
        (options(no_cache=True), UPSTREAM),
    ):
        assert get(world, options=wished).freshness.source == source
    server.fail("*", Html(), times=9)
    stale = get(world, options=options(max_age=Duration(), allow_stale_on_error=True))
    assert stale.freshness.stale and stale.sweep.sweep_id == "s1"


def test_pages_go_on_behind_the_servers_cursor_and_fit_a_message(
    world: World, server: SweepingUpstream
) -> None:
    for i in range(5):
        server.add_sweep(ENTITY, PROJECT, f"s{i}", CONFIG)
    assert pages(world, page_size=2) == [["s0", "s1"], ["s2", "s3"], ["s4"]]
    assert [r.variables["cursor"] for r in server.requests if r.operation == "Sweeps"] == [None, "2", "4"]
    listed(world, options=options(no_cache=True))
    assert server.last("Sweeps").variables["first"] == 50
    for node in server.sweep_nodes[f"{ENTITY}/{PROJECT}"]:
        node["config"] = "# " + "x" * 600_000
    before = server.count("Sweeps")
    assert pages(world, options=options(max_age=Duration(nanos=1)))[0] == ["s0", "s1", "s2"]
    assert server.count("Sweeps") <= before + 2
    assert max(world.sizes) < 2 * 2**20


def test_fifty_who_ask_at_once_are_one_request(world: World, server: SweepingUpstream) -> None:
    server.add_sweep(ENTITY, PROJECT, "s1", CONFIG)
    gate = server.hold("Sweep")
    sweeps = stub(world)
    calls = [sweeps.GetSweep.future(sweeps_pb2.GetSweepRequest(path=PATH), timeout=20) for _ in range(50)]
    eventually(lambda: server.count("Sweep") == 1, "the request arrives")
    time.sleep(0.1)
    gate.set()
    assert {call.result().sweep.sweep_id for call in calls} == {"s1"}
    assert server.count("Sweep") == 1


def test_what_is_missing_or_denied_names_server_and_account(world: World, server: SweepingUpstream) -> None:
    server.add_sweep(ENTITY, PROJECT, "s1", CONFIG)
    missing = failing(lambda: get(world, f"{ENTITY}/{PROJECT}/nope"))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "SWEEP_NOT_FOUND")
    assert missing.message == f"Could not find sweep {ENTITY}/{PROJECT}/nope at {server.url} as user ada"
    assert failing(lambda: listed(world, project="none")).reason == "PROJECT_NOT_FOUND"
    server.fail("Sweep", Status(403, b'{"error": "not yours"}'))
    denied = failing(lambda: get(world, options=options(no_cache=True)))
    assert (denied.code, denied.reason) == (grpc.StatusCode.PERMISSION_DENIED, "UPSTREAM_FORBIDDEN")
    assert server.url in denied.message and "ada" in denied.message


def test_wrong_requests_name_the_field(world: World) -> None:
    for call, name in (
        (lambda: get(world, "a/b/c/d"), "path"),
        (lambda: get(world, ""), "path"),
        (lambda: get(world, "s1"), "path"),
        (lambda: get(world, f"https://x.test/{ENTITY}/{PROJECT}/runs/s1"), "path"),
        (lambda: listed(world, project="a/b/c"), "project"),
        (lambda: listed(world, page_size=-1), "page_size"),
    ):
        refused = failing(call)
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [name]), refused.message
