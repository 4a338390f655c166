"""Reading histories through a real daemon, from a scripted server."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pyarrow as pa
import pytest

from runtap.v1 import history_pb2 as pb
from tests.support.daemon import Daemon, eventually
from tests.support.scripted_world import DEADLINE_S, PROJECT, World, failing, login, options
from tests.support.upstream import ENTITY, ScriptedUpstream
from tests.support.upstream_faults import CutShort, Delay, Refuse, Status

MESSAGE_LIMIT = 2 * 2**20
OTHER_KEY = "canary0scripted0key0of0the0other0user0000"
PATH = f"{ENTITY}/{PROJECT}/r1"


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        server.add_run(ENTITY, PROJECT, "r1")
        yield server


def read(world: World, account: str | None = None, **fields: Any) -> list[pb.ReadHistoryResponse]:
    request = pb.ReadHistoryRequest(**{"path": PATH} | fields)
    stub = world.histories() if account is None else world.histories(account=account)
    return list(stub.ReadHistory(request, timeout=DEADLINE_S))


def column(messages: list[pb.ReadHistoryResponse], key: str) -> list[Any]:
    """The cells of a key over all messages, None where there is none; JSON columns parsed."""
    cells: list[Any] = []
    for message in messages:
        if message.WhichOneof("batch") == "arrow_ipc":
            table = pa.ipc.open_stream(message.arrow_ipc).read_all()
            if key in table.column_names:
                field = table.schema.field(key)
                nested = (field.metadata or {}).get(b"runtap.json") == b"1"
                values = table.column(key).to_pylist()
                cells += [json.loads(v) if nested and v is not None else v for v in values]
    return cells


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"_step": i, "loss": 1 / (i + 1), "_timestamp": 1.5 + i} | more for i in range(count)]


def test_all_rows_in_order_with_an_end(world: World) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", rows(3500))
    messages = read(world)
    assert column(messages, "_step") == list(range(3500))
    end = messages[-1]
    assert end.row_count == 0 and end.WhichOneof("batch") is None
    assert (end.progress.done, end.progress.total, end.exact) == (3500, 3500, True)
    assert all(message.freshness.fetched_at.seconds for message in messages)
    assert [m.progress.done for m in messages] == sorted(m.progress.done for m in messages)
    groups = [message.row_group for message in messages[:-1]]
    assert groups == list(range(len(groups))) and all(message.row_group_end for message in messages)
    assert world.server.count("HistoryPage") <= 8 and world.server.count("Run") == 1


def test_both_formats_keep_missing_null_and_nan_apart(world: World) -> None:
    world.server.add_history(
        ENTITY,
        PROJECT,
        "r1",
        [
            {"_step": 0, "a": 1.5},
            {"_step": 1, "a": None},
            {"_step": 2, "b": "x"},
            {"_step": 3, "a": float("nan")},
        ],
    )
    (message, _) = read(world, keys=["a", "b"])
    table = pa.ipc.open_stream(message.arrow_ipc).read_all()
    cells = table.column("a").to_pylist()
    assert cells[:3] == [1.5, None, None] and math.isnan(cells[3])
    assert table.schema.field("a").metadata == {b"runtap.nulls": b"1"}
    (message, _) = read(world, keys=["a", "b"], format=pb.HISTORY_FORMAT_COLUMNS)
    by_key = {column.key: column for column in message.columns.columns}
    assert list(by_key) == ["_step", "a", "b"] and message.columns.row_count == 4
    assert (by_key["a"].present, by_key["a"].null) == (b"\x0b", b"\x02")
    assert by_key["a"].doubles.values[0] == 1.5 and math.isnan(by_key["a"].doubles.values[3])
    assert list(by_key["_step"].int64s.values) == [0, 1, 2, 3] and by_key["b"].strings.values[2] == "x"


def test_keys_joins_and_what_nobody_logged(world: World) -> None:
    logged = [
        {"_step": i} | ({"a": i} if i % 2 else {}) | ({"b": {"c": i}} if i % 3 == 0 else {})
        for i in range(12)
    ]
    world.server.add_history(ENTITY, PROJECT, "r1", logged)
    outer = read(world, keys=["a", "b.c", "never"])
    assert column(outer, "_step") == [0, 1, 3, 5, 6, 7, 9, 11]
    assert list(outer[-1].unknown_keys) == ["never"]
    inner = read(world, keys=["a", "b.c"], join=pb.HISTORY_JOIN_INNER)
    assert column(inner, "_step") == [3, 9] and column(inner, "b.c") == [3, 9]
    assert not inner[-1].unknown_keys


def test_keys_that_no_row_has_together_are_not_called_unknown(world: World) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", [{"_step": i, "ab"[i % 2]: i} for i in range(100)])
    ranges: list[dict[str, Any]] = [{}, {"min_step": 10, "max_step": 20}, {"last_rows": 5}]
    for ranged in ranges:
        (end,) = read(world, keys=["a", "never", "b"], join=pb.HISTORY_JOIN_INNER, **ranged)
        assert list(end.unknown_keys) == ["never"]
    (end,) = read(world, keys=["a", "b"], join=pb.HISTORY_JOIN_INNER, min_step=10, max_step=11)
    assert list(end.unknown_keys) == ["b"]  # in that range


def test_only_the_steps(world: World) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", rows(100))
    for join in (pb.HISTORY_JOIN_OUTER, pb.HISTORY_JOIN_INNER):
        messages = read(world, keys=["_step"], join=join)
        assert column(messages, "_step") == list(range(100)) and not column(messages, "loss")
        assert not messages[-1].unknown_keys
        (nothing,) = read(world, keys=["_step"], join=join, min_step=1000)
        assert not nothing.unknown_keys


def test_ranges_and_last_rows(world: World) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", rows(100))
    assert column(read(world, min_step=10, max_step=13), "_step") == [10, 11, 12]
    assert column(read(world, last_rows=3), "_step") == [97, 98, 99]
    assert column(read(world, last_rows=2, max_step=50), "_step") == [48, 49]
    assert read(world, min_step=10, max_step=13)[-1].progress.total == 3


def test_steps_up_to_a_trillion(world: World) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", [{"_step": i * 10**10} for i in range(101)])
    assert column(read(world), "_step") == [i * 10**10 for i in range(101)]
    assert world.server.count("HistoryPage") <= 3


@pytest.mark.parametrize("page", [1, 7, 10, 1000])
def test_any_page_size_gives_the_same_rows(world: World, page: int) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", rows(40))
    assert column(read(world, upstream_page_size=page), "_step") == list(range(40))


def test_a_server_that_gives_fewer_rows_than_are_asked_for_gives_them_all(world: World) -> None:
    world.server.history_cap = 100
    world.server.add_history(ENTITY, PROJECT, "r1", [{"_step": i * 3} for i in range(900)])
    messages = read(world)
    assert column(messages, "_step") == [i * 3 for i in range(900)] and messages[-1].exact


def test_messages_stay_small_and_columns_are_split(world: World) -> None:
    wide = [{"_step": s} | {f"layer/{k:04}": s * 0.5 for k in range(3000)} for s in range(20)]
    large = [{"_step": 20 + s, "image": "x" * 300_000} for s in range(20)]
    world.server.add_history(ENTITY, PROJECT, "r1", wide + large)
    for wanted in (pb.HISTORY_FORMAT_ARROW, pb.HISTORY_FORMAT_COLUMNS):
        messages = read(world, format=wanted)
        assert sum(message.row_count for message in messages if message.row_group_end) == 40
        assert not any(message.resume_token for message in messages if not message.row_group_end)
    assert max(world.sizes) < MESSAGE_LIMIT
    huge = read(world, keys=["image"], min_step=20, max_step=22)
    assert column(huge, "image") == ["x" * 300_000] * 2


def test_a_broken_stream_goes_on_behind_any_message(world: World, start: Callable[..., Daemon]) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", rows(50))
    whole = read(world, upstream_page_size=10, keys=["loss", "never"])
    places = [i for i, message in enumerate(whole) if message.resume_token]
    assert places, "as many as pages came between two messages"
    login(world.daemon, world.server, store=True)
    world.daemon.stop()
    world.daemon.secrets.clear()  # stored on purpose
    world.daemon = start(world.daemon.home)
    for i in places:
        rest = read(world, upstream_page_size=10, keys=["loss", "never"], resume_token=whole[i].resume_token)
        assert column(whole[: i + 1], "_step") + column(rest, "_step") == list(range(50))
        assert rest[-1].progress.done == 50 and list(rest[-1].unknown_keys) == ["never"]


def test_a_resume_token_of_something_else_is_refused(world: World) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", rows(50))
    world.server.add_user(OTHER_KEY, "bob", ENTITY)
    other = login(world.daemon, world.server, OTHER_KEY)
    token = read(world, upstream_page_size=10)[0].resume_token
    for fields in (
        {"upstream_page_size": 20, "resume_token": token},
        {"upstream_page_size": 10, "resume_token": token, "keys": ["loss"]},
        {"upstream_page_size": 10, "resume_token": token, "account": other},
        {"upstream_page_size": 10, "resume_token": token[:-4]},
        {"resume_token": "made up"},
    ):
        refused = failing(lambda f=fields: read(world, **f))  # type: ignore[misc]
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_RESUME_TOKEN")
        assert refused.fields == ["resume_token"]


@pytest.mark.parametrize("how", ["fewer rows", "another run"])
def test_a_rewritten_history_is_not_glued_together(world: World, how: str) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", rows(50))
    token = read(world, upstream_page_size=10)[1].resume_token
    if how == "another run":
        world.server.projects[ENTITY, PROJECT]["r1"]["id"] = "storage-second"
    else:
        world.server.add_history(ENTITY, PROJECT, "r1", rows(30))
    told = failing(
        lambda: read(world, upstream_page_size=10, resume_token=token, options=options(no_cache=True))
    )
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "HISTORY_REWRITTEN")


def test_system_metrics(world: World) -> None:
    world.server.events[PATH] = [{"_timestamp": i, "_runtime": i, "system.cpu": i / 2} for i in range(30)]
    messages = read(world, stream=pb.HISTORY_STREAM_SYSTEM)
    assert column(messages, "system.cpu") == [i / 2 for i in range(30)] and messages[-1].exact
    last = read(world, stream=pb.HISTORY_STREAM_SYSTEM, keys=["system.cpu"], last_rows=2)
    assert column(last, "_timestamp") == [28, 29]


def test_a_run_without_history(world: World) -> None:
    (only,) = read(world, keys=["a"])
    assert (only.progress.done, only.progress.total, list(only.unknown_keys)) == (0, 0, ["a"])


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"last_rows": -1}, "last_rows"),
        ({"upstream_page_size": -1}, "upstream_page_size"),
        ({"format": 9}, "format"),
        ({"join": 9}, "join"),
        ({"stream": 9}, "stream"),
        ({"stream": 2, "min_step": 1}, "min_step"),
        ({"path": "r1"}, "path"),
    ],
)
def test_bad_requests_name_the_field(world: World, fields: Any, name: str) -> None:
    refused = failing(lambda: read(world, **fields))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT and refused.fields == [name]


def test_faults_on_the_way(world: World) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", rows(30))
    assert failing(lambda: read(world, path=f"{ENTITY}/{PROJECT}/nope")).reason == "RUN_NOT_FOUND"
    assert failing(lambda: read(world, options=options(cache_only=True))).reason == "NOT_IN_CACHE"
    world.server.fail("HistoryPage", Status(503))
    world.server.fail("HistoryPage", CutShort())
    assert column(read(world), "_step") == list(range(30)), "what passes is tried again"
    world.server.fail("HistoryPage", Refuse("too large"))
    refused = failing(lambda: read(world, options=options(no_cache=True)))
    assert refused.reason == "UPSTREAM_REFUSED" and "too large" in refused.message


def test_cancelling_ends_the_request(world: World) -> None:
    world.server.add_history(ENTITY, PROJECT, "r1", rows(30))
    world.server.fail("HistoryPage", Delay(60))
    call = world.histories().ReadHistory(pb.ReadHistoryRequest(path=PATH))
    eventually(lambda: world.server.count("HistoryPage") == 1, "the request arrives")
    call.cancel()
    eventually(lambda: world.server.abandoned == 1, "the server sees the daemon leave")
