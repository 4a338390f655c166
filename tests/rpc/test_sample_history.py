"""Samples of histories through a real daemon, from a scripted server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pyarrow as pa
import pytest

from runtap.v1 import history_pb2 as pb
from tests.support.scripted_world import DEADLINE_S, PROJECT, World, failing, options
from tests.support.upstream import ENTITY, ScriptedUpstream
from tests.support.upstream_faults import Status

MESSAGE_LIMIT = 2 * 2**20
PATH = f"{ENTITY}/{PROJECT}/r1"


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        server.add_run(ENTITY, PROJECT, "r1")
        yield server


def messages(world: World, **fields: Any) -> list[pb.SampleHistoryResponse]:
    request = pb.SampleHistoryRequest(**{"path": PATH} | fields)
    return list(world.histories().SampleHistory(request, timeout=DEADLINE_S))


def sample(world: World, **fields: Any) -> pb.SampleHistoryResponse:
    (message,) = messages(world, **fields)
    return message


def column(message: pb.SampleHistoryResponse, key: str) -> list[Any]:
    """The cells of a key, None where there is none; JSON cells parsed."""
    table = pa.ipc.open_stream(message.arrow_ipc).read_all()
    nested = (table.schema.field(key).metadata or {}).get(b"runtap.json") == b"1"
    return [json.loads(v) if nested and v is not None else v for v in table.column(key).to_pylist()]


def columns(message: pb.SampleHistoryResponse) -> list[str]:
    return pa.ipc.open_stream(message.arrow_ipc).schema.names  # type: ignore[no-any-return]


def add(world: World, logged: list[dict[str, Any]]) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", logged)


def test_few_rows_with_ends_and_extremes_always_the_same(world: World) -> None:
    add(world, [{"_step": s, "loss": 99.0 if s == 1234 else 1.0, "_timestamp": s + 0.5} for s in range(3500)])
    first = sample(world, samples=50)
    steps = column(first, "_step")
    assert (first.rows, first.total_rows, first.exact, first.server_sampled) == (50, 3500, False, False)
    assert (steps[0], steps[-1], 1234 in steps, sorted(set(steps))) == (0, 3499, True, steps)
    assert columns(first) == ["_step", "loss", "_timestamp"]
    assert first.freshness.fetched_at.seconds
    assert sample(world, samples=50).arrow_ipc == first.arrow_ipc
    assert sample(world).rows == 500, "when nothing is said"
    assert sample(world, samples=3500).exact


def test_what_is_stored_is_sampled_without_the_server(world: World) -> None:
    add(world, [{"_step": s, "loss": s % 77, "other": s % 13} for s in range(3000)])
    first = sample(world, samples=50)
    before = world.server.count()
    again = sample(world, samples=50, options=options(cache_only=True))
    assert (again.arrow_ipc, again.total_rows, again.server_sampled) == (first.arrow_ipc, 3000, False)
    few = sample(world, samples=50, keys=["loss"], options=options(cache_only=True))
    assert (columns(few), few.total_rows) == (["_step", "loss"], 3000)
    assert world.server.count() == before


def test_all_rows_of_a_short_run(world: World) -> None:
    add(world, [{"_step": s, "x": s, "image": {"_type": "image-file", "n": s}} for s in range(7)])
    whole = sample(world)
    assert (whole.rows, whole.total_rows, whole.exact) == (7, 7, True)
    assert column(whole, "x") == list(range(7)) and column(whole, "image")[3]["n"] == 3


def test_keys_choose_rows_and_the_x_axis_comes_along(world: World) -> None:
    add(
        world,
        [
            {"_step": s, "epoch": s // 4}
            | ({"a": s} if s % 2 else {})
            | ({"b": {"c": -s}} if s % 3 == 0 else {})
            | {"_runtime": s, "_timestamp": 1.0 + s}
            for s in range(12)
        ],
    )
    outer = sample(world, keys=["a", "b.c", "never", "_timestamp"], x_axis="epoch")
    assert column(outer, "_step") == [0, 1, 3, 5, 6, 7, 9, 11]
    assert columns(outer) == ["_step", "a", "b.c", "epoch", "_timestamp"]
    assert (list(outer.unknown_keys), outer.total_rows, outer.rows_with_all_keys) == (["never"], 8, 0)
    inner = sample(world, keys=["a", "b.c"], join=pb.HISTORY_JOIN_INNER, x_axis="_timestamp")
    assert column(inner, "b.c") == [-3, -9] and column(inner, "_timestamp") == [4, 10]
    assert inner.rows_with_all_keys == 2
    assert sample(world, keys=["a", "b.c"]).rows_with_all_keys == 2
    none = sample(world, keys=["a", "never"], x_axis="nowhere", join=pb.HISTORY_JOIN_INNER)
    assert (none.rows, list(none.unknown_keys)) == (0, ["never", "nowhere"])


def test_step_and_clock_decide_only_when_nothing_else_is_asked_for(world: World) -> None:
    add(world, [{"_step": 0, "a": 1}, {"_step": 1, "_runtime": 5}, {"_step": 2, "a": 2, "epoch": 1}])
    assert column(sample(world, keys=["a", "_runtime", "_step"]), "_step") == [0, 2]
    assert column(sample(world, keys=["_step"]), "_step") == [0, 1, 2]
    assert columns(sample(world, keys=["_step"])) == ["_step"]
    assert column(sample(world, keys=["_runtime"]), "_step") == [1]
    assert column(sample(world, keys=["_runtime"], x_axis="epoch"), "_step") == [1]
    assert column(sample(world, keys=["a"], x_axis="epoch", join=pb.HISTORY_JOIN_INNER), "_step") == [2]


def test_rows_are_spread_over_the_x_axis(world: World) -> None:
    add(world, [{"_step": s, "epoch": s / 9000 if s < 900 else (s - 899) / 100} for s in range(1000)])
    by_step, by_epoch = (column(sample(world, samples=100, x_axis=x), "_step") for x in ("", "epoch"))
    assert sum(step >= 900 for step in by_step) < 20 and sum(step >= 900 for step in by_epoch) > 60


def test_typed_columns_keep_missing_null_and_nan_apart(world: World) -> None:
    add(
        world,
        [{"_step": 0, "a": 1.5}, {"_step": 1, "a": None}, {"_step": 2}, {"_step": 3, "a": float("nan")}],
    )
    message = sample(world, format=pb.HISTORY_FORMAT_COLUMNS)
    by_key = {column.key: column for column in message.columns.columns}
    assert (message.columns.row_count, by_key["a"].present, by_key["a"].null) == (4, b"\x0b", b"\x02")


def test_large_samples_come_in_several_messages(world: World) -> None:
    add(world, [{"_step": s, "text": f"{s:06}" * 2000} for s in range(400)])
    for wanted in (pb.HISTORY_FORMAT_ARROW, pb.HISTORY_FORMAT_COLUMNS):
        parts = messages(world, samples=300, format=wanted)
        assert 1 < len(parts) < 6
        assert sum(part.rows for part in parts) == 300
        assert {(part.total_rows, part.exact, part.more_columns) for part in parts} == {(400, False, False)}
    assert max(world.sizes) < MESSAGE_LIMIT


def test_a_row_too_large_for_a_message_comes_in_columns(world: World) -> None:
    add(world, [{"_step": 0} | {f"image{i}": "x" * 700_000 for i in range(5)}, {"_step": 1, "a": 1}])
    *heads, rest = messages(world)
    assert len(heads) > 1 and [head.more_columns for head in heads] == [True] * (len(heads) - 1) + [False]
    assert sorted(key for head in heads for key in columns(head)[1:]) == [f"image{i}" for i in range(5)]
    assert (rest.rows, column(rest, "a")) == (1, [1])
    assert max(world.sizes) < MESSAGE_LIMIT


def test_system_metrics_are_spread_over_time(world: World) -> None:
    world.server.events[PATH] = [{"_timestamp": i, "_runtime": i, "system.cpu": i % 7} for i in range(300)]
    few = sample(world, stream=pb.HISTORY_STREAM_SYSTEM, samples=20)
    times = column(few, "_timestamp")
    assert (few.rows, few.total_rows, times[0], times[-1]) == (20, 300, 0, 299)
    assert sample(world, stream=pb.HISTORY_STREAM_SYSTEM).exact


def test_a_server_that_withholds_rows_is_said_to(world: World) -> None:
    add(world, [{"_step": i} for i in range(90)])
    world.server.projects[ENTITY, PROJECT]["r1"]["historyLineCount"] = 100
    few = sample(world, samples=10)
    assert (few.rows, few.exact, few.server_sampled) == (10, False, True)
    assert not few.HasField("total_rows")


def test_a_run_without_history(world: World) -> None:
    none = sample(world, keys=["a"])
    assert (none.rows, none.total_rows, none.exact, list(none.unknown_keys)) == (0, 0, True, ["a"])
    assert none.WhichOneof("batch") is None


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"samples": -1}, "samples"), ({"format": 9}, "format"), ({"join": 9}, "join"), ({"stream": 9}, "stream"),
     ({"path": "r1"}, "path")],
)  # fmt: skip
def test_bad_requests_name_the_field(world: World, fields: Any, name: str) -> None:
    refused = failing(lambda: sample(world, **fields))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT and refused.fields == [name]


def test_faults_on_the_way(world: World) -> None:
    add(world, [{"_step": 0, "x": 1}])
    assert failing(lambda: sample(world, path=f"{ENTITY}/{PROJECT}/nope")).reason == "RUN_NOT_FOUND"
    assert failing(lambda: sample(world, options=options(cache_only=True))).reason == "NOT_IN_CACHE"
    world.server.fail("HistoryPage", Status(503))
    assert sample(world).rows == 1, "what passes is tried again"


def test_a_long_history_is_not_fetched_for_a_sample(world: World) -> None:
    add(world, [{"_step": i, "loss": i % 97} for i in range(250_000)])
    asked = world.server.count("HistoryPage")
    few = sample(world, samples=50)
    assert world.server.count("HistoryPage") == asked + 1
    assert (few.rows, few.exact, few.server_sampled, few.total_rows) == (50, False, True, 250_000)
    assert sample(world, samples=50, keys=["loss"]).total_rows == 250_000
    kept = sample(world, samples=50)
    assert (kept.rows, kept.server_sampled, kept.total_rows) == (50, False, 250_000)
    assert world.server.count("HistoryPage") > asked + 2, (
        "some keys are looked for in all rows, which are kept then"
    )
