"""Filters and orders through a real daemon, from servers that refuse, ignore or misjudge some of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from runtap.v1 import runs_pb2
from runtap_query import compile_filter, parse_filter, sort_documents
from tests.support.daemon import Daemon, eventually
from tests.support.query_examples import IMPLIED_EXAMPLES, OPERATOR_EXAMPLES
from tests.support.scripted_world import DEADLINE_S, PROJECT, World, failing, make_world, options
from tests.support.upstream import ENTITY, ScriptedUpstream
from tests.support.upstream_faults import Refuse, Status
from tests.support.upstream_judging import document

COUNT = 60


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def world(server: ScriptedUpstream, start: Callable[..., Daemon]) -> World:
    world = make_world(server, start)
    for i in range(COUNT):
        server.add_run(
            ENTITY,
            PROJECT,
            f"r{i:04}",
            state="failed" if i % 5 == 0 else "finished",
            tags=["base"] if i % 2 else [],
            displayName=f"run {i}",
            config={
                "lr": {"value": i / 100},
                "opt": {"value": {"name": "adam" if i % 3 else "sgd"}},
                "n": {"value": i},
            },
            summary={"loss": (i * 37) % COUNT, "val/acc.top1": i % 7} if i % 4 else {"other": 1},
        )
    return world


def expected(world: World, filter_json: str, order: str) -> list[str]:
    """The ids the query language itself gives."""
    matches = compile_filter(parse_filter(filter_json))
    documents = [document(node) for node in world.server.projects[ENTITY, PROJECT].values()]
    return [found["name"] for found in sort_documents(filter(matches, documents), order)]


def ids(pages: Any) -> list[str]:
    return [run.run_id for page in pages for run in page.runs]


def sent(world: World) -> list[tuple[str, str]]:
    """What lists were asked for: filter and order."""
    found = [r.variables for r in world.server.requests if r.operation == "Runs"]
    return [(variables["filters"], variables["order"]) for variables in found]


QUERIES = [
    ({"config.opt.name": "adam"}, "-created_at"),
    ({"summary.loss": {"$gt": 10}}, "+summary.loss"),
    ({"summary_metrics.val/acc.top1": {"$lte": 3}, "state": "finished"}, "-summary_metrics.val/acc.top1"),
    ({"$or": [{"config.n": {"$lt": 5}}, {"display_name": {"$regex": "9$"}}]}, "+config.lr"),
    ({"tags": {"$ne": "base"}}, "+display_name"),
    ({"duration": {"$exists": False}, "state": {"$ne": "failed"}}, "+created_at"),
]


@pytest.mark.parametrize(("filters", "order"), QUERIES, ids=lambda value: json.dumps(value))
@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"ignores_order": True},
        {"refuses": ("summary_metrics.", "config.")},
        {"refuses": ("summary_metrics.", "config.", "state", "tags", "$")},
        {"misjudges": ("opt.name", "val/acc", "opt.value.name")},
        {"lacks_updated_at": True, "page_cap": 7, "refuses": ("summary_metrics.",)},
    ],
    ids=lambda fault: ",".join(fault),
)
def test_lists_are_complete_and_right_whatever_the_server_cannot_do(
    world: World, fault: dict[str, Any], filters: Any, order: str
) -> None:
    for name, value in fault.items():
        setattr(world.server, name, value)
    fields: dict[str, Any] = {"filter_json": json.dumps(filters), "order": order}
    wanted = expected(world, fields["filter_json"], order)
    pages = list(world.pages(page_size=10, **fields))
    assert ids(pages) == wanted and wanted
    assert {page.total_size for page in pages} == {len(wanted)}
    assert not any(page.incomplete_reason for page in pages)
    before = world.server.count()
    assert ids(world.stream(**fields)) == wanted
    assert world.server.count() == before, "one answer, judged once"


@pytest.mark.parametrize(
    "filters",
    [*(f for _, f, _ in OPERATOR_EXAMPLES), *(f for f, _ in IMPLIED_EXAMPLES)],
    ids=lambda value: json.dumps(value),
)
def test_every_operator_means_what_it_means_here(world: World, filters: Any) -> None:
    text = json.dumps(filters)
    assert ids(world.pages(filter_json=text, page_size=1000)) == expected(world, text, "-created_at")


def test_a_refusal_is_met_once_a_day(world: World) -> None:
    world.server.refuses = ("config.",)
    one = json.dumps({"config.n": {"$lt": 5}, "state": "finished"})
    assert ids(world.pages(filter_json=one)) == expected(world, one, "-created_at")
    assert sent(world)[-1][0] == '{"state":"finished"}' and len(sent(world)) == 3, (
        "rich, in its base shape, and with less"
    )
    two = json.dumps({"config.n": {"$lt": 9}, "state": "failed"})
    assert ids(world.pages(filter_json=two)) == expected(world, two, "-created_at")
    assert [filters for filters, _ in sent(world)[3:]] == ['{"state":"failed"}']


def test_a_server_that_refuses_everything_is_believed(world: World) -> None:
    world.server.fail("Runs", Refuse("no"), times=99)
    refused = failing(lambda: world.list(filter_json='{"config.n": 1}'))
    assert refused.reason == "UPSTREAM_REFUSED"
    world.server.heal()
    assert ids([world.list(filter_json='{"config.n": 1}')]) == ["r0001"]
    assert sent(world)[-1][0] == '{"config.n.value":1}', "nothing was learnt from it"


def test_a_server_without_an_order_is_found_out_and_not_asked_for_one_again(world: World) -> None:
    world.server.ignores_order = True
    assert ids(world.pages(page_size=10)) == [f"r{i:04}" for i in reversed(range(COUNT))]
    before = len(sent(world))
    assert ids(world.pages(filter_json='{"state": "failed"}', order="+created_at")) == [
        f"r{i:04}" for i in range(0, COUNT, 5)
    ]
    assert [filters for filters, _ in sent(world)[before:]] == ['{"state":"failed"}']


def test_an_order_that_breaks_off_later_is_said(world: World) -> None:
    first = world.list(page_size=10)
    world.server.ignores_order = True
    later = list(world.pages_from(first.next_page_token, page_size=10))
    assert sorted(ids([first, *later])) == [f"r{i:04}" for i in range(COUNT)]
    assert "the first 10 runs are not in order" in later[-1].incomplete_reason
    fresh = list(world.pages(options=options(no_cache=True)))
    assert ids(fresh) == [f"r{i:04}" for i in reversed(range(COUNT))] and not fresh[-1].incomplete_reason


def test_other_queries_share_what_was_fetched_to_judge(world: World) -> None:
    for order in ("+summary.loss", "-summary.loss", "+config.lr"):
        world.list(order=order)
    world.list(filter_json='{"config.opt.name": "adam"}')
    assert len(sent(world)) == 2, "fifty runs, and then the rest"


def test_who_asks_the_same_at_once_shares_the_judging(world: World) -> None:
    gate = world.server.hold("Runs")
    with ThreadPoolExecutor(20) as threads:
        calls = [threads.submit(world.list, order="+summary.loss") for _ in range(20)]
        eventually(lambda: world.server.count("Runs") == 1, "the first page is asked for")
        gate.set()
        wanted = expected(world, "{}", "+summary.loss")[:50]
        assert {tuple(ids([call.result()])) for call in calls} == {tuple(wanted)}
    assert len(sent(world)) == 2


def test_a_token_goes_on_behind_its_run_in_another_daemon(
    world: World, server: ScriptedUpstream, start: Callable[..., Daemon]
) -> None:
    wanted = expected(world, "{}", "+summary.loss")
    first = world.list(order="+summary.loss", page_size=10)
    server.add_run(ENTITY, PROJECT, "best", summary={"loss": -1})
    fresh = options(no_cache=True)
    world.list(order="+summary.loss", options=fresh)
    world.daemon.stop()
    again = make_world(server, start)
    rest = list(again.pages_from(first.next_page_token, order="+summary.loss", page_size=10))
    assert ids([first, *rest]) == wanted


def test_large_documents_are_judged_too(world: World) -> None:
    large = {"loss": -5, "histogram": "x" * (2**20 + 10)}
    world.server.add_run(ENTITY, PROJECT, "large", summary=large)
    assert ids([world.list(order="+summary.loss", page_size=1)]) == ["large"]
    assert ids([world.list(filter_json='{"summary.loss": {"$ne": 7, "$lt": 0}}')]) == ["large"]


def test_what_is_cached_serves_without_the_server(world: World) -> None:
    query = {"filter_json": '{"config.opt.name": "adam"}', "order": "+summary.loss"}
    wanted = ids(world.pages(**query))
    world.server.fail("*", Status(400), times=99)
    assert ids(world.pages(**query, options=options(cache_only=True))) == wanted
    stale = list(world.pages(**query, options=options(no_cache=True, allow_stale_on_error=True)))
    assert ids(stale) == wanted and stale[0].freshness.stale


def test_who_leaves_while_runs_are_fetched_to_be_judged_ends_the_fetching(world: World) -> None:
    gate = world.server.hold("Runs")
    request = runs_pb2.ListRunsRequest(project=f"{ENTITY}/{PROJECT}", order="+summary.loss")
    call = world.runs().ListRuns.future(request, timeout=DEADLINE_S)
    eventually(lambda: world.server.count("Runs") == 1, "the first page is asked for")
    call.cancel()
    eventually(lambda: world.server.abandoned == 1, "the request is given up")
    gate.set()
    world.get("r0001")
    assert world.server.count("Runs") == 1


def test_own_writes_are_judged_as_they_will_be(world: World) -> None:
    query = {"filter_json": '{"tags": {"$nin": ["base", "x"]}, "state": "failed"}'}
    before = ids(world.pages(**query))
    gate = world.server.hold("UpsertBucket")
    update = runs_pb2.UpdateRunRequest(
        path=f"{ENTITY}/{PROJECT}/{before[0]}", tags_add=["base"], request_id="one"
    )
    assert world.runs().UpdateRun(update, timeout=DEADLINE_S).write.write_id
    fresh = options(no_cache=True)
    assert ids(world.pages(**query, options=fresh)) == before[1:], "pending"
    gate.set()
    node = world.server.projects[ENTITY, PROJECT][before[0]]
    eventually(lambda: node["tags"] == ["base"], "the write arrives")
    assert ids(world.pages(**query, options=fresh)) == before[1:]


def explained(world: World, **fields: Any) -> runs_pb2.ExplainQueryResponse:
    request = runs_pb2.ExplainQueryRequest(project=f"{ENTITY}/{PROJECT}", **fields)
    return world.runs().ExplainQuery(request, timeout=DEADLINE_S)


def test_a_query_is_explained_without_asking_the_server(world: World) -> None:
    text = json.dumps(
        {"$and": [{"state": "Finished"}, {"summary.loss": {"$lt": 1}}, {"config.opt.name": "adam"}]}
    )
    found = explained(world, filter_json=text, order="summary.loss")
    assert json.loads(found.normalized_filter_json) == {
        "config.opt.name": "adam",
        "state": "Finished",
        "summary_metrics.loss": {"$lt": 1},
    }
    assert found.normalized_order == found.local_order == "-summary_metrics.loss"
    assert found.upstream_filter_json == '{"state":"Finished","summary_metrics.loss":{"$lt":1}}'
    assert found.upstream_order == "-created_at"
    assert found.local_filter_json == '{"config.opt.name":"adam"}'
    assert [warning.split(";")[0] for warning in found.warnings] == [
        "no run is known to have the state 'Finished'",
        "'summary.loss' is understood here",
        "order 'summary.loss' has no sign and goes downwards",
    ]
    assert world.server.count("Runs") == 0


def test_what_the_server_does_alone_leaves_nothing_here(world: World) -> None:
    found = explained(world)
    assert (found.normalized_filter_json, found.normalized_order) == ("{}", "-created_at")
    assert (found.upstream_filter_json, found.upstream_order) == ("{}", "-created_at")
    assert (found.local_filter_json, found.local_order, list(found.warnings)) == ("", "", [])


def test_an_explanation_tells_what_was_really_sent(world: World) -> None:
    world.server.refuses = ("config.",)
    text = '{"config.n": 1, "state": "finished"}'
    assert (
        explained(world, filter_json=text).upstream_filter_json == '{"config.n.value":1,"state":"finished"}'
    )
    world.list(filter_json=text)
    found = explained(world, filter_json=text)
    assert (found.upstream_filter_json, found.upstream_order) == sent(world)[-1]
    assert (found.local_filter_json, found.local_order) == ('{"config.n":1}', "-created_at")


def test_what_cannot_be_explained_is_refused_as_in_a_list(world: World) -> None:
    for fields, name in (
        ({"filter_json": '{"stat": 1}'}, "filter_json"),
        ({"filter_json": '{"$or": [{"host": "a"}, {"config.a.b": 1}]}'}, "filter_json"),
        ({"order": "+", "filter_json": "{}"}, "order"),
    ):
        refused = failing(lambda fields=fields: explained(world, **fields))  # type: ignore[misc]
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and refused.fields == [name]
