"""Pages that are given up early, and pages of which some runs cannot be read; over real HTTP."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from runtapd import faults
from runtapd.model.paths import ProjectPath
from runtapd.upstream.api import UNBOUNDED, Bounds, GlancePage, Listing, RunPage, Wait
from runtapd.upstream.graphql import GraphQLUpstream
from tests.support.daemon import eventually
from tests.support.upstream import ScriptedUpstream
from tests.support.upstream_client import Use, soon, use
from tests.support.upstream_faults import (
    CutShort,
    Delay,
    Drip,
    Html,
    ResetBefore,
    ResetInside,
    Slow,
    Status,
    UpstreamFailure,
)

# Nothing that compresses well: the limit is about what comes out.
NOISE = "".join(random.Random(7).choices("0123456789abcdef", k=60_000))

LISTING = Listing(ProjectPath("team", "vision"), "{}", "+created_at", 50)


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        for i in range(4):
            server.add_run("team", "vision", f"r{i}", config={"lr": {"value": i}}, summary={"text": NOISE})
        yield server


def page(upstream: GraphQLUpstream, bounds: Bounds, wait: Wait | None = None) -> Awaitable[RunPage]:
    return upstream.runs(LISTING, wait or soon(), bounds)


def glance(upstream: GraphQLUpstream, bounds: Bounds = UNBOUNDED) -> Awaitable[GlancePage]:
    return upstream.glance(LISTING, soon(), bounds)


def asking(bounds: Bounds, seconds: float = 10.0) -> Use[RunPage]:
    return lambda upstream: page(upstream, bounds, soon(seconds))


# Bytes


@pytest.mark.parametrize("compress", [False, True])
def test_a_page_with_more_bytes_than_wanted_is_given_up_once(
    server: ScriptedUpstream, compress: bool
) -> None:
    server.compress = compress
    with pytest.raises(faults.AnswerTooLarge, match="more than the 50000 bytes") as caught:
        use(server, asking(Bounds(most_bytes=50_000)))
    assert caught.value.metadata["most_bytes"] == "50000" and caught.value.reason == "UPSTREAM_INVALID_ANSWER"
    assert server.count("Runs") == 1
    assert len(use(server, asking(Bounds(most_bytes=400_000))).runs) == 4


def test_what_is_counted_has_been_decompressed(server: ScriptedUpstream) -> None:
    server.compress = True
    server.add_run("team", "vision", "flat", summary={"text": "x" * 3_000_000})
    with pytest.raises(faults.AnswerTooLarge, match="2 MiB"):
        use(server, asking(Bounds(most_bytes=2 * 2**20)))
    assert len(use(server, asking(Bounds(most_bytes=4 * 2**20))).runs) == 5


@pytest.mark.parametrize("compress", [False, True])
def test_what_is_too_large_is_not_read_to_its_end(server: ScriptedUpstream, compress: bool) -> None:
    server.compress = compress
    server.fail("Runs", Drip(0.0005))  # to its end this takes at least a minute
    with pytest.raises(faults.AnswerTooLarge):
        use(server, asking(Bounds(most_bytes=100), 50.0))
    eventually(lambda: server.abandoned == 1, "the server sees that the connection was closed")


def test_a_large_error_is_told_by_its_status(server: ScriptedUpstream) -> None:
    server.fail("Runs", Status(404, b"x" * 1000), times=2)
    with pytest.raises(faults.UpstreamRefused, match="404"):
        use(server, asking(Bounds(most_bytes=100)))


def test_light_pages_are_bounded_too(server: ScriptedUpstream) -> None:
    assert len(use(server, lambda upstream: glance(upstream, Bounds(most_bytes=5000))).runs) == 4
    with pytest.raises(faults.AnswerTooLarge):
        use(server, lambda upstream: glance(upstream, Bounds(most_bytes=500)))


# Tries


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Status(500), faults.UpstreamUnavailable),
        (Status(504), faults.UpstreamUnavailable),
        (ResetBefore(), faults.UpstreamUnavailable),
        (ResetInside(), faults.UpstreamUnavailable),
        (CutShort(), faults.InvalidAnswer),
        (Html(), faults.InvalidAnswer),
    ],
    ids=lambda value: getattr(value, "__name__", None) or f"{type(value).__name__}{getattr(value, 'code', '')}",
)  # fmt: skip
def test_a_failing_page_is_sent_so_often(
    server: ScriptedUpstream, failure: UpstreamFailure, kind: type[faults.Fault]
) -> None:
    server.fail("Runs", failure, times=99)
    with pytest.raises(kind):
        use(server, asking(Bounds(tries=2)))
    assert server.count("Runs") == 2


def test_the_last_try_may_succeed(server: ScriptedUpstream) -> None:
    server.fail("Runs", Status(502), times=2)
    assert len(use(server, asking(Bounds(tries=3))).runs) == 4
    assert server.count("Runs") == 3


@pytest.mark.parametrize(
    "failure", [Status(429, b"{}", {"Retry-After": "0"}), Status(429), Status(503, b"", {"Retry-After": "0"})]
)
def test_being_held_back_by_limits_is_no_try(server: ScriptedUpstream, failure: UpstreamFailure) -> None:
    server.fail("Runs", failure, times=3)
    server.fail("Runs", Status(500))
    assert len(use(server, asking(Bounds(tries=2))).runs) == 4
    assert server.count("Runs") == 5


# Time


@pytest.mark.parametrize("failure", [Delay(40), Drip(0.05)], ids=["silent", "dripping"])
def test_a_page_ends_within_its_time(server: ScriptedUpstream, failure: UpstreamFailure) -> None:
    server.fail("Runs", failure, times=9)
    began = time.monotonic()
    with pytest.raises(faults.UpstreamTimeout, match="in time"):
        use(server, asking(Bounds(within_s=1.0), 50.0))
    assert time.monotonic() - began < 20
    eventually(lambda: server.abandoned == 1, "the server sees that the connection was closed")
    assert server.count("Runs") == 1


def test_what_the_tries_met_is_told_when_the_time_is_over(server: ScriptedUpstream) -> None:
    server.fail("Runs", Status(503, b'{"errors":[{"message":"down for repair"}]}'), times=2)
    server.fail("Runs", Delay(40), times=9)
    with pytest.raises(faults.UpstreamUnavailable, match="down for repair"):
        use(server, asking(Bounds(within_s=2.5), 50.0))


def test_the_wait_may_end_before_the_bounds(server: ScriptedUpstream) -> None:
    server.fail("Runs", Delay(40), times=9)
    with pytest.raises(faults.UpstreamTimeout):
        use(server, asking(Bounds(within_s=1000, tries=9), 0.3))


def test_what_flows_is_let_go_on_and_what_drips_is_not(server: ScriptedUpstream) -> None:
    server.add_run("team", "vision", "large", summary={"text": NOISE * 40})  # 2.4 MB
    bounds = Bounds(tries=1, within_s=0.5, lets_flow=True)
    server.fail("Runs", Slow(1.5e6))
    assert len(use(server, asking(bounds)).runs) == 5
    for failure, others in ((Slow(1.5e6), {"lets_flow": False}), (Drip(), {}), (Delay(60), {})):
        server.fail("Runs", failure)
        with pytest.raises(faults.UpstreamTimeout):
            use(server, asking(replace(bounds, **others), seconds=60))
    server.fail("Runs", Slow(1.5e6))
    with pytest.raises(faults.UpstreamTimeout):
        use(server, asking(bounds, seconds=1.0))


def test_pauses_and_waiting_for_a_turn_are_not_counted(server: ScriptedUpstream) -> None:
    server.fail("Runs", Status(429, b"{}", {"Retry-After": "2.3"}))

    async def both(upstream: GraphQLUpstream) -> list[RunPage]:
        bounds = Bounds(within_s=2.0)
        first = asyncio.ensure_future(page(upstream, bounds))
        while not server.count("Runs"):
            await asyncio.sleep(0.01)
        return list(await asyncio.gather(first, page(upstream, bounds)))

    assert [len(found.runs) for found in use(server, both)] == [4, 4]


# Partial data


def told(server: ScriptedUpstream, edges: list[Any], *errors: Any, **more: Any) -> None:
    """The next pages hold these edges and errors."""
    listing = {"edges": edges, "pageInfo": {"hasNextPage": True}}
    answer: dict[str, Any] = {"data": {"project": {"runCount": 9, "runs": listing} | more}}
    if errors:
        answer["errors"] = list(errors)
    body = json.dumps(answer).encode()
    for operation in ("Runs", "RunsGlance"):
        server.fail(operation, Status(200, body), times=9)


def edge(server: ScriptedUpstream, run_id: str) -> dict[str, Any]:
    return {"node": server.projects["team", "vision"][run_id], "cursor": f"behind {run_id}"}


def inside(*path: Any) -> dict[str, Any]:
    return {"message": "boom", "path": ["project", "runs", "edges", *path]}


@pytest.mark.parametrize(
    "errors",
    [
        (),
        ({"message": "boom"},),
        ({"message": "boom", "path": None},),
        ("boom",),
        ({"message": "boom", "path": ["project", "runs"]},),
        (inside(1, "node"), inside(2, "node", "name")),
    ],
    ids=["no errors", "no place", "null place", "text", "of the list", "of the runs"],
)
def test_the_good_runs_of_a_page_come_and_the_others_are_counted(
    server: ScriptedUpstream, errors: tuple[Any, ...]
) -> None:
    good = edge(server, "r0"), edge(server, "r3")
    told(server, [good[0], {"node": None, "cursor": None}, None, good[1]], *errors)
    found = use(server, asking(UNBOUNDED))
    assert [run.run_id for run in found.runs] == ["r0", "r3"]
    assert found.cursors == ("behind r0", "behind r3") and found.unread == 2
    assert found.has_next and found.total == 9
    light = use(server, glance)
    assert [run.run_id for run in light.runs] == ["r0", "r3"] and light.unread == 2
    assert light.cursors == found.cursors and server.count() == 2


def test_a_page_may_have_no_good_run(server: ScriptedUpstream) -> None:
    told(server, [{"node": None, "cursor": "a"}, {"node": None, "cursor": "b"}], {"message": "boom"})
    found = use(server, asking(UNBOUNDED))
    assert found.runs == () and found.cursors == () and found.unread == 2


def test_a_run_with_an_error_inside_is_not_taken_for_whole(server: ScriptedUpstream) -> None:
    spoilt = edge(server, "r1") | {"node": edge(server, "r1")["node"] | {"summaryMetrics": None}}
    told(server, [edge(server, "r0"), spoilt], inside(1, "node", "summaryMetrics"))
    found = use(server, asking(UNBOUNDED))
    assert [run.run_id for run in found.runs] == ["r0"] and found.unread == 1


@pytest.mark.parametrize(
    ("error", "more"),
    [
        ({"message": "boom"}, {}),
        (inside(), {}),
        (inside(7, "node"), {}),
        (inside("1", "node"), {}),
        ({"message": "boom", "path": ["project", "runCount"]}, {"runCount": None}),
        ({"message": "boom", "path": "project.runs"}, {}),
        ({"message": "boom", "path": ["project", "runs"]}, {"runs": None}),
        ({"message": "boom", "path": ["project", "runs"]}, {"runs": {"edges": None}}),
    ],
)
def test_errors_that_null_runs_do_not_explain_refuse_the_page(
    server: ScriptedUpstream, error: Any, more: dict[str, Any]
) -> None:
    told(server, [edge(server, "r0"), edge(server, "r1")], error, **more)
    with pytest.raises(faults.UpstreamRefused, match="boom"):
        use(server, asking(UNBOUNDED))


# A run that always fails


@pytest.mark.parametrize(
    ("mode", "kind", "bounds"),
    [
        ("status", faults.UpstreamUnavailable, Bounds(tries=2)),
        ("hang", faults.UpstreamTimeout, Bounds(within_s=0.3)),
    ],
)
def test_a_poisoned_run_fails_its_page_but_not_a_glance(
    server: ScriptedUpstream, mode: Any, kind: type[faults.Fault], bounds: Bounds
) -> None:
    server.poison, server.poison_mode = {"r2"}, mode
    with pytest.raises(kind):
        use(server, asking(bounds))
    assert len(use(server, glance).runs) == 4
    assert use(server, lambda upstream: upstream.run("team", "vision", "r1", soon())).run_id == "r1"


def test_a_run_that_is_null_costs_only_itself(server: ScriptedUpstream) -> None:
    server.poison, server.poison_mode, server.latency_s = {"r2"}, "null", 0.01
    found = use(server, asking(UNBOUNDED))
    assert [run.run_id for run in found.runs] == ["r0", "r1", "r3"] and found.unread == 1
    assert found.cursors == ("1", "2", "4")
    with pytest.raises(faults.UpstreamRefused):
        use(server, lambda upstream: upstream.run("team", "vision", "r2", soon()))
