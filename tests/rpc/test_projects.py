"""Reading projects through a real daemon, from a scripted server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from runtap.v1 import common_pb2, daemon_pb2, daemon_pb2_grpc, projects_pb2, projects_pb2_grpc
from tests.support.daemon import eventually
from tests.support.scripted_world import DEADLINE_S, World, all_pages, failing, options
from tests.support.upstream import ENTITY
from tests.support.upstream_faults import Status
from tests.support.upstream_sweeps import SweepingUpstream

MEMORY = common_pb2.FRESHNESS_SOURCE_MEMORY
UPSTREAM = common_pb2.FRESHNESS_SOURCE_UPSTREAM


@pytest.fixture
def server() -> Iterator[SweepingUpstream]:
    with SweepingUpstream() as server:
        yield server


def stub(world: World) -> projects_pb2_grpc.ProjectServiceStub:
    return projects_pb2_grpc.ProjectServiceStub(world.channel())


def get(world: World, path: str, **fields: Any) -> projects_pb2.GetProjectResponse:
    return stub(world).GetProject(projects_pb2.GetProjectRequest(path=path, **fields), timeout=DEADLINE_S)


def listed(world: World, **fields: Any) -> projects_pb2.ListProjectsResponse:
    return stub(world).ListProjects(projects_pb2.ListProjectsRequest(**fields), timeout=DEADLINE_S)


def pages(world: World, **fields: Any) -> list[list[str]]:
    given = all_pages(lambda token: listed(world, page_token=token, **fields))
    return [[project.name for project in page.projects] for page in given]


def test_a_project_is_told_whole_and_then_from_memory(world: World, server: SweepingUpstream) -> None:
    server.add_project(ENTITY, "vision lab", description="eyes", isBenchmark=True)
    server.add_project(ENTITY, "plain")
    before = time.time()
    first = get(world, f"{ENTITY}/vision lab")
    assert first.project == projects_pb2.Project(
        id="project-vision lab",
        entity=ENTITY,
        name="vision lab",
        url=f"{server.url}/{ENTITY}/vision%20lab/workspace",
        description="eyes",
        created_at="2026-01-01T00:00:00Z",
        is_benchmark=True,
    )
    assert first.freshness.source == UPSTREAM
    assert before - 1 <= first.freshness.fetched_at.ToNanoseconds() / 1e9 <= time.time()
    # Every form of its path is the same question.
    for path in ("vision lab", f"{server.url}/{ENTITY}/vision%20lab/table", f"/{ENTITY}/vision lab/"):
        assert get(world, path).freshness.source == MEMORY, path
    assert not get(world, "plain").project.HasField("description")
    assert server.count("Project") == 2


def test_read_options_and_flush(world: World, server: SweepingUpstream) -> None:
    server.add_project(ENTITY, "vision")
    assert failing(lambda: listed(world, options=options(cache_only=True))).reason == "NOT_IN_CACHE"
    listed(world)
    ahead = Timestamp()
    ahead.FromNanoseconds(int((time.time() + 60) * 1e9))
    for wished, source in (
        (options(), MEMORY),
        (options(cache_only=True), MEMORY),
        (options(max_age=Duration(seconds=60)), MEMORY),
        (options(max_age=Duration()), UPSTREAM),
        (options(no_cache=True), UPSTREAM),
        (options(not_before=ahead), UPSTREAM),
    ):
        assert listed(world, options=wished).freshness.source == source, wished
    daemon_pb2_grpc.DaemonServiceStub(world.channel()).FlushCache(daemon_pb2.FlushCacheRequest())
    assert listed(world).freshness.source == UPSTREAM
    assert server.count("Projects") == 5


def test_pages_go_on_behind_the_servers_cursor(world: World, server: SweepingUpstream) -> None:
    for i in range(7):
        server.add_project(ENTITY, f"p{i}")
    assert pages(world, page_size=3) == [["p0", "p1", "p2"], ["p3", "p4", "p5"], ["p6"]]
    assert [r.variables["cursor"] for r in server.requests if r.operation == "Projects"] == [None, "3", "6"]
    assert pages(world, page_size=3) == [["p0", "p1", "p2"], ["p3", "p4", "p5"], ["p6"]]
    assert server.count("Projects") == 3, "the second reader is answered from memory"
    assert pages(world) == [[f"p{i}" for i in range(7)]]
    assert server.last("Projects").variables["first"] == 200
    server.page_cap = 4
    assert pages(world, options=options(no_cache=True)) == [["p0", "p1", "p2", "p3"], ["p4", "p5", "p6"]]
    listed(world, page_size=5000, options=options(no_cache=True))
    assert server.last("Projects").variables["first"] == 1000


def test_a_page_that_is_too_large_for_a_message_goes_on_within(
    world: World, server: SweepingUpstream
) -> None:
    for i in range(5):
        server.add_project(ENTITY, f"p{i}", description="x" * 600_000)
    assert pages(world) == [["p0", "p1", "p2"], ["p3", "p4"]]
    assert max(world.sizes) < 2 * 2**20
    assert server.count("Projects") == 1


def test_a_second_page_is_no_older_than_the_first(world: World, server: SweepingUpstream) -> None:
    for i in range(4):
        server.add_project(ENTITY, f"p{i}")
    pages(world, page_size=2)
    server.project_nodes[ENTITY].insert(0, server.add_project(ENTITY, "new"))
    server.project_nodes[ENTITY].pop()
    first = listed(world, page_size=2, options=options(no_cache=True))
    second = listed(world, page_size=2, page_token=first.next_page_token)
    names = [project.name for page in (first, second) for project in page.projects]
    assert names == ["new", "p0", "p1", "p2"]


def test_fifty_who_ask_at_once_are_one_request(world: World, server: SweepingUpstream) -> None:
    server.add_project(ENTITY, "vision")
    gate = server.hold("Projects")
    lists = stub(world)
    calls = [lists.ListProjects.future(projects_pb2.ListProjectsRequest(), timeout=20) for _ in range(50)]
    eventually(lambda: server.count("Projects") == 1, "the request arrives")
    time.sleep(0.1)
    gate.set()
    assert {call.result().projects[0].name for call in calls} == {"vision"}
    assert server.count("Projects") == 1


def test_servers_of_old_are_asked_in_the_base_shape(world: World, server: SweepingUpstream) -> None:
    server.lacks = {("Project", "description")}
    server.add_project(ENTITY, "vision", description="unseen")
    assert not listed(world).projects[0].HasField("description")
    assert server.count("Projects") == 2
    assert get(world, "vision").project.name == "vision"
    assert server.count("Project") == 1, "what it lacks is remembered"


def test_what_is_missing_or_denied_names_server_and_account(world: World, server: SweepingUpstream) -> None:
    missing = failing(lambda: get(world, f"{ENTITY}/nope"))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "PROJECT_NOT_FOUND")
    assert missing.message == f"Could not find project {ENTITY}/nope at {server.url} as user ada"
    assert missing.metadata["resource"] == f"{ENTITY}/nope"
    stranger = failing(lambda: listed(world, entity="strangers"))
    assert stranger.reason == "PROJECT_NOT_FOUND"
    assert stranger.message == f"Could not find projects of strangers at {server.url} as user ada"
    server.fail("Projects", Status(403, b'{"error": "not yours"}'))
    denied = failing(lambda: listed(world))
    assert (denied.code, denied.reason) == (grpc.StatusCode.PERMISSION_DENIED, "UPSTREAM_FORBIDDEN")
    assert server.url in denied.message and "ada" in denied.message and "not yours" in denied.message


def test_a_project_that_is_gone_is_not_shown_from_memory(world: World, server: SweepingUpstream) -> None:
    server.add_project(ENTITY, "vision")
    get(world, "vision")
    server.project_nodes.clear()
    assert failing(lambda: get(world, "vision", options=options(no_cache=True))).reason == "PROJECT_NOT_FOUND"
    assert failing(lambda: get(world, "vision", options=options(cache_only=True))).reason == "NOT_IN_CACHE"


def test_stale_answers_only_when_allowed_and_marked(world: World, server: SweepingUpstream) -> None:
    server.add_project(ENTITY, "vision")
    first = listed(world)
    server.fail("*", Status(400), times=9)
    wished = options(max_age=Duration(), allow_stale_on_error=True)
    stale = listed(world, options=wished)
    assert stale.freshness.stale and stale.projects == first.projects
    assert failing(lambda: listed(world, options=options(no_cache=True))).reason == "UPSTREAM_REFUSED"


def test_wrong_requests_name_the_field(world: World, server: SweepingUpstream) -> None:
    server.add_project(ENTITY, "a")
    server.add_project(ENTITY, "b")
    token = listed(world, page_size=1).next_page_token
    for call, name, reason in (
        (lambda: listed(world, page_size=-1), "page_size", "INVALID_FIELD"),
        (lambda: listed(world, entity="a/b"), "entity", "INVALID_PATH"),
        (lambda: listed(world, page_token="made up"), "page_token", "INVALID_PAGE_TOKEN"),
        (lambda: listed(world, entity="others", page_token=token), "page_token", "INVALID_PAGE_TOKEN"),
        (lambda: get(world, "a/b/c"), "path", "INVALID_PATH"),
        (lambda: get(world, ""), "path", "INVALID_PATH"),
    ):
        refused = failing(call)
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert refused.fields == [name]
    assert server.count() - server.count("Viewer") == 1


def test_a_server_that_loses_the_thread_is_told(world: World, server: SweepingUpstream) -> None:
    server.add_project(ENTITY, "a")
    server.add_project(ENTITY, "b")
    server.loses_cursors = True
    assert failing(lambda: pages(world, page_size=1)).reason == "UPSTREAM_INVALID_ANSWER"
