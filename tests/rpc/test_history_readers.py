"""Readers that stall, leave, or lose the daemon: what that costs the daemon and the server, and how they go on."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from runtap.v1 import history_pb2 as pb
from tests.support import history_model
from tests.support.daemon import Daemon, eventually, start_daemon
from tests.support.history_shapes import dense, rows
from tests.support.history_wire import reading
from tests.support.history_world import HistoryWorlds, history_worlds, world_of
from tests.support.scripted_world import DEADLINE_S
from tests.support.upstream_histories import HistoriesUpstream

STALLED_BYTES = 16 * 2**20
MARGIN_BYTES = 16 * 2**20
"""What an allocator keeps besides."""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryWorlds]:
    with start_daemon(tmp_path_factory.mktemp("readers") / "home") as daemon, history_worlds(daemon) as make:
        yield make


def test_a_stalled_reader_costs_little(worlds: HistoryWorlds) -> None:
    """Four readers of 40 MB who take one message each: much less waits for them in the daemon than all there is."""
    world = worlds()
    words = random.Random(5)
    path = world.server.run([{"_step": i, "text": words.randbytes(20_000).hex()} for i in range(1000)])
    for _ in range(4):
        world.messages(path)  # what reads cost in any case: libraries, connections, what an allocator keeps
    process = psutil.Process(world.daemon.pid)
    before = process.memory_info().rss
    request = pb.ReadHistoryRequest(path=path)
    calls = [world.histories().ReadHistory(request, timeout=DEADLINE_S) for _ in range(4)]
    for call in calls:
        assert next(call).row_count
    world.settled()
    assert process.memory_info().rss - before < 4 * STALLED_BYTES + MARGIN_BYTES
    for call in calls:
        call.cancel()


def test_who_leaves_stops_the_requests(worlds: HistoryWorlds) -> None:
    world = worlds()
    path = world.server.run(dense(30_000))
    request = pb.ReadHistoryRequest(path=path, upstream_page_size=300)
    call = world.histories().ReadHistory(request, timeout=DEADLINE_S)

    def leave() -> None:
        call.cancel()
        eventually(lambda: world.daemon.open_calls() == 0, "the daemon hears of it before the next answer")

    world.server.meanwhile(6, leave)
    with pytest.raises(grpc.RpcError):
        list(call)
    world.settled()
    assert world.server.rows_asked < 30, "of more than a hundred, the rest of which nobody wants"
    world.check(path)


def test_who_stays_gets_all_when_another_leaves(worlds: HistoryWorlds) -> None:
    world = worlds(latency_s=0.02)
    path = world.server.run(dense(12_000))
    leaving = world.histories().ReadHistory(pb.ReadHistoryRequest(path=path))
    staying = world.histories().ReadHistory(pb.ReadHistoryRequest(path=path), timeout=DEADLINE_S)
    eventually(lambda: world.server.rows_asked >= 2, "rows are asked for")
    leaving.cancel()
    assert reading(staying).steps == list(range(12_000))


def test_a_daemon_that_is_killed_is_gone_on_with_by_token(
    tmp_path: Path, start: Callable[..., Daemon]
) -> None:
    with HistoriesUpstream() as server:
        path = server.run(rows(range(40_000)))
        home = tmp_path / "home"
        daemon = start(home)
        world = world_of(server, daemon)
        token, messages, killed = "", [], threading.Event()
        server.meanwhile(3, lambda: killed.wait(DEADLINE_S))  # all is never there before the daemon is gone
        with pytest.raises(grpc.RpcError):
            for message in world.histories().ReadHistory(
                pb.ReadHistoryRequest(path=path), timeout=DEADLINE_S
            ):
                messages.append(message)
                if message.resume_token and not token:
                    token = message.resume_token
                    daemon.kill()
                    killed.set()
        assert token
        upto = next(i for i, message in enumerate(messages) if message.resume_token == token)
        end = pb.ReadHistoryResponse(progress=messages[upto].progress, freshness=messages[upto].freshness)
        got = reading([*messages[: upto + 1], end]).rows
        again = world_of(server, start(home))
        got += again.read(path, resume_token=token).rows
        history_model.same(got, history_model.expected(server.lines[path]))
