"""ReadHistories: the rows of many runs in one stream, and what that costs the server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import psutil
import pytest

from runtap.v1 import common_pb2
from runtap.v1 import history_pb2 as pb
from tests.support import history_model
from tests.support.daemon import Daemon, eventually, start_daemon
from tests.support.history_shapes import dense, rows, wide
from tests.support.history_wire import Reading, reading
from tests.support.history_world import MESSAGE_LIMIT, HistoryWorld, HistoryWorlds, history_worlds, world_of
from tests.support.scripted_world import DEADLINE_S, failing, options
from tests.support.upstream import ENTITY, Request
from tests.support.upstream_faults import Refuse, Status
from tests.support.upstream_histories import PROJECT, HistoriesUpstream

STALLED_BYTES = 16 * 2**20
MARGIN_BYTES = 24 * 2**20
STALLED = ("first", "second", "third")
HISTORY = ("HistoryPage", "ParquetHistory")
DEFAULTS = common_pb2.PathDefaults(entity=ENTITY, project=PROJECT)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryWorlds]:
    with start_daemon(tmp_path_factory.mktemp("many") / "home") as daemon, history_worlds(daemon) as make:
        yield make


@dataclass
class Many:
    """What a stream gave."""

    runs: dict[str, Reading] = field(default_factory=dict)
    errors: dict[str, common_pb2.ItemError] = field(default_factory=dict)
    incomplete: str = ""

    def steps(self, run_id: str) -> list[int]:
        return self.runs[path_of(run_id)].steps


def path_of(run_id: str) -> str:
    return f"{ENTITY}/{PROJECT}/{run_id}"


def start_reading(world: HistoryWorld, *run_ids: str, timeout: float = DEADLINE_S, **fields: Any) -> Any:
    paths = [path_of(run_id) if "/" not in run_id else run_id for run_id in run_ids]
    request = pb.ReadHistoriesRequest(**{"paths": paths} | fields)
    return world.histories().ReadHistories(request, timeout=timeout)


def read(world: HistoryWorld, *run_ids: str, **fields: Any) -> Many:
    """Reads, strictly: each run comes whole, one after the other, and progress counts them."""
    found = Many()
    messages: list[pb.ReadHistoryResponse] = []
    path, done = "", 0
    for message in start_reading(world, *run_ids, **fields):
        if message.incomplete_reason:
            assert not message.run_path
            found.incomplete = message.incomplete_reason
            continue
        assert not found.incomplete, "that comes last"
        assert path in ("", message.run_path), "the messages of a run are together"
        assert message.run_path not in {**found.runs, **found.errors}, "no run comes twice"
        path = message.run_path
        assert message.runs.done == done + message.run_end
        if message.HasField("error"):
            assert message.run_end and message.error.item
            found.errors[path], messages = message.error, []
        else:
            assert not message.rows.resume_token
            assert message.run_end == (message.rows.row_count == 0)
            messages.append(message.rows)
        if message.run_end:
            if messages:
                found.runs[path] = reading(messages)
            path, messages, done = "", [], done + 1
    assert not path, "the stream ended in the middle of a run"
    return found


def asked(world: HistoryWorld) -> dict[str, int]:
    """The requests since this was last asked, but who the user is."""
    found = {name: n for name, n in world.server.counts().items() if name != "Viewer"}
    world.server.requests.clear()
    return found


def test_many_runs_by_name_cost_one_request_and_their_pages(worlds: HistoryWorlds) -> None:
    world = worlds()
    names = [f"r{i:02}" for i in range(50)]
    for i, name in enumerate(names):
        world.server.run(rows(range(20 + i)), name)
    first = read(world, *names)
    assert {path: found.steps for path, found in first.runs.items()} == {
        path_of(name): list(range(20 + i)) for i, name in enumerate(names)
    }
    assert not first.errors and all(found.end.exact for found in first.runs.values())
    assert asked(world) == {"Runs": 1, "HistoryPage": 50}
    again = read(world, *names, options=options(no_cache=False, max_age={"seconds": 0}))
    assert again.runs.keys() == first.runs.keys() and not again.errors
    assert asked(world) == {"Runs": 1}, "what is stored and unchanged is not fetched"
    world.server.log(path_of("r07"), rows(range(27, 30)))
    third = read(world, *names, options=options(max_age={"seconds": 0}))
    assert third.steps("r07") == list(range(30)) and len(third.runs) == 50
    assert {r.variables["name"] for r in world.server.requests if r.operation in HISTORY} == {"r07"}
    assert asked(world)["Runs"] == 1


def test_runs_that_log_are_asked_for_anew(worlds: HistoryWorlds) -> None:
    world = worlds()
    for name in ("a", "b", "c"):
        world.server.run(rows(range(5)), name, state="running" if name == "b" else "finished")
    assert len(read(world, "a", "b", "c").runs) == 3
    asked(world)
    world.server.log(path_of("b"), rows(range(5, 8)))
    assert read(world, "a", "b", "c").steps("b") == list(range(8))
    assert asked(world) == {"Run": 1, "HistoryPage": 1}, "those that ended a moment ago are believed"


def test_runs_by_filter(worlds: HistoryWorlds) -> None:
    world = worlds()
    for i in range(30):
        world.server.run(rows(range(10)), f"r{i:02}", config={"lr": {"value": i % 3}}, tags=[f"t{i % 2}"])
    project, everything = f"{ENTITY}/{PROJECT}", {path_of(f"r{i:02}") for i in range(30)}
    assert read(world, project=project).runs.keys() == everything
    assert asked(world) == {"Runs": 1, "HistoryPage": 30}
    chosen = read(world, defaults=DEFAULTS, filter_json=json.dumps({"config.lr": 1, "tags": "t1"}))
    assert chosen.runs.keys() == {path_of(f"r{i:02}") for i in range(30) if i % 3 == 1 and i % 2}
    assert set(asked(world)) <= {"Runs", "RunsGlance"}
    nobody = start_reading(world, project=project, filter_json='{"display_name": "nobody"}')
    assert list(nobody) == []
    last = list(start_reading(world, project=project))[-1]
    assert (last.runs.done, last.runs.total) == (30, 30)


def test_a_list_that_lacks_runs_says_so(worlds: HistoryWorlds) -> None:
    world = worlds(counts_wrongly_by=2)
    for i in range(5):
        world.server.run(rows(range(10)), f"r{i}")
    found = read(world, project=f"{ENTITY}/{PROJECT}")
    assert len(found.runs) == 5 and "7" in found.incomplete


def test_runs_that_log_are_asked_for_anew_although_their_list_is_young(worlds: HistoryWorlds) -> None:
    world, project = worlds(), f"{ENTITY}/{PROJECT}"
    for i in range(6):
        world.server.run(rows(range(5)), f"r{i}", state="running" if i % 2 else "finished")
    assert len(read(world, project=project).runs) == 6
    asked(world)
    world.server.log(path_of("r3"), rows(range(5, 8)))
    assert read(world, project=project).steps("r3") == list(range(8))
    assert asked(world) == {"Runs": 1, "HistoryPage": 1}, "those that log, together"


def test_keys_and_joins(worlds: HistoryWorlds) -> None:
    world = worlds()
    for n in (2, 3):
        world.server.run([{"_step": i} | ({"a": i} if i % n else {"b": i}) for i in range(12)], f"r{n}")
    world.server.run([{"_step": 0, "c": 1}], "r4")
    outer = read(world, "r2", "r3", "r4", keys=["a"])
    assert outer.steps("r2") == [1, 3, 5, 7, 9, 11] and outer.steps("r4") == []
    assert list(outer.runs[path_of("r4")].end.unknown_keys) == ["a"]
    assert not outer.runs[path_of("r2")].end.unknown_keys
    inner = read(world, "r2", keys=["a", "b"], join=pb.HISTORY_JOIN_INNER)
    assert inner.steps("r2") == []


@pytest.mark.parametrize("form", [pb.HISTORY_FORMAT_ARROW, pb.HISTORY_FORMAT_COLUMNS])
def test_messages_stay_small(worlds: HistoryWorlds, form: pb.HistoryFormat.ValueType) -> None:
    world = worlds()
    huge = [{"_step": s, "image": "x" * 900_000, "other": "y" * 900_000} for s in range(4)]
    paths = [world.server.run(huge, "huge"), world.server.run(wide(), "wide")]
    found = read(world, "huge", "wide", format=form)
    for path in paths:
        history_model.same(found.runs[path].rows, history_model.expected(world.server.lines[path]))
    assert max(world.sizes) < MESSAGE_LIMIT


def test_samples_are_those_of_sample_history(worlds: HistoryWorlds) -> None:
    world = worlds()
    for name, count in (("long", 3000), ("short", 40), ("none", 0)):
        world.server.run(rows(range(count)), name)
    found = read(world, "long", "short", "none", samples=50, keys=["loss", "never"])
    alone = list(
        world.histories().SampleHistory(
            pb.SampleHistoryRequest(path=path_of("long"), samples=50, keys=["loss", "never"])
        )
    )
    sample = found.runs[path_of("long")]
    assert len(sample.rows) == 50 and not sample.end.exact and sample.steps[::49] == [0, 2999]
    assert sum(message.rows for message in alone) == 50
    assert reading([_as_rows(alone[0]), sample.end]).rows == sample.rows
    assert list(sample.end.unknown_keys) == ["never"]
    assert found.runs[path_of("short")].end.exact and found.steps("short") == list(range(40))
    assert found.steps("none") == []


def _as_rows(sample: pb.SampleHistoryResponse) -> pb.ReadHistoryResponse:
    return pb.ReadHistoryResponse(
        arrow_ipc=sample.arrow_ipc, row_count=sample.rows, row_group_end=True, freshness=sample.freshness
    )


def test_errors_of_runs_stop_no_others(worlds: HistoryWorlds) -> None:
    world = worlds()
    for i in range(8):
        world.server.run(rows(range(10)), f"r{i}")
    world.server.poison = {"r3"}
    found = read(world, *(f"r{i}" for i in range(8)), f"/{ENTITY}/{PROJECT}/runs/gone", "nowhere/at-all/x")
    assert len(found.runs) == 7
    told = {path: (error.item, error.reason) for path, error in found.errors.items()}
    assert told.pop(path_of("r3")) == (path_of("r3"), "UPSTREAM_UNAVAILABLE")
    assert told == {
        path_of("gone"): (f"/{ENTITY}/{PROJECT}/runs/gone", "RUN_NOT_FOUND"),
        "nowhere/at-all/x": ("nowhere/at-all/x", "RUN_NOT_FOUND"),
    }
    by_filter = read(world, project=f"{ENTITY}/{PROJECT}", options=options(no_cache=True))
    assert len(by_filter.runs) == 7 and list(by_filter.errors) == [path_of("r3")]


def test_a_history_that_cannot_be_read_is_an_error_of_its_run(worlds: HistoryWorlds) -> None:
    world = worlds()
    for i in range(6):
        world.server.run(rows(range(10)), f"r{i}")
    world.server.fail("HistoryPage", Refuse("too large"))
    found = read(world, *(f"r{i}" for i in range(6)))
    (error,) = found.errors.values()
    assert len(found.runs) == 5 and error.reason == "UPSTREAM_REFUSED" and "too large" in error.message
    assert len(read(world, *(f"r{i}" for i in range(6))).runs) == 6


def test_a_server_that_fails_altogether_fails_the_call(worlds: HistoryWorlds) -> None:
    world = worlds()
    world.server.run(rows(range(10)), "a")
    world.server.run(rows(range(10)), "b")
    world.server.fail("Runs", Status(500), times=50)
    world.server.fail("Run", Status(500), times=50)
    failed = failing(lambda: read(world, "a", "b"))
    assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE")


def test_without_the_server(worlds: HistoryWorlds) -> None:
    world = worlds()
    for name in ("a", "b", "c"):
        world.server.run(rows(range(10)), name)
    read(world, "a", "b")
    asked(world)
    found = read(world, "a", "b", "c", options=options(cache_only=True))
    assert found.steps("a") == found.steps("b") == list(range(10)) and asked(world) == {}
    assert {path: error.reason for path, error in found.errors.items()} == {path_of("c"): "NOT_IN_CACHE"}
    world.server.fail("*", Status(503), times=200)
    old = read(world, "a", "b", options=options(allow_stale_on_error=True, max_age={"seconds": 0}))
    assert old.steps("a") == list(range(10)) and old.runs[path_of("a")].end.freshness.stale


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "paths"),
        ({"defaults": DEFAULTS}, "paths"),
        ({"paths": ["r1"], "project": PROJECT, "defaults": DEFAULTS}, "paths"),
        ({"paths": ["t/p/r1"], "filter_json": "{}"}, "paths"),
        ({"paths": ["t/p/r1", "r2"]}, "paths[1]"),
        ({"paths": ["t/p/r1"] * 1001}, "paths"),
        ({"paths": ["t/p/r1"], "samples": -1}, "samples"),
        ({"paths": ["t/p/r1"], "x_axis": "loss"}, "x_axis"),
        ({"paths": ["t/p/r1"], "join": 9}, "join"),
        ({"paths": ["t/p/r1"], "format": 9}, "format"),
        ({"project": "a/b/c/d", "filter_json": "{}"}, "project"),
        ({"project": f"{ENTITY}/{PROJECT}", "filter_json": "{"}, "filter_json"),
        ({"paths": ["t/p/r1"], "options": options(cache_only=True, no_cache=True)}, "options"),
    ],
)
def test_bad_requests_name_the_field(worlds: HistoryWorlds, fields: Any, name: str) -> None:
    world = worlds()
    refused = failing(lambda: read(world, **fields))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT and refused.fields == [name]
    assert asked(world) == {}


def test_runs_come_when_they_are_ready_and_few_are_fetched_at_once(worlds: HistoryWorlds) -> None:
    world = worlds()
    names = [f"r{i:02}" for i in range(30)]
    for name in names:
        world.server.run(dense(10), name)
    read(world, *names[5:])
    order: list[str] = []
    others_came = threading.Event()

    def slow(request: Request) -> None:
        if request.operation in HISTORY and request.variables["name"] == names[0]:
            others_came.wait(DEADLINE_S)

    world.server.on_request = slow
    for message in start_reading(world, *names):
        if message.run_end:
            order.append(message.run_path)
        if len(order) == len(names) - 1:
            others_came.set()
    assert sorted(order) == sorted(map(path_of, names))
    assert order[-1] == path_of(names[0]), "nobody waits for the slow one"


def test_a_stalled_reader_costs_little(worlds: HistoryWorlds) -> None:
    world = worlds()
    lines = [{"_step": i} | {f"m{k}": (i * 7919 + k) % 1_003 / 97 for k in range(10)} for i in range(10_000)]
    names = [f"r{i}" for i in range(25)]
    for name in names:
        world.server.run(lines, name)
    asked(world)
    cold = start_reading(world, *names, timeout=60)
    assert next(cold).rows.row_count
    world.settled()
    assert len({r.variables["name"] for r in world.server.requests if r.operation in HISTORY}) < len(names)
    cold.cancel()
    # What fetching costs stays with the allocator, so memory is looked at where all is stored.
    for _ in range(2):
        read(world, *names)
    process = psutil.Process(world.daemon.pid)
    before, calls = process.memory_info().rss, []
    for _ in STALLED:
        calls.append(start_reading(world, *names, timeout=60))
        assert next(calls[-1]).rows.row_count
        world.settled()
    assert process.memory_info().rss - before < len(STALLED) * STALLED_BYTES + MARGIN_BYTES
    for call in calls:
        call.cancel()


def test_who_leaves_stops_the_requests(worlds: HistoryWorlds) -> None:
    world = worlds()
    for i in range(20):
        world.server.run(dense(10), f"r{i:02}")
    gate = world.server.hold("HistoryPage")
    call = start_reading(world, *(f"r{i:02}" for i in range(20)))
    eventually(lambda: world.server.count("HistoryPage") >= 2, "histories are asked for")
    call.cancel()
    eventually(lambda: world.server.abandoned >= 2, "the server sees the daemon leave")
    gate.set()
    world.settled()
    assert world.server.count("HistoryPage") <= 4
    assert len(read(world, *(f"r{i:02}" for i in range(20))).runs) == 20


def test_a_killed_daemon_is_gone_on_with(start: Callable[..., Daemon]) -> None:
    with HistoriesUpstream() as server:
        for i in range(12):
            server.run(dense(100 + i), f"r{i:02}")
        daemon = start()
        world = world_of(server, daemon)
        left, ended = [f"r{i:02}" for i in range(12)], list[str]()
        server.meanwhile(4, lambda: server.hold("HistoryPage"))
        with pytest.raises(grpc.RpcError):
            for message in start_reading(world, *left):
                if message.run_end:
                    ended.append(message.run_path)
                if len(ended) == 3:
                    daemon.kill()
        server.heal()
        left = [name for name in left if path_of(name) not in ended]
        found = read(world_of(server, start(daemon.home)), *left)
        assert {path: len(of_run.steps) for path, of_run in found.runs.items()} == {
            path_of(name): 100 + int(name[1:]) for name in left
        }
