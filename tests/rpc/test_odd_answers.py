"""Servers whose answers are odd: no oddity is an error of the daemon, hides other runs, or is asked about for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from tests.support.daemon import Daemon, start_daemon
from tests.support.odd_upstream import Bend, OddUpstream
from tests.support.scripted_world import World, login
from tests.support.status import failure_of
from tests.support.upstream import KEY, Request

COUNT = 120
Worlds = Callable[..., World]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with start_daemon(tmp_path_factory.mktemp("odd") / "home", secrets=[KEY]) as daemon:
        yield daemon


@pytest.fixture
def worlds(daemon: Daemon) -> Iterator[Worlds]:
    """Makes servers of 120 runs, with an account of the daemon for each."""
    with ExitStack() as stack:

        def make(**fields: Any) -> World:
            server = stack.enter_context(OddUpstream(**fields))
            world = World(server, daemon, login(daemon, server))
            world.add_runs(COUNT, summary={"loss": 1})
            return world

        yield make


def everyone(but: int = 0) -> list[str]:
    return [f"r{i:04}" for i in reversed(range(COUNT))][but:]


def read(world: World, **fields: Any) -> tuple[list[str], list[str], str]:
    """The runs of a stream, the errors of single ones, and why some are missing."""
    parts = world.stream(**fields)
    runs = [run.run_id for part in parts for run in part.runs]
    return runs, [e.item for part in parts for e in part.errors], parts[-1].incomplete_reason


def of_one_run(field: str, value: Any) -> Bend:
    """Gives this field of one run that value, wherever the run is told."""

    def bend(request: Request, project: dict[str, Any]) -> None:
        nodes = [edge["node"] for edge in (project.get("runs") or {}).get("edges", ())]
        for node in [*nodes, project.get("run")]:
            if node and node.get("id") == "storage-r0070" and field in node:
                node[field] = value

    return bend


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("historyLineCount", 2**63),
        ("historyLineCount", "-9" * 30),
        ("tags", True),
        ("tags", 7),
        ("projectId", "\ud800"),
        ("projectId", {"a": 1}),
        ("createdAt", None),
        ("createdAt", "yesterday"),
        ("user", 5),
        ("config", 5),
    ],
)
def test_an_odd_field_costs_nothing_but_itself(worlds: Worlds, field: str, value: Any) -> None:
    world = worlds(bend=of_one_run(field, value))
    world.server.projects["team", "vision"]["r0070"]["historyLineCount"] = 3
    assert read(world) == (everyone(), [], "")
    assert world.get("r0070").run.run_id == "r0070"


@pytest.mark.parametrize("field", ["config", "summaryMetrics"])
def test_a_document_nested_too_deeply_spoils_its_run_only(worlds: Worlds, field: str) -> None:
    world = worlds(bend=of_one_run(field, "DEEP"))
    runs, errors, _ = read(world)
    assert runs == [run_id for run_id in everyone() if run_id != "r0070"]
    assert errors == ["team/vision/r0070"]
    with pytest.raises(grpc.RpcError) as caught:
        world.get("r0070")
    assert failure_of(caught.value).reason == "UPSTREAM_INVALID_ANSWER"


@pytest.mark.parametrize("field", ["id", "name"])
def test_a_run_without_a_name_is_missing_alone_and_that_is_said(worlds: Worlds, field: str) -> None:
    def bend(request: Request, project: dict[str, Any]) -> None:
        for edge in (project.get("runs") or {}).get("edges", ()):
            if edge["node"]["name"] == "r0070":
                edge["node"][field] = ""

    runs, _, why = read(worlds(bend=bend))
    assert runs == [run_id for run_id in everyone() if run_id != "r0070"]
    assert "120" in why or "does not tell" in why


@pytest.mark.parametrize("count", [None, -1, 2**63, "many"])
def test_an_odd_count_is_no_count(worlds: Worlds, count: Any) -> None:
    def bend(request: Request, project: dict[str, Any]) -> None:
        if "runCount" in project:
            project["runCount"] = count

    world = worlds(bend=bend)
    assert read(world) == (everyone(), [], "")
    assert not world.list().HasField("total_size") or world.list().total_size == COUNT


def test_a_page_of_nothing_but_nulls_does_not_end_a_list(worlds: Worlds) -> None:
    def bend(request: Request, project: dict[str, Any]) -> None:
        project.pop("runCount", None)
        for edge in (project.get("runs") or {}).get("edges", ()):
            if "r0040" <= edge["node"]["name"] < "r0080":
                edge["node"] = None

    runs, _, why = read(worlds(bend=bend, page_cap=20))
    assert sorted(runs) == sorted(everyone()[:40] + everyone()[80:])
    assert why


def around_and_around(request: Request) -> int | None:
    return int(request.variables.get("cursor") or 0) % COUNT


def always_the_first_page(request: Request) -> int | None:
    return 0


@pytest.mark.parametrize("where", [around_and_around, always_the_first_page])
def test_a_server_that_goes_round_in_circles_is_left(worlds: Worlds, where: Any) -> None:
    turns = iter(range(10**9))

    def bend(request: Request, project: dict[str, Any]) -> None:
        listing = project.get("runs") or {}
        listing["pageInfo"] = {"hasNextPage": True}
        for edge in listing.get("edges", ()):
            # Cursors that are never the same twice; what counts is their number.
            edge["cursor"] = f"{edge['cursor']}.{next(turns):09}"

    world = worlds(stands_still=lambda request: where(_numbered(request)), bend=bend, page_cap=30)
    runs, _, why = read(world)
    assert len(set(runs)) == len(runs) and set(runs) <= set(everyone())
    assert set(runs) == set(everyone()) or why
    assert world.server.count() < 80


def _numbered(request: Request) -> Request:
    cursor = str(request.variables.get("cursor") or "0").split(".")[0]
    return Request(request.operation, request.variables | {"cursor": cursor}, request.key, request.document)


def test_a_second_look_ends_where_moments_are_not_judged(worlds: Worlds) -> None:
    world = worlds(counts_wrongly_by=1, judges_moments=False, page_cap=30)
    runs, _, why = read(world)
    assert runs == everyone() and "121" in why
    assert world.server.count() < 80


def test_two_runs_of_one_storage_id_are_not_taken_for_each_other(worlds: Worlds) -> None:
    world = worlds()
    for run_id in ("r0001", "r0002"):
        world.server.projects["team", "vision"][run_id]["id"] = "storage-twice"
    for run_id in ("r0001", "r0002", "r0001"):
        assert world.get(run_id).run.run_id == run_id
