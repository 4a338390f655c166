"""The cache on disk through a real daemon: its limit, pruning it, and what readers notice of that (nothing)."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from runtap.v1 import (
    accounts_pb2,
    common_pb2,
    daemon_pb2,
    daemon_pb2_grpc,
    projects_pb2,
    projects_pb2_grpc,
    runs_pb2,
    sweeps_pb2,
    sweeps_pb2_grpc,
)
from tests.support.daemon import Daemon, eventually
from tests.support.scripted_world import DEADLINE_S, PROJECT, World, failing, login, make_world, options
from tests.support.upstream import ENTITY, KEY, ScriptedUpstream
from tests.support.upstream_faults import Status
from tests.support.upstream_sweeps import SweepingUpstream

MIB = 2**20
OTHER_KEY = "canary0scripted0key0of0the0other0user0000"


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


def daemon_stub(world: World) -> daemon_pb2_grpc.DaemonServiceStub:
    return daemon_pb2_grpc.DaemonServiceStub(world.channel())


def usage(world: World) -> daemon_pb2.GetCacheUsageResponse:
    return daemon_stub(world).GetCacheUsage(daemon_pb2.GetCacheUsageRequest(), timeout=DEADLINE_S)


def prune(world: World, **fields: Any) -> int:
    request = daemon_pb2.PruneCacheRequest(**fields)
    return int(daemon_stub(world).PruneCache(request, timeout=DEADLINE_S).freed_bytes)


def kept(world: World) -> int:
    """How many runs the caches hold on disk."""
    return sum(account.records for account in usage(world).accounts)


def folder(world: World) -> Path:
    """Where the account's cache lies."""
    (found,) = world.daemon.home.glob(f"state/*/cache/{world.account}")
    return found


def on_disk(world: World) -> int:
    """What `du` says of the account's cache."""
    return sum(path.stat().st_blocks * 512 for path in folder(world).iterdir())


def listed(world: World, **fields: Any) -> list[str]:
    """Every run of the project, with nothing said to be missing."""
    answers = world.stream(**fields)
    assert [answer.incomplete_reason for answer in answers if answer.incomplete_reason] == []
    return [run.run_id for answer in answers for run in answer.runs]


def restarted(world: World, start: Callable[..., Daemon], env: dict[str, str] | None = None) -> World:
    """Ends the daemon unless it is dead, and starts one in its place."""
    world.daemon.end()
    daemon = start(world.daemon.home, env, secrets=[KEY])
    return World(world.server, daemon, login(daemon, world.server))


def test_usage_falls_with_pruning_and_the_disk_has_its_space_back(world: World) -> None:
    world.add_runs(60, config={"x": "y" * 50_000})
    names = listed(world)
    eventually(lambda: kept(world) == 60, "all is written")
    (before,) = usage(world).accounts
    assert before.account_id == world.account
    assert (before.records, before.answers) == (60, 1)
    assert 3 * MIB < before.disk_bytes <= on_disk(world)
    assert before.memory_bytes > 2 * MIB

    freed = prune(world, keep_bytes=MIB)
    (after,) = usage(world).accounts
    assert after.disk_bytes <= MIB
    assert freed == before.disk_bytes - after.disk_bytes
    assert on_disk(world) < MIB + MIB // 8
    assert 5 < after.records < 25
    assert listed(world) == names

    assert prune(world) == after.disk_bytes
    (nothing,) = usage(world).accounts
    assert (nothing.records, nothing.disk_bytes) == (0, 0)
    assert listed(world) == names


def test_the_limit_is_kept_and_lists_longer_than_it_are_whole(
    server: ScriptedUpstream, start: Callable[..., Daemon]
) -> None:
    daemon = start(None, {"RUNTAP_CACHE_LIMIT": "1M"}, secrets=[KEY])
    world = World(server, daemon, login(daemon, server))
    assert usage(world).limit_bytes == MIB
    world.add_runs(120, config={"x": "y" * 30_000})
    names = listed(world)
    assert len(names) == 120
    # Both at once: while runs are still being written either may hold for a moment.
    eventually(lambda: kept(world) < 60 and on_disk(world) < MIB + MIB // 4, "the cache is within its limit")
    assert listed(world) == names
    world = restarted(world, start, {"RUNTAP_CACHE_LIMIT": "1M"})
    assert listed(world) == names, "runs that were dropped are read again"


def test_only_what_was_long_unused_goes(world: World, start: Callable[..., Daemon]) -> None:
    world.add_runs(4)
    listed(world)
    eventually(lambda: kept(world) == 4, "all is written")
    world.daemon.end()
    with sqlite3.connect(folder(world) / "records.db") as database:
        database.execute(
            "UPDATE uses SET used_in = used_in - 100 WHERE name IN ('storage-r0001', 'storage-r0002')"
        )
    database.close()
    world = restarted(world, start)
    world.get("r0002", options=options(cache_only=True))
    assert prune(world, unused_for=Duration(seconds=3600)) >= 0
    assert kept(world) == 3
    assert failing(lambda: world.get("r0001", options=options(cache_only=True))).reason == "NOT_IN_CACHE"


def without(world: World, first: int, last: int, start: Callable[..., Daemon]) -> World:
    """A new daemon over a cache that has dropped these runs, and no list that names them."""
    eventually(lambda: kept(world) == 30, "all is written")
    world.daemon.end()
    with sqlite3.connect(folder(world) / "records.db") as database:
        for table, column in (("records", "storage_id"), ("uses", "name")):
            query = f"DELETE FROM {table} WHERE {column} BETWEEN ? AND ?"
            database.execute(query, (f"storage-r{first:04}", f"storage-r{last:04}"))
    database.close()
    return restarted(world, start)


@pytest.mark.parametrize("meanwhile", ["nothing", "runs came", "runs went"])
@pytest.mark.parametrize("query", [{}, {"filter_json": '{"config.a.b.value": null}'}])
def test_an_old_list_that_names_dropped_runs_is_still_whole(
    world: World, start: Callable[..., Daemon], query: dict[str, str], meanwhile: str
) -> None:
    world.add_runs(30, config={"lr": {"value": 1}})
    names = listed(world, **query)
    assert len(names) == 30
    world = without(world, 7, 19, start)
    if meanwhile == "runs came":
        world.add_runs(8, "new")
    elif meanwhile == "runs went":
        for i in range(24, 30):
            del world.server.projects[ENTITY, PROJECT][f"r{i:04}"]
    found: list[str] = []
    for page in world.pages(page_size=12, options=options(max_age=Duration(seconds=3600)), **query):
        assert page.incomplete_reason == ""
        found += [run.run_id for run in page.runs]
    assert found == names
    for i in (7, 19):
        world.get(f"r{i:04}", options=options(cache_only=True))  # what was read again is kept


def test_without_asking_the_server_dropped_runs_are_said_to_be_just_that(
    world: World, start: Callable[..., Daemon]
) -> None:
    world.add_runs(30)
    names = listed(world)
    world = without(world, 7, 19, start)
    pages = list(world.pages(page_size=12, options=options(cache_only=True)))
    assert [run.run_id for page in pages for run in page.runs] == names[:10] + names[23:]
    said = "13 of the listed runs are not in the cache, and the server was not to be asked"
    assert [page.incomplete_reason for page in pages if page.incomplete_reason] == [said]
    assert listed(world, options=options(max_age=Duration(seconds=3600))) == names, "others may ask"


def test_projects_and_sweeps_are_told_without_the_server_after_a_restart(
    start: Callable[..., Daemon],
) -> None:
    with SweepingUpstream() as server:
        world = make_world(server, start)
        server.add_project(ENTITY, PROJECT, description="eyes")
        server.add_sweep(ENTITY, PROJECT, "s1", config="method: grid\nmetric: {name: loss, goal: minimize}")
        before = _small_answers(world)
        assert {answer.freshness.source for answer in before} == {common_pb2.FRESHNESS_SOURCE_UPSTREAM}
        asked = server.count()
        world = restarted(world, start)
        logged_in = server.count()
        after = _small_answers(world, options=options(cache_only=True))
        assert {answer.freshness.source for answer in after} == {common_pb2.FRESHNESS_SOURCE_DISK}
        again = _small_answers(world, options=options(cache_only=True))
        assert {answer.freshness.source for answer in again} == {common_pb2.FRESHNESS_SOURCE_MEMORY}
        assert asked > 0
        assert server.count() == logged_in
        for old, new in zip(before, after, strict=True):
            assert new.freshness.fetched_at == old.freshness.fetched_at
            for answer in (old, new):
                answer.ClearField("freshness")
            assert new == old
        prune(world)
        world = restarted(world, start)
        assert (
            failing(lambda: _small_answers(world, options=options(cache_only=True))).reason == "NOT_IN_CACHE"
        )


def _small_answers(world: World, **fields: Any) -> list[Any]:
    projects, sweeps = (
        projects_pb2_grpc.ProjectServiceStub(world.channel()),
        sweeps_pb2_grpc.SweepServiceStub(world.channel()),
    )
    name = f"{ENTITY}/{PROJECT}"
    return [
        projects.ListProjects(projects_pb2.ListProjectsRequest(**fields), timeout=DEADLINE_S),
        projects.GetProject(projects_pb2.GetProjectRequest(path=name, **fields), timeout=DEADLINE_S),
        sweeps.ListSweeps(sweeps_pb2.ListSweepsRequest(project=name, **fields), timeout=DEADLINE_S),
        sweeps.GetSweep(sweeps_pb2.GetSweepRequest(path=f"{name}/s1", **fields), timeout=DEADLINE_S),
    ]


def test_readers_of_a_list_do_not_notice_that_it_is_pruned(world: World) -> None:
    world.add_runs(300, config={"x": "y" * 2_000})
    found = []
    for page in world.pages(page_size=50):
        assert page.incomplete_reason == ""
        found += [run.run_id for run in page.runs]
        prune(world)
    assert found == [f"r{i:04}" for i in reversed(range(300))]


@pytest.mark.parametrize("changed", [False, True])
def test_a_reader_of_a_document_goes_on_when_it_is_pruned_unless_it_changed(
    world: World, changed: bool
) -> None:
    # More than is ever on its way to a reader who has stopped.
    text = json.dumps({f"k{i}": "x" * 1000 for i in range(60_000 if changed else 20_000)})
    world.server.add_run(ENTITY, PROJECT, "r1", summary=text)
    listed(world)
    eventually(lambda: kept(world) == 1, "all is written")
    request = runs_pb2.ReadDocumentRequest(path=f"{ENTITY}/{PROJECT}/r1", document=runs_pb2.DOCUMENT_SUMMARY)
    call = world.runs().ReadDocument(request, timeout=DEADLINE_S)
    found = next(call).data
    if changed:
        world.server.add_run(ENTITY, PROJECT, "r1", summary=text.replace("x", "y"))
    prune(world)
    if changed:
        assert failing(lambda: list(call)).reason == "WRITE_CONFLICT"
    else:
        assert found + b"".join(answer.data for answer in call) == text.encode()


def test_accounts_are_pruned_apart_or_together(world: World) -> None:
    world.server.add_user(OTHER_KEY, "bob", ENTITY)
    other = World(world.server, world.daemon, login(world.daemon, world.server, OTHER_KEY))
    world.add_runs(5)
    for one in (world, other):
        listed(one)
    eventually(lambda: kept(world) == 10, "all is written")
    prune(world, account_id=other.account)
    records = {account.account_id: account.records for account in usage(world).accounts}
    assert records == {world.account: 5, other.account: 0}
    assert prune(world) > 0
    assert kept(world) == 0


def test_accounts_from_before_a_restart_count(world: World, start: Callable[..., Daemon]) -> None:
    world.add_runs(5)
    listed(world)
    eventually(lambda: kept(world) == 5, "all is written")
    world.daemon.end()
    daemon = start(world.daemon.home, secrets=[KEY])
    nobody = World(world.server, daemon, world.account)
    (account,) = usage(nobody).accounts
    assert (account.account_id, account.records, account.memory_bytes) == (world.account, 5, 0)
    assert prune(nobody, account_id=world.account) == account.disk_bytes
    assert [account.disk_bytes for account in usage(nobody).accounts] == [0]


def test_a_run_with_a_write_on_its_way_stays(world: World) -> None:
    world.add_runs(3)
    listed(world)
    eventually(lambda: kept(world) == 3, "all is written")
    world.server.fail("*", Status(503), times=10_000)
    patch = runs_pb2.UpdateRunRequest(
        path=f"{ENTITY}/{PROJECT}/r0001", request_id="w1", fields=runs_pb2.RunFields(display_name="new")
    )
    world.runs().UpdateRun(patch, timeout=DEADLINE_S)
    prune(world)
    assert kept(world) == 1
    shown = world.get("r0001", options=options(cache_only=True))
    assert (shown.run.display_name, shown.freshness.pending_writes) == ("new", 1)
    world.server.heal()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"keep_bytes": -1}, "keep_bytes"),
        ({"unused_for": Duration(seconds=-5)}, "unused_for"),
        ({"account_id": "acct-0123456789abcdef"}, "account_id"),
        ({"account_id": "../journal.db"}, "account_id"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(world: World, fields: dict[str, Any], field: str) -> None:
    failure = failing(lambda: prune(world, **fields))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert failure.fields == [field]


@pytest.mark.parametrize("point", ["cache.dropping", "cache.shrinking", "cache.discarding"])
def test_killed_in_the_middle_of_it_the_cache_stays_usable(
    server: ScriptedUpstream, start: Callable[..., Daemon], point: str
) -> None:
    world = make_world(server, start)
    world.add_runs(200, config={"x": "y" * 10_000})
    names = listed(world)
    eventually(lambda: kept(world) == 200, "all is written")
    doomed = restarted(world, start, {"RUNTAP_FAILPOINT": point})
    with pytest.raises(grpc.RpcError):
        prune(doomed, keep_bytes=0 if point == "cache.discarding" else MIB)
    assert doomed.daemon.wait() == -signal.SIGKILL

    world = restarted(doomed, start)
    assert listed(world) == names
    eventually(lambda: kept(world) == 200, "all is written again")
    prune(world, keep_bytes=MIB)
    assert on_disk(world) < MIB + MIB // 8
    world.daemon.end()
    with sqlite3.connect(folder(world) / "records.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    assert not [line for line in world.daemon.log() if "cannot be used" in line.get("message", "")]


def test_logging_out_ends_a_cache_that_was_only_counted(world: World, start: Callable[..., Daemon]) -> None:
    world.add_runs(3)
    listed(world)
    eventually(lambda: kept(world) == 3, "all is written")
    world.daemon.end()
    daemon = start(world.daemon.home, secrets=[KEY])
    nobody = World(world.server, daemon, world.account)
    assert kept(nobody) == 3
    place = folder(nobody)
    nobody.accounts().Logout(accounts_pb2.LogoutRequest(account_id=world.account), timeout=DEADLINE_S)
    assert not place.exists()
    assert usage(nobody).accounts == []
