"""The keys of histories through a real daemon, from a scripted server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from runtap.v1 import common_pb2, daemon_pb2, daemon_pb2_grpc, runs_pb2
from runtap.v1 import history_pb2 as pb
from tests.support.daemon import eventually
from tests.support.scripted_world import DEADLINE_S, PROJECT, World, all_pages, failing, options
from tests.support.upstream import ENTITY, ScriptedUpstream
from tests.support.upstream_faults import Status

MESSAGE_LIMIT = 2 * 2**20


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


def keys_of(world: World, run_id: str = "r1", **fields: Any) -> pb.GetHistoryKeysResponse:
    request = pb.GetHistoryKeysRequest(**{"path": f"{ENTITY}/{PROJECT}/{run_id}"} | fields)
    return world.histories().GetHistoryKeys(request, timeout=DEADLINE_S)


def pages(world: World, **fields: Any) -> Iterator[pb.GetHistoryKeysResponse]:
    return all_pages(lambda token: keys_of(world, page_token=token, **fields))


def counts(answer: pb.GetHistoryKeysResponse) -> dict[str, dict[str, int]]:
    return {one.key: dict(one.type_counts) for one in answer.keys}


def number(count: Any) -> dict[str, Any]:
    return {"typeCounts": [{"type": "number", "count": count}]}


def add_run(world: World, keys: Any, run_id: str = "r1", **fields: Any) -> None:
    document = {"keys": keys, "lastStep": 41}
    world.server.add_run(
        ENTITY,
        PROJECT,
        run_id,
        history_keys=document,
        **{"historyLineCount": 42, "config": {"n": 1}} | fields,
    )


def many(count: int) -> dict[str, Any]:
    return {f"layer/{i:05}/weight": number(i) for i in range(count)}


def test_keys_with_their_counts_the_last_step_and_the_rows(world: World) -> None:
    image = {"typeCounts": [{"type": "image-file", "count": 3}, {"type": "string", "count": 1}]}
    add_run(world, {"val/loss": number(7), "d.x": number("5"), "Ä\n": image})
    answer = keys_of(world)
    assert counts(answer) == {
        "d.x": {"number": 5},
        "val/loss": {"number": 7},
        "Ä\n": {"image-file": 3, "string": 1},
    }
    assert [one.key for one in answer.keys] == ["d.x", "val/loss", "Ä\n"]
    assert (answer.last_step, answer.history_line_count, answer.total_size) == (41, 42, 3)
    assert not answer.next_page_token
    assert answer.freshness.source == common_pb2.FRESHNESS_SOURCE_UPSTREAM


def test_a_run_without_a_history(world: World) -> None:
    world.server.add_run(ENTITY, PROJECT, "r1")
    answer = keys_of(world)
    assert (len(answer.keys), answer.total_size) == (0, 0)
    assert not answer.HasField("last_step")
    assert not answer.HasField("history_line_count")


def test_the_keys_lie_in_the_cache_of_runs(world: World) -> None:
    add_run(world, {"loss": number(7)})
    assert failing(lambda: keys_of(world, options=options(cache_only=True))).reason == "NOT_IN_CACHE"
    world.get("r1")
    assert counts(keys_of(world)) == {"loss": {"number": 7}}
    assert world.server.counts()["Run"] == 1
    add_run(world, {"loss": number(8)})
    assert counts(keys_of(world)) == {"loss": {"number": 7}}, "the run has ended, and was read a moment ago"
    assert counts(keys_of(world, options=options(no_cache=True))) == {"loss": {"number": 8}}
    world.server.fail("*", Status(503), times=100)
    stale = keys_of(world, options=options(no_cache=True, allow_stale_on_error=True))
    assert (counts(stale), stale.freshness.stale) == ({"loss": {"number": 8}}, True)


@pytest.mark.parametrize(
    "document",
    [
        None,
        "",
        "null",
        "[]",
        "7",
        "not JSON",
        '{"keys": ["loss"]}',
        '{"keys": null, "lastStep": "4"}',
        [],
        7,
        True,
    ],
)
def test_odd_documents_have_no_keys(world: World, document: Any) -> None:
    node = world.server.add_run(ENTITY, PROJECT, "r1")
    node["historyKeys"] = document
    answer = keys_of(world)
    assert not answer.keys
    assert not answer.HasField("last_step")


def test_odd_keys_and_counts(world: World) -> None:
    node = world.server.add_run(ENTITY, PROJECT, "r1")
    node["historyKeys"] = {  # embedded, as some servers do
        "keys": {
            "": number(1),
            "\ud800": number(1),
            "huge": number(2**70),
            "text": number("12"),
            "none": None,
            "list": [1],
            "of types": {"typeCounts": {"number": 3}},
        },
        "lastStep": 2**70,
    }
    answer = keys_of(world)
    assert counts(answer) == {
        "": {"number": 1},
        "\ufffd": {"number": 1},
        "huge": {"number": 2**63 - 1},
        "text": {"number": 12},
        "none": {},
        "list": {},
        "of types": {},
    }
    assert not answer.HasField("last_step")


def test_twenty_thousand_keys_fit_one_message(world: World) -> None:
    add_run(world, many(20_000))
    assert world.get("r1").run.omitted, "the document is over 1 MiB"
    answer = keys_of(world)
    assert (len(answer.keys), answer.total_size, answer.next_page_token) == (20_000, 20_000, "")
    assert answer.keys[-1].type_counts["number"] == 19_999
    assert max(world.sizes) < MESSAGE_LIMIT
    assert world.server.count("Run") == 1


def test_more_come_in_pages(world: World) -> None:
    keys = {f"{'k' * 300}/{i:05}": number(1) for i in range(9_000)}
    add_run(world, keys | {"é" * 8_192: number(1)})
    found = list(pages(world))
    assert [one.key for page in found for one in page.keys] == [*keys, "é" * 8_192]
    assert len(found) == 2
    assert {page.total_size for page in found} == {9_001}
    assert max(world.sizes) < MESSAGE_LIMIT
    assert world.server.count("Run") == 1


def test_pages_of_a_size_go_on_behind_a_name(world: World) -> None:
    add_run(world, many(7))
    assert [len(page.keys) for page in pages(world, page_size=3)] == [3, 3, 1]
    assert [len(page.keys) for page in pages(world, page_size=7)] == [7]
    first = keys_of(world, page_size=3)
    add_run(world, many(7) | {"a new one": number(1), "layer/00004/bias": number(1)})
    rest = keys_of(world, page_token=first.next_page_token, options=options(no_cache=True))
    names = [one.key.removeprefix("layer/") for one in rest.keys]
    assert names == ["00003/weight", "00004/bias", "00004/weight", "00005/weight", "00006/weight"]
    assert rest.total_size == 9


def test_page_tokens_of_something_else_are_refused(world: World) -> None:
    for run_id in ("r1", "r2"):
        add_run(world, many(3), run_id)
    token = keys_of(world, page_size=1).next_page_token
    listed = world.list(page_size=1).next_page_token
    for refused in (
        lambda: keys_of(world, "r2", page_token=token),
        lambda: keys_of(world, page_token=token[:-4]),
        lambda: keys_of(world, page_token=listed),
        lambda: keys_of(world, page_token="made up"),
    ):
        failure = failing(refused)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")
        assert failure.fields == ["page_token"]
    assert failing(lambda: keys_of(world, page_size=-1)).fields == ["page_size"]
    assert failing(lambda: keys_of(world, "nope")).reason == "RUN_NOT_FOUND"


def prune(world: World) -> None:
    stub = daemon_pb2_grpc.DaemonServiceStub(world.channel())
    eventually(
        lambda: stub.GetCacheUsage(daemon_pb2.GetCacheUsageRequest()).accounts[0].records == 1,
        "all is written",
    )
    stub.PruneCache(daemon_pb2.PruneCacheRequest(), timeout=DEADLINE_S)


@pytest.mark.parametrize("changed", [False, True])
def test_a_large_document_that_left_the_cache_is_read_again_as_it_is_now(world: World, changed: bool) -> None:
    add_run(world, many(20_000))
    keys_of(world)
    prune(world)
    if changed:
        add_run(world, many(19_000), config={"n": 2}, updatedAt="2026-01-03T00:00:00Z")
    assert keys_of(world).total_size == (19_000 if changed else 20_000)


@pytest.mark.parametrize("count", [3, 20_000])
def test_own_writes_on_their_way_leave_the_keys_as_they_are(world: World, count: int) -> None:
    add_run(world, many(count))
    world.get("r1")
    world.server.fail("*", Status(503), times=10_000)
    edit = runs_pb2.JsonEdit(path=["n"], set_json="2")
    patch = runs_pb2.UpdateRunRequest(path=f"{ENTITY}/{PROJECT}/r1", request_id="w1", config=[edit])
    world.runs().UpdateRun(patch, timeout=DEADLINE_S)
    answer = keys_of(world, options=options(cache_only=True))
    assert (answer.total_size, answer.freshness.pending_writes) == (count, 1)
    world.server.heal()
