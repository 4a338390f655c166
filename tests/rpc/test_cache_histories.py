"""Histories on disk through a real daemon: kept within the limit, pruned, and unharmed by damage and sudden ends."""

from __future__ import annotations

import random
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest

from runtap.v1 import accounts_pb2, daemon_pb2, daemon_pb2_grpc
from runtap.v1 import history_pb2 as pb
from tests.support.daemon import Daemon, eventually
from tests.support.scripted_world import DEADLINE_S, PROJECT, World, failing, login, options
from tests.support.upstream import ENTITY, KEY, ScriptedUpstream

MIB = 2**20
ROWS = 5000


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


def add_runs(server: ScriptedUpstream, count: int) -> None:
    """Runs with histories of about 90 KiB each."""
    noise = random.Random(7)
    for i in range(count):
        server.add_run(ENTITY, PROJECT, f"r{i}")
        server.add_history(
            ENTITY, PROJECT, f"r{i}", [{"_step": s, "loss": noise.random()} for s in range(ROWS)]
        )


def read(world: World, run: int = 0, **fields: Any) -> list[int]:
    """The steps of a run's rows."""
    request = pb.ReadHistoryRequest(path=f"{ENTITY}/{PROJECT}/r{run}", **fields)
    steps: list[int] = []
    for answer in world.histories().ReadHistory(request, timeout=DEADLINE_S):
        if answer.arrow_ipc:
            steps += pa.ipc.open_stream(answer.arrow_ipc).read_all().column("_step").to_pylist()
    return steps


def usage(world: World) -> daemon_pb2.AccountCacheUsage:
    stub = daemon_pb2_grpc.DaemonServiceStub(world.channel())
    (account,) = stub.GetCacheUsage(daemon_pb2.GetCacheUsageRequest(), timeout=DEADLINE_S).accounts
    return account


def prune(world: World, **fields: Any) -> int:
    stub = daemon_pb2_grpc.DaemonServiceStub(world.channel())
    return int(stub.PruneCache(daemon_pb2.PruneCacheRequest(**fields), timeout=DEADLINE_S).freed_bytes)


def file(world: World) -> Path:
    (found,) = world.daemon.home.glob(f"state/*/cache/{world.account}/history.db")
    return found


def with_settings(server: ScriptedUpstream, start: Callable[..., Daemon], **settings: str) -> World:
    daemon = start(None, settings, secrets=[KEY])
    return World(server, daemon, login(daemon, server))


def restarted(world: World, start: Callable[..., Daemon]) -> World:
    """Ends the daemon unless it is dead, and starts one in its place."""
    world.daemon.end()
    daemon = start(world.daemon.home, secrets=[KEY])
    return World(world.server, daemon, login(daemon, world.server))


def test_histories_are_kept_counted_and_pruned(world: World) -> None:
    add_runs(world.server, 5)
    for run in range(5):
        assert read(world, run) == list(range(ROWS))
    pages = world.server.count("HistoryPage")
    before = usage(world)
    assert before.histories == 5
    assert before.disk_bytes > 5 * 30_000
    assert read(world, 3, options=options(cache_only=True)) == list(range(ROWS))
    assert world.server.count("HistoryPage") == pages

    freed = prune(world, keep_bytes=200_000)
    after = usage(world)
    assert freed == before.disk_bytes - after.disk_bytes
    assert 0 < after.histories < 5
    assert after.disk_bytes <= 200_000
    for run in range(5):
        assert read(world, run) == list(range(ROWS))
    prune(world)
    assert (usage(world).histories, usage(world).disk_bytes) == (0, 0)
    refused = failing(lambda: read(world, 3, options=options(cache_only=True)))
    assert refused.reason == "NOT_IN_CACHE"
    assert read(world, 3) == list(range(ROWS))


def test_the_limit_is_kept_and_all_rows_are_read(
    server: ScriptedUpstream, start: Callable[..., Daemon]
) -> None:
    world = with_settings(server, start, RUNTAP_CACHE_LIMIT="1M")
    add_runs(server, 30)
    for run in range(30):
        assert read(world, run) == list(range(ROWS))
    eventually(lambda: usage(world).disk_bytes < MIB + MIB // 4, "the cache is within its limit")
    assert 3 < usage(world).histories < 25
    assert read(world, 0) == list(range(ROWS))


@pytest.mark.parametrize("key", [0, 1], ids=["_step", "loss"])
@pytest.mark.parametrize("begin", [None, 10])
def test_a_flipped_byte_costs_the_rows_that_lie_with_it(
    world: World, start: Callable[..., Daemon], key: int, begin: int | None
) -> None:
    add_runs(world.server, 2)
    for run in range(2):
        read(world, run)
    world.daemon.end()
    with sqlite3.connect(file(world)) as database:
        blob = "WHERE run = 1 AND key = ?"
        (body,) = database.execute(f"SELECT body FROM blobs {blob}", (key,)).fetchone()
        bad = bytearray(body)
        bad[len(bad) // 2] ^= 1
        database.execute(f"UPDATE blobs SET body = ? {blob}", (bytes(bad), key))
    database.close()
    world = restarted(world, start)
    before = world.server.count("HistoryPage")
    assert read(world, 0, keys=["loss"], min_step=begin) == list(range(begin or 0, ROWS))
    assert world.server.count("HistoryPage") > before
    before = world.server.count("HistoryPage")
    for run in (0, 1):
        assert read(world, run, keys=["loss"]) == list(range(ROWS))
    assert world.server.count("HistoryPage") == before, "put back, and the other run was never touched"


@pytest.mark.parametrize("length", [0, 100, 5000, 40_000])
def test_a_truncated_file_is_as_good_as_none(world: World, start: Callable[..., Daemon], length: int) -> None:
    add_runs(world.server, 1)
    read(world)
    world.daemon.end()
    content = file(world).read_bytes()
    assert len(content) > 50_000
    file(world).write_bytes(content[:length])
    world = restarted(world, start)
    assert read(world) == list(range(ROWS))
    assert read(world, options=options(cache_only=True)) == list(range(ROWS)), "and kept again"


@pytest.mark.parametrize("point", ["history.appending", "history.merging"])
def test_killed_while_a_history_is_kept_the_next_read_has_all_rows(
    server: ScriptedUpstream, start: Callable[..., Daemon], point: str
) -> None:
    world = with_settings(server, start, RUNTAP_FAILPOINT=point)
    add_runs(server, 1)
    with pytest.raises(grpc.RpcError):
        read(world)
    assert world.daemon.wait() == -signal.SIGKILL
    before = server.count("HistoryPage")
    world = restarted(world, start)
    assert read(world) == list(range(ROWS))
    assert usage(world).histories == 1
    if point == "history.merging":
        assert server.count("HistoryPage") - before <= 1 < before, "what was stored is not fetched again"


def test_logging_out_removes_histories(world: World) -> None:
    add_runs(world.server, 1)
    read(world)
    place = file(world)
    world.accounts().Logout(accounts_pb2.LogoutRequest(account_id=world.account), timeout=DEADLINE_S)
    assert not place.exists()


def test_a_history_larger_than_the_limit_is_read_whole(
    server: ScriptedUpstream, start: Callable[..., Daemon]
) -> None:
    world = with_settings(server, start, RUNTAP_CACHE_LIMIT="1M")
    noise = random.Random(7)
    server.add_run(ENTITY, PROJECT, "r0")
    keys = ("a", "b", "c", "d")
    rows = [{"_step": s} | {key: noise.random() for key in keys} for s in range(50_000)]
    server.add_history(ENTITY, PROJECT, "r0", rows)
    for _ in range(2):
        assert read(world) == list(range(50_000))
    eventually(lambda: usage(world).disk_bytes < MIB + MIB // 4, "the cache is within its limit")
