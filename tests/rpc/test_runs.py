"""Reading runs through a real daemon, from a scripted server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from runtap.v1 import common_pb2, daemon_pb2, daemon_pb2_grpc, runs_pb2
from tests.support.daemon import Daemon, eventually
from tests.support.scripted_world import DEADLINE_S, PROJECT, World, failing, login, options
from tests.support.upstream import ENTITY, KEY, ScriptedUpstream
from tests.support.upstream_faults import Delay, Drip, Html, Refuse, ResetInside, Status

MEMORY = common_pb2.FRESHNESS_SOURCE_MEMORY
DISK = common_pb2.FRESHNESS_SOURCE_DISK
UPSTREAM = common_pb2.FRESHNESS_SOURCE_UPSTREAM
MESSAGE_LIMIT = 2 * 2**20
OTHER_KEY = "canary0scripted0key0of0the0other0user0000"


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


def ids(pages: Any) -> list[str]:
    return [run.run_id for page in pages for run in page.runs]


def newest_first(count: int) -> list[str]:
    return [f"r{i:04}" for i in reversed(range(count))]


def at(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromNanoseconds(int(seconds * 1e9))
    return moment


# One run


def test_a_run_is_told_whole_and_then_from_memory(world: World) -> None:
    world.server.add_run(
        ENTITY, PROJECT, "r1", config={"lr": {"value": 0.1}}, summary='{"loss": NaN, "n": 9007199254740993}',
        notes="", tags=["a", "b"], history_keys={"keys": {}, "lastStep": 4}, historyLineCount=5,
    )  # fmt: skip
    before = time.time()
    first = world.get("r1")
    run = first.run
    assert (run.path, run.state, list(run.tags), run.user.username) == (
        "team/vision/r1",
        "finished",
        ["a", "b"],
        "ada",
    )
    assert json.loads(run.config_json) == {"lr": {"value": 0.1}}
    assert json.loads(run.summary_json) == {"loss": "NaN", "n": 9007199254740993}
    assert run.HasField("notes") and not run.HasField("group") and run.history_line_count == 5
    assert run.url == f"{world.server.url}/team/vision/runs/r1" and run.etag and run.revision == 1
    assert first.freshness.source == UPSTREAM and not first.freshness.stale
    assert before - 1 <= first.freshness.fetched_at.ToNanoseconds() / 1e9 <= time.time()
    again = world.get("r1")
    assert again.run == run and again.freshness.source == MEMORY
    assert again.freshness.fetched_at == first.freshness.fetched_at
    assert world.server.count("Run") == 1


def test_fifty_who_ask_at_once_are_one_request(world: World) -> None:
    world.add_runs(1)
    gate = world.server.hold("Run")
    stub = world.runs()
    request = runs_pb2.GetRunRequest(path=f"{ENTITY}/{PROJECT}/r0000")
    calls = [stub.GetRun.future(request, timeout=DEADLINE_S) for _ in range(50)]
    eventually(lambda: world.server.count("Run") == 1, "the request arrives")
    time.sleep(0.1)
    gate.set()
    assert {call.result().run.run_id for call in calls} == {"r0000"}
    assert world.server.count("Run") == 1


def test_read_options(world: World) -> None:
    world.add_runs(1)
    assert failing(lambda: world.get("r0000", options=options(cache_only=True))).reason == "NOT_IN_CACHE"
    world.get("r0000")
    for wished, expected in (
        (options(cache_only=True), MEMORY),
        (options(max_age=Duration(seconds=60)), MEMORY),
        (options(not_before=at(time.time() - 60)), MEMORY),
        (options(max_age=Duration()), UPSTREAM),
        (options(no_cache=True), UPSTREAM),
        (options(not_before=at(time.time() + 5)), UPSTREAM),
    ):
        assert world.get("r0000", options=wished).freshness.source == expected, wished
    assert world.server.count("Run") == 4
    for wrong, name in (
        (options(cache_only=True, no_cache=True), "options"),
        (options(max_age=Duration(seconds=-1)), "options.max_age"),
    ):
        refused = failing(lambda wrong=wrong: world.get("r0000", options=wrong))  # type: ignore[misc]
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [name])


def test_flushing_asks_again_also_while_an_older_request_is_under_way(world: World) -> None:
    world.add_runs(1)
    gate = world.server.hold("Run")
    with ThreadPoolExecutor() as threads:
        early = threads.submit(world.get, "r0000")
        eventually(lambda: world.server.count("Run") == 1, "the first request arrives")
        moment = time.time()
        daemon_pb2_grpc.DaemonServiceStub(world.channel()).FlushCache(daemon_pb2.FlushCacheRequest())
        late = threads.submit(world.get, "r0000")
        eventually(lambda: world.server.count("Run") == 2, "the second request arrives")
        gate.set()
        assert late.result().freshness.fetched_at.ToNanoseconds() / 1e9 >= moment
        assert early.result().run.run_id == "r0000"


def test_stale_data_only_when_allowed_and_marked(world: World) -> None:
    world.add_runs(2)
    first = world.get("r0000").freshness
    listed = world.list(order="+created_at")
    world.server.fail("*", Html(), times=99)
    for call in (
        lambda **wished: world.get("r0000", options=options(no_cache=True, **wished)),
        lambda **wished: world.list(order="+created_at", options=options(no_cache=True, **wished)),
    ):
        assert failing(call).reason == "UPSTREAM_INVALID_ANSWER"
        given = call(allow_stale_on_error=True)
        assert given.freshness.stale and given.freshness.source == MEMORY
    stale = world.list(
        order="+created_at", page_size=1, options=options(max_age=Duration(), allow_stale_on_error=True)
    )
    rest = world.list(order="+created_at", page_size=1, page_token=stale.next_page_token)
    assert ids([stale, rest]) == ids([listed]) and rest.freshness.stale
    assert world.get("r0000").freshness.fetched_at.ToNanoseconds() >= first.fetched_at.ToNanoseconds()


def test_a_refresh_that_fails_costs_nothing_that_was_cached(world: World) -> None:
    world.add_runs(60)
    page = ids([world.list()])  # the first of two
    world.server.fail("*", Html(), times=999)
    offline, revalidated = options(cache_only=True), Duration()
    for _ in range(3):
        assert failing(lambda: world.list(options=options(max_age=revalidated)))
        unchanged = world.list(options=offline)
        assert ids([unchanged]) == page and not unchanged.freshness.stale
        assert ids([world.list()]) == page, "others' wishes do not make it older than it is"
    wished = options(max_age=revalidated, allow_stale_on_error=True)
    given = world.list(options=wished)
    assert ids([given]) == page and given.freshness.stale and given.total_size == 60
    assert failing(lambda: world.list(page_token=given.next_page_token, options=wished))
    assert ids([world.list(page_size=1000, options=offline)]) == page
    assert ids([world.list(page_size=1000, options=wished)]) == page
    with pytest.raises(grpc.RpcError):
        world.stream(options=wished)
    world.server.heal()
    rest = list(world.pages_from(given.next_page_token))
    assert page + ids(rest) == newest_first(60) and not rest[-1].incomplete_reason


def test_a_complete_list_is_given_until_there_is_another(world: World) -> None:
    world.add_runs(60)
    old = ids(world.pages())
    world.add_runs(1, "s")
    asked = options(max_age=Duration(), allow_stale_on_error=True)
    assert ids([world.list(page_size=50, options=asked)])[0] == "s0000"
    world.server.fail("*", Html(), times=999)
    assert ids(world.pages(options=options(cache_only=True))) == old
    given = world.stream(options=asked)
    assert ids(given) == old and given[-1].freshness.stale


def test_who_has_something_to_fall_back_on_does_not_wait_its_whole_deadline(world: World) -> None:
    world.add_runs(60)
    page = ids([world.list()])
    world.server.hold("RunsGlance")
    begun = time.monotonic()
    given = world.list(timeout=50, options=options(max_age=Duration(), allow_stale_on_error=True))
    assert ids([given]) == page and given.freshness.stale
    assert time.monotonic() - begun < 25


def test_cached_runs_survive_a_restart(world: World, start: Callable[..., Daemon]) -> None:
    world.add_runs(3)
    listed = world.list()
    login(world.daemon, world.server, store=True)
    world.daemon.stop()
    world.daemon.secrets.clear()  # stored on purpose
    world.daemon = start(world.daemon.home)
    before = world.server.count()
    offline = options(cache_only=True)
    assert world.get("r0001", options=offline).freshness.source == DISK
    again = world.list(options=offline)
    assert again.freshness.source == DISK and ids([again]) == ids([listed])
    assert world.server.count() == before


def test_a_run_that_is_gone_leaves_the_cache(world: World) -> None:
    world.add_runs(1)
    world.get("r0000")
    del world.server.projects[ENTITY, PROJECT]["r0000"]
    gone = failing(lambda: world.get("r0000", options=options(no_cache=True)))
    assert (gone.code, gone.reason) == (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")
    assert world.server.url in gone.message and "as user ada" in gone.message
    assert gone.metadata["resource"] == "team/vision/r0000"
    assert failing(lambda: world.get("r0000", options=options(cache_only=True))).reason == "NOT_IN_CACHE"


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        (Status(401), grpc.StatusCode.PERMISSION_DENIED, "API_KEY_REJECTED"),
        (Status(403), grpc.StatusCode.PERMISSION_DENIED, "UPSTREAM_FORBIDDEN"),
        (Status(400), grpc.StatusCode.FAILED_PRECONDITION, "UPSTREAM_REFUSED"),
        (Refuse("no such thing"), grpc.StatusCode.FAILED_PRECONDITION, "UPSTREAM_REFUSED"),
        (Status(503), grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE"),
        (ResetInside(), grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE"),
        (Status(429, b"{}", {"Retry-After": "2"}), grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
        (Delay(30), grpc.StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT"),
        (Drip(0.05), grpc.StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_every_end_of_a_request_is_told_before_the_callers_own_deadline(
    world: World, fault: Any, code: grpc.StatusCode, reason: str
) -> None:
    world.add_runs(1)
    world.server.fail("Run", fault, times=99)
    told = failing(lambda: world.get("r0000", timeout=1.0))
    assert (told.code, told.reason) == (code, reason), told
    assert told.metadata["server"] == world.server.url and KEY not in str(told)
    assert told.retry_after_s is None or told.retry_after_s == 2
    world.server.heal()
    if reason == "API_KEY_REJECTED":
        assert failing(lambda: world.get("r0000")).reason == reason, "until somebody logs in"
        login(world.daemon, world.server)
    assert world.get("r0000").run.run_id == "r0000"


@pytest.mark.parametrize(
    ("fields", "reason", "name"),
    [
        ({"path": "a/b/c/d"}, "INVALID_PATH", "path"),
        ({"path": "r1"}, "INVALID_PATH", "path"),
        ({"path": "http://["}, "INVALID_PATH", "path"),
        ({"path": "team/vision/r0000", "read_mask": FieldMask(paths=["nope"])}, "INVALID_FIELD", "read_mask"),
    ],
)
def test_bad_requests_for_a_run_name_the_field(world: World, fields: Any, reason: str, name: str) -> None:
    refused = failing(lambda: world.runs().GetRun(runs_pb2.GetRunRequest(**fields), timeout=DEADLINE_S))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert refused.fields == [name] and refused.message


def test_masks_reach_keys(world: World) -> None:
    world.server.add_run(ENTITY, PROJECT, "r1", summary={"loss": 1, "x": 2}, config={"lr": {"value": 3}})
    run = world.get("r1", read_mask=FieldMask(paths=["summary_json.loss", "tags"])).run
    assert json.loads(run.summary_json) == {"loss": 1}
    assert not run.HasField("config_json") and run.etag and not run.url
    listed = world.list(read_mask=FieldMask(paths=["config_json.lr"])).runs[0]
    assert json.loads(listed.config_json) == {"lr": {"value": 3}} and not listed.display_name


# Lists


def test_pages_hold_every_run_once_in_order(world: World) -> None:
    world.add_runs(130)
    pages = list(world.pages())
    assert ids(pages) == newest_first(130)
    assert [len(page.runs) for page in pages] == [50, 50, 30]
    assert all(page.total_size == 130 and not page.incomplete_reason for page in pages)
    assert world.server.count("Runs") == 2, "whoever wants a second page gets the rest with it"
    assert ids(world.pages(page_size=40)) == newest_first(130)
    assert world.server.count("Runs") == 2
    assert ids(world.pages(page_size=1000, order="+created_at")) == newest_first(130)[::-1]


def test_a_first_page_without_a_size_holds_more_when_the_list_is_known(world: World) -> None:
    world.add_runs(300)
    assert [len(page.runs) for page in world.pages()] == [50] * 6
    assert [len(page.runs) for page in world.pages()] == [256, 44]
    assert ids(world.pages()) == newest_first(300)
    assert [len(page.runs) for page in world.pages(page_size=50)] == [50] * 6
    assert world.server.count("Runs") == 2


def test_a_page_size_that_is_asked_for_is_a_ceiling(world: World) -> None:
    world.add_runs(100)
    list(world.pages(page_size=30))
    asked = [request.variables["first"] for request in world.server.requests if request.operation == "Runs"]
    assert asked == [30, 30, 30, 10]


def test_filters_and_orders_reach_the_server_in_its_own_words(world: World) -> None:
    world.add_runs(2, state="running")
    world.add_runs(2, "f")
    assert sorted(ids(world.pages(filter_json=' {"state": "running"} '))) == ["r0000", "r0001"]
    world.list(filter_json='{"summary.loss": {"$gt": 12345678901234567890123}, "config.lr": 1}')
    sent = world.server.last("Runs").variables
    assert sent["filters"] == '{"config.lr.value":1,"summary_metrics.loss":{"$gt":12345678901234567890123}}'
    assert sent["order"] == "-created_at"
    world.list(filter_json='{"created_at": {"$gt": "2024-05"}}', order="+createdAt")
    sent = world.server.last("Runs").variables
    assert (sent["filters"], sent["order"]) == ('{"createdAt":{"$gt":"2024-05"}}', "+created_at")


def test_queries_of_one_meaning_are_one_request(world: World) -> None:
    world.add_runs(3)
    for filter_json, order in (
        ('{"state": "finished", "display_name": "x"}', "-summary.loss"),
        (
            '{"$and": [{"displayName": {"$eq": "x"}}, {"state": {"$in": ["finished"]}}]}',
            "summaryMetrics.loss",
        ),
    ):
        world.list(filter_json=filter_json, order=order)
    assert world.server.count("Runs") == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"filter_json": '{"stat": "finished"}'}, "unknown column 'stat'; did you mean 'state'?"),
        ({"filter_json": '{"id": "x"}'}, "did you mean 'name'?"),
        ({"filter_json": '{"$or": [{}, {"config.lr": {"$gte": null}}]}'}, "(at $or[1].config.lr.$gte)"),
        ({"filter_json": '{"config.lr": {"$gtt": 1}}'}, "did you mean $gt?"),
        ({"filter_json": '{"order": "+summary.loss"}'}, "give it as the order argument beside the filters"),
        ({"filter_json": '{"state": "a", "state": "b"}'}, "'state' stands twice"),
        ({"filter_json": '{"created_at": {"$gt": "yesterday"}}'}, "needs a date such as '2024-05-31'"),
        ({"order": "loss"}, "'summary_metrics.loss'"),
        ({"order": "+createAt"}, "did you mean 'createdAt'?"),
    ],
)
def test_bad_filters_and_orders_are_told_what_would_be_right(world: World, fields: Any, said: str) -> None:
    refused = failing(lambda: world.list(**fields))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and refused.fields == list(fields)
    assert said in refused.message
    assert world.server.count("Runs") == 0


@pytest.mark.parametrize(
    ("fields", "reason", "name"),
    [
        ({"project": "a/b/c"}, "INVALID_PATH", "project"),
        ({"filter_json": "{"}, "INVALID_FILTER", "filter_json"),
        ({"filter_json": '{"config.lr": {"$ls": 1}}'}, "INVALID_FILTER", "filter_json"),
        ({"filter_json": "[]"}, "INVALID_FILTER", "filter_json"),
        ({"filter_json": '{"a": NaN}'}, "INVALID_FILTER", "filter_json"),
        ({"filter_json": '{"a":' * 900 + "1" + "}" * 900}, "INVALID_FILTER", "filter_json"),
        ({"order": "+"}, "INVALID_ORDER", "order"),
        ({"page_size": -1}, "INVALID_FIELD", "page_size"),
        ({"page_token": "made up"}, "INVALID_PAGE_TOKEN", "page_token"),
        ({"read_mask": FieldMask(paths=["x.y"])}, "INVALID_FIELD", "read_mask"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_bad_requests_for_a_list_name_the_field(world: World, fields: Any, reason: str, name: str) -> None:
    refused = failing(lambda: world.list(**fields))
    assert (refused.code, refused.reason, refused.fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        reason,
        [name],
    )


def test_a_project_that_is_not_there(world: World) -> None:
    missing = failing(lambda: world.list(project="team/nope"))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "PROJECT_NOT_FOUND")


def test_tokens_survive_a_restart_and_go_on_where_the_list_was(
    world: World, start: Callable[..., Daemon]
) -> None:
    world.add_runs(25)
    first = world.list(page_size=10)
    login(world.daemon, world.server, store=True)
    world.daemon.stop()
    world.daemon.secrets.clear()  # stored on purpose
    world.daemon = start(world.daemon.home)
    second = world.list(page_size=10, page_token=first.next_page_token)
    repeated = world.list(page_size=10, page_token=first.next_page_token)
    third = world.list(page_size=10, page_token=second.next_page_token)
    assert ids([first, second, third]) == newest_first(25) and ids([repeated]) == ids([second])
    assert second.total_size == 25 and not third.next_page_token and not third.incomplete_reason


def test_a_list_stays_what_it_was_for_its_reader(world: World) -> None:
    world.add_runs(20)
    first = world.list(page_size=10)
    world.add_runs(5, "new")
    assert len(world.list(page_size=1000, options=options(no_cache=True)).runs) == 25
    second = world.list(page_size=10, page_token=first.next_page_token)
    assert len(ids([first, second])) == 20 and second.total_size in (20, 25)


def test_tokens_of_other_lists_shapes_and_accounts_are_refused(world: World) -> None:
    world.add_runs(3)
    world.server.add_user(OTHER_KEY, "bob", ENTITY)
    other = login(world.daemon, world.server, OTHER_KEY)
    token = world.list(page_size=1).next_page_token
    request = runs_pb2.ListRunsRequest(project=f"{ENTITY}/{PROJECT}", page_size=1, page_token=token)
    for call in (
        lambda: world.list(page_token=token, order="+created_at"),
        lambda: world.list(page_token=token, filter_json='{"state":"running"}'),
        lambda: world.list(page_token=token, read_mask=FieldMask(paths=["tags"])),
        lambda: world.runs(account=other).ListRuns(request),
        lambda: world.list(page_token=token[:-3]),
    ):
        refused = failing(call)
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


def test_who_lists_the_same_at_once_shares_the_requests(world: World) -> None:
    world.add_runs(120)
    world.server.page_cap = 50
    gate = world.server.hold("Runs")
    with ThreadPoolExecutor(30) as threads:
        calls = [threads.submit(world.list, page_size=size) for size in (1000, 50, 120) * 10]
        eventually(lambda: world.server.count("Runs") == 1, "the first page is asked for")
        time.sleep(0.1)
        gate.set()
        found = [ids([call.result()]) for call in calls]
    assert all(listed == newest_first(120)[: len(listed)] for listed in found)
    assert sorted({len(listed) for listed in found}) == [50, 120]
    assert world.server.count("Runs") == 3


def test_cache_only_lists_never_ask(world: World) -> None:
    world.add_runs(80)
    assert failing(lambda: world.list(options=options(cache_only=True))).reason == "NOT_IN_CACHE"
    first = world.list()
    assert len(world.list(options=options(cache_only=True)).runs) == 50
    rest = failing(lambda: world.list(page_token=first.next_page_token, options=options(cache_only=True)))
    assert rest.reason == "NOT_IN_CACHE"
    assert world.server.count("Runs") == 1


def test_a_list_shorter_than_the_servers_count_says_so(world: World) -> None:
    world.add_runs(5)
    world.server.counts_wrongly_by = 3
    pages = list(world.pages(page_size=2))
    assert len(ids(pages)) == 5
    assert [bool(page.incomplete_reason) for page in pages] == [False, False, True]
    streamed = world.stream(options=options(no_cache=True))
    assert "counts 8 runs but listed 5" in streamed[-1].incomplete_reason and len(ids(streamed)) == 5


def test_a_server_that_counts_too_few_is_read_to_its_end(world: World) -> None:
    world.add_runs(9)
    world.server.counts_wrongly_by = -4
    pages = list(world.pages(page_size=3))
    assert ids(pages) == newest_first(9) and not pages[-1].incomplete_reason
    assert [page.total_size for page in pages] == [5, 8, 9] and world.server.count("Runs") == 4
    streamed = world.stream(options=options(no_cache=True))
    assert streamed[-1].progress.done == streamed[-1].progress.total == 9


@pytest.mark.parametrize("order", ["-created_at", "+created_at"])
def test_runs_that_appear_while_a_list_is_read_are_not_missing_from_it(
    world: World, start: Callable[..., Daemon], order: str
) -> None:
    world.add_runs(60)
    fields: dict[str, Any] = {"order": order, "page_size": 25}
    first = world.list(**fields)
    world.add_runs(1, "s")
    second = world.list(page_token=first.next_page_token, **fields)
    login(world.daemon, world.server, store=True)
    world.daemon.stop()
    world.daemon.secrets.clear()  # stored on purpose
    world.daemon = start(world.daemon.home)
    for token in (second.next_page_token, first.next_page_token):
        *_, last = world.pages_from(token, **fields)
        assert not last.incomplete_reason
    assert len(ids([first, second])) == 50 and second.total_size == 60


@pytest.mark.parametrize(
    ("added", "deleted", "listed"), [(3, [], 60), (0, ["r0000", "r0001"], 58), (1, ["r0059"], 60)]
)
def test_a_streams_total_is_reached_although_runs_come_and_go(
    world: World, added: int, deleted: list[str], listed: int
) -> None:
    world.add_runs(60)

    def after_the_first_page(request: Any) -> None:
        if request.operation == "Runs" and request.variables.get("cursor"):
            world.server.on_request = lambda request: None
            world.add_runs(added, "s")
            for run_id in deleted:
                del world.server.projects[ENTITY, PROJECT][run_id]

    world.server.on_request = after_the_first_page
    streamed = world.stream(upstream_page_size=50)
    assert len(set(ids(streamed))) == len(ids(streamed)) == listed
    assert streamed[0].progress.total == 60 and not streamed[-1].incomplete_reason
    assert streamed[-1].progress.done == streamed[-1].progress.total == listed


def test_runs_that_appear_while_a_list_is_read_are_not_told_twice(world: World) -> None:
    world.add_runs(9)
    first = world.list(page_size=4)
    world.add_runs(2, "s")  # newest first, and pages by offset: everything moves by two
    rest = list(world.pages_from(first.next_page_token, page_size=4))
    told = ids([first, *rest])
    assert len(told) == len(set(told)) and set(newest_first(9)) <= set(told)


@pytest.mark.parametrize("order", ["-created_at", "+created_at"])
def test_what_a_server_with_shifting_or_useless_cursors_hides_is_found_by_moments(
    world: World, order: str
) -> None:
    world.add_runs(9)

    def forget_where(request: Any) -> None:
        request.variables["cursor"] = None  # always the first page, and always more to come

    world.server.page_cap = 4
    world.server.on_request = forget_where
    streamed = world.stream(order=order)
    assert ids(streamed) == newest_first(9)[:: 1 if order[0] == "-" else -1]
    assert not streamed[-1].incomplete_reason
    assert sum(world.server.counts()[name] for name in ("Runs", "RunsGlance")) < 10


def test_a_server_that_repeats_its_page_forever_is_left(world: World) -> None:
    for number in range(9):
        world.server.add_run(ENTITY, PROJECT, f"r{number}", createdAt="2026-01-01T00:00:00Z")

    def forget_where(request: Any) -> None:
        request.variables["cursor"] = None  # always the first page, and always more to come

    world.server.page_cap = 4
    world.server.on_request = forget_where
    streamed = world.stream()
    assert len(ids(streamed)) == 4 and "go on" in streamed[-1].incomplete_reason
    assert sum(world.server.counts()[name] for name in ("Runs", "RunsGlance")) < 10


def test_runs_deleted_since_the_list_was_read_are_left_out(world: World) -> None:
    world.add_runs(6)
    world.list()
    del world.server.projects[ENTITY, PROJECT]["r0003"]
    failing(lambda: world.get("r0003", options=options(no_cache=True)))
    listed = world.list()
    assert ids([listed]) == [run for run in newest_first(6) if run != "r0003"]
    assert "not there any more" in listed.incomplete_reason


# Sizes


def test_pages_end_early_by_bytes(world: World) -> None:
    world.add_runs(12, summary={"text": "x" * 500_000})
    pages = list(world.pages(page_size=12))
    assert ids(pages) == newest_first(12) and len(pages) > 3
    assert max(world.sizes) < MESSAGE_LIMIT and world.server.count("Runs") == 1
    assert ids(world.stream()) == newest_first(12)
    assert max(world.sizes) < MESSAGE_LIMIT


def test_an_eleven_megabyte_summary_travels_apart_and_in_pieces(world: World) -> None:
    summary = json.dumps({f"metric/{i:06}": [i] * 12 for i in range(150_000)})
    assert len(summary) > 11e6
    world.server.add_run(ENTITY, PROJECT, "small", summary={"a": 1})
    world.server.add_run(ENTITY, PROJECT, "large", summary=summary, config={"lr": {"value": 1}})
    run = world.get("large").run
    assert json.loads(run.config_json) == {"lr": {"value": 1}} and not run.HasField("summary_json")
    assert [(o.document, o.size_bytes) for o in run.omitted] == [(runs_pb2.DOCUMENT_SUMMARY, len(summary))]
    assert sorted(ids([world.list()])) == ["large", "small"]
    world.stream()
    parts = read_document(world, "large", runs_pb2.DOCUMENT_SUMMARY)
    assert b"".join(part.data for part in parts) == summary.encode()
    assert {part.total_bytes for part in parts} == {len(summary)} and {part.etag for part in parts} == {
        run.etag
    }
    assert [part.HasField("freshness") for part in parts] == [True] + [False] * (len(parts) - 1)
    rest = read_document(world, "large", runs_pb2.DOCUMENT_SUMMARY, offset=parts[3].offset, etag=run.etag)
    assert b"".join(part.data for part in rest) == summary.encode()[parts[3].offset :]
    one = world.get("large", read_mask=FieldMask(paths=["summary_json.metric/000007"])).run
    assert json.loads(one.summary_json) == {"metric/000007": [7] * 12} and not one.omitted
    assert max(world.sizes) < MESSAGE_LIMIT
    world.server.projects[ENTITY, PROJECT]["large"]["summaryMetrics"] = summary + " "
    changed = failing(
        lambda: read_document(
            world, "large", runs_pb2.DOCUMENT_SUMMARY, offset=1, etag=run.etag, options=options(no_cache=True)
        )
    )
    assert (changed.code, changed.reason) == (grpc.StatusCode.ABORTED, "WRITE_CONFLICT")


def read_document(world: World, run_id: str, document: Any, **fields: Any) -> list[Any]:
    request = runs_pb2.ReadDocumentRequest(path=f"{ENTITY}/{PROJECT}/{run_id}", document=document, **fields)
    return list(world.runs().ReadDocument(request, timeout=DEADLINE_S))


def test_small_and_missing_documents_and_bad_offsets(world: World) -> None:
    world.server.add_run(ENTITY, PROJECT, "r1", summary={"a": "é"}, notes="")
    etag = world.get("r1").run.etag
    (part,) = read_document(world, "r1", runs_pb2.DOCUMENT_SUMMARY)
    assert json.loads(part.data) == {"a": "é"} and part.total_bytes == len(part.data)
    (empty,) = read_document(world, "r1", runs_pb2.DOCUMENT_NOTES)
    assert empty.data == b"" and empty.total_bytes == 0
    missing = failing(lambda: read_document(world, "r1", runs_pb2.DOCUMENT_SYSTEM_METRICS))
    assert missing.reason == "DOCUMENT_NOT_FOUND"
    for fields, name in (
        ({"document": runs_pb2.DOCUMENT_UNSPECIFIED}, "document"),
        ({"document": 99}, "document"),
        ({"document": runs_pb2.DOCUMENT_SUMMARY, "offset": 99, "etag": etag}, "offset"),
        ({"document": runs_pb2.DOCUMENT_SUMMARY, "offset": -1, "etag": etag}, "offset"),
        ({"document": runs_pb2.DOCUMENT_SUMMARY, "offset": 3}, "etag"),
    ):
        assert failing(lambda f=fields: read_document(world, "r1", **f)).fields == [name]  # type: ignore[misc]


# Streams


def test_a_stream_tells_every_run_and_how_far_it_is(world: World) -> None:
    world.add_runs(230, summary={"x": "y" * 20_000})
    messages = world.stream()
    assert ids(messages) == newest_first(230) and max(world.sizes) < MESSAGE_LIMIT
    done = [message.progress.done for message in messages]
    assert done == sorted(done) and done[-1] == 230 and messages[0].progress.total == 230
    assert world.server.count("Runs") == 1


@pytest.mark.parametrize(
    ("skip", "limit", "expected", "total"),
    [
        (0, 3, [0, 3], 3),
        (5, 0, [5, 20], 15),
        (18, 7, [18, 20], 2),
        (20, 5, [20, 20], 0),
        (99, 0, [20, 20], 0),
    ],
)
def test_skip_and_limit(world: World, skip: int, limit: int, expected: list[int], total: int) -> None:
    world.add_runs(20)
    messages = world.stream(skip=skip, limit=limit, upstream_page_size=6)
    assert ids(messages) == newest_first(20)[slice(*expected)]
    assert messages[-1].progress.total == total == messages[-1].progress.done
    asked = [request.variables["first"] for request in world.server.requests if request.operation == "Runs"]
    assert max(asked) <= 6


def test_an_empty_project_streams_one_message(world: World) -> None:
    world.server.projects[ENTITY, PROJECT] = {}
    (message,) = world.stream()
    assert not message.runs and message.progress.total == 0 and message.freshness.source == UPSTREAM


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"limit": -1}, "limit"), ({"skip": -1}, "skip"), ({"upstream_page_size": -1}, "upstream_page_size")],
)
def test_bad_streams_name_the_field(world: World, fields: Any, name: str) -> None:
    assert failing(lambda: world.stream(**fields)).fields == [name]


def test_cancelling_a_stream_ends_its_request(world: World) -> None:
    world.add_runs(5)
    world.server.fail("Runs", Delay(60))
    call = world.runs().StreamRuns(runs_pb2.StreamRunsRequest(project=f"{ENTITY}/{PROJECT}"))
    eventually(lambda: world.server.count("Runs") == 1, "the request arrives")
    call.cancel()
    eventually(lambda: world.server.abandoned == 1, "the server sees the daemon leave")


def test_one_of_several_who_cancels_leaves_the_others_their_request(world: World) -> None:
    world.add_runs(1)
    gate = world.server.hold("Run")
    stub = world.runs()
    request = runs_pb2.GetRunRequest(path=f"{ENTITY}/{PROJECT}/r0000")
    calls = [stub.GetRun.future(request, timeout=DEADLINE_S) for _ in range(3)]
    eventually(lambda: world.server.count("Run") == 1, "the request arrives")
    time.sleep(0.1)
    calls[0].cancel()
    hasty = failing(lambda: world.get("r0000", timeout=0.5))
    assert hasty.reason == "UPSTREAM_TIMEOUT", "its own deadline counts, told in our words"
    gate.set()
    assert [call.result().run.run_id for call in calls[1:]] == ["r0000"] * 2
    assert world.server.count("Run") == 1 and world.server.abandoned == 0


def test_stalled_readers_keep_nobody_from_being_answered(world: World) -> None:
    world.add_runs(60, summary={"text": "x" * 200_000})  # twelve megabytes each reader does not read
    world.get("r0000")
    stubs = [world.runs(client=f"reader/{i}/0") for i in range(4)]
    request = runs_pb2.StreamRunsRequest(project=f"{ENTITY}/{PROJECT}")
    stalled = [stubs[i % 4].StreamRuns(request) for i in range(64)]
    first = [next(call) for call in stalled]
    before = _memory(world.daemon.pid)
    daemon = daemon_pb2_grpc.DaemonServiceStub(world.channel())
    answered = threading.Event()

    def ask() -> None:
        for _ in range(20):
            daemon.GetServerInfo(daemon_pb2.GetServerInfoRequest(), timeout=15)
            world.get("r0000", timeout=15)
        answered.set()

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(timeout=30)
    assert answered.is_set()
    assert _memory(world.daemon.pid) - before < 64 * 2**20
    assert world.server.count("Runs") == 1
    assert ids([first[0], *stalled[0]]) == newest_first(60), "a reader that wakes up gets the rest"
    for call in stalled:
        call.cancel()


def _memory(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


# Accounts


def test_accounts_share_nothing(world: World) -> None:
    world.add_runs(2)
    world.server.add_user(OTHER_KEY, "bob", ENTITY)
    other = login(world.daemon, world.server, OTHER_KEY)
    world.get("r0000")
    world.list()
    request = runs_pb2.GetRunRequest(path=f"{ENTITY}/{PROJECT}/r0000", options=options(cache_only=True))
    assert failing(lambda: world.runs(account=other).GetRun(request)).reason == "NOT_IN_CACHE"
    request.options.Clear()
    assert world.runs(account=other).GetRun(request).freshness.source == UPSTREAM
    assert {request.key for request in world.server.requests if request.operation == "Run"} == {
        KEY,
        OTHER_KEY,
    }


@pytest.mark.parametrize("account", ["acct-0123456789abcdef", "nonsense"])
def test_an_unknown_account_is_told_to_log_in(world: World, account: str) -> None:
    request = runs_pb2.GetRunRequest(path=f"{ENTITY}/{PROJECT}/r0000")
    unknown = failing(lambda: world.runs(account=account).GetRun(request))
    assert (unknown.code, unknown.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ACCOUNT_UNKNOWN")


def test_a_server_without_updated_at_lists_all_the_same(world: World) -> None:
    world.server.lacks_updated_at = True
    world.add_runs(3)
    assert ids([world.list()]) == newest_first(3)
    world.get("r0001", options=options(no_cache=True))
    assert world.server.counts() == {"Viewer": 1, "Runs": 2, "Run": 1}


def test_a_disk_that_fails_costs_no_answer(server: ScriptedUpstream, start: Callable[..., Daemon]) -> None:
    daemon = start(secrets=[KEY])
    cache = next((daemon.home / "state").iterdir()) / "cache"
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where the folder should be")
    world = World(server, daemon, login(daemon, server))
    summary = json.dumps({f"k{i}": i for i in range(120_000)})
    world.add_runs(3)
    server.add_run(ENTITY, PROJECT, "large", summary=summary)
    assert len(ids(world.stream())) == 4 and world.get("large").run.omitted
    parts = read_document(world, "large", runs_pb2.DOCUMENT_SUMMARY)
    assert b"".join(part.data for part in parts) == summary.encode()
    masked = world.list(read_mask=FieldMask(paths=["summary_json.k7"])).runs
    assert json.loads(masked[0].summary_json) == {"k7": 7}
