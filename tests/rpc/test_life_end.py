"""How a daemon ends: asked, signalled, idle, replaced, or with its files gone; and what its callers learn."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from runtap.v1 import daemon_pb2 as pb
from runtap.v1 import daemon_pb2_grpc as rpc
from runtap.v1 import runs_pb2, runs_pb2_grpc
from tests.rpc.conftest import StartDaemon
from tests.support.daemon import ODD_DAEMON, Daemon, eventually
from tests.support.status import failure_of

LOOKUP = reflection_pb2.ServerReflectionRequest(list_services="")


class OpenStream:
    """A call that stays open until it is told to end, and answers whenever it is asked."""

    def __init__(self, daemon: Daemon) -> None:
        self._requests: queue.SimpleQueue[reflection_pb2.ServerReflectionRequest | None] = queue.SimpleQueue()
        stub = reflection_pb2_grpc.ServerReflectionStub(daemon.channel("stream/1/0"))
        self.answers = stub.ServerReflectionInfo(self._asked())
        self.ask()

    def ask(self) -> None:
        self._requests.put(LOOKUP)
        next(self.answers)

    def end(self) -> None:
        self._requests.put(None)

    def _asked(self) -> Iterator[reflection_pb2.ServerReflectionRequest]:
        while (request := self._requests.get()) is not None:
            yield request


def _stub(daemon: Daemon, client: str = "test/1/0") -> rpc.DaemonServiceStub:
    return rpc.DaemonServiceStub(daemon.channel(client))


def _last_exit(start: StartDaemon, daemon: Daemon) -> str:
    return _stub(start(daemon.home)).GetStatus(pb.GetStatusRequest()).last_exit_reason


def test_shutdown_answers_when_the_info_file_is_gone(start: StartDaemon, daemon: Daemon) -> None:
    answer = _stub(daemon).Shutdown(pb.ShutdownRequest())
    assert not daemon.info_path.exists()
    assert answer.pid == daemon.pid
    assert answer.pending_writes == 0
    assert daemon.wait() == 0
    assert not daemon.socket_path.exists()
    assert _last_exit(start, daemon) == "shutdown"


def test_shutdown_passes_the_reason_on(start: StartDaemon, daemon: Daemon) -> None:
    _stub(daemon).Shutdown(pb.ShutdownRequest(reason="restart"))
    assert daemon.wait() == 0
    assert _last_exit(start, daemon) == "restart"


def test_shutdown_refuses_a_grace_without_sense(daemon: Daemon) -> None:
    with pytest.raises(grpc.RpcError) as error:
        _stub(daemon).Shutdown(pb.ShutdownRequest(grace=Duration(seconds=-1)))
    failure = failure_of(error.value)
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.fields == ["grace"]
    assert daemon.info_path.exists()


def test_only_if_idle_counts_others_and_not_oneself(daemon: Daemon) -> None:
    other = _stub(daemon, "other/2/0").Attach(pb.AttachRequest())
    next(other)
    mine = _stub(daemon, "mine/1/0")
    own = mine.Attach(pb.AttachRequest())
    next(own)
    with pytest.raises(grpc.RpcError) as error:
        mine.Shutdown(pb.ShutdownRequest(only_if_idle=True))
    failure = failure_of(error.value)
    assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failure.metadata["open_calls"] == "1"
    assert daemon.info_path.exists()

    other.cancel()
    eventually(lambda: daemon.open_calls() == 1, "the other call is over")
    mine.Shutdown(pb.ShutdownRequest(only_if_idle=True))
    assert daemon.wait() == 0


def test_a_signal_drains(start: StartDaemon, daemon: Daemon) -> None:
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert not daemon.info_path.exists()
    assert _last_exit(start, daemon) == "signal"


def test_attached_clients_are_told_before_the_end(daemon: Daemon) -> None:
    events = _stub(daemon).Attach(pb.AttachRequest(description="a test"))
    assert next(events).event == pb.ATTACH_EVENT_ATTACHED
    daemon.signal(signal.SIGINT)
    assert [event.event for event in events] == [pb.ATTACH_EVENT_DRAINING]
    assert daemon.wait() == 0


def test_during_a_drain_open_calls_go_on_and_new_ones_are_refused_by_name(daemon: Daemon) -> None:
    stream = OpenStream(daemon)
    stub = _stub(daemon)
    health = health_pb2_grpc.HealthStub(daemon.channel())
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING

    daemon.signal(signal.SIGTERM)

    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert not daemon.info_path.exists()
    with pytest.raises(grpc.RpcError) as error:
        stub.GetServerInfo(pb.GetServerInfoRequest())
    failure = failure_of(error.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DAEMON_DRAINING")
    stream.ask()
    stream.end()
    assert list(stream.answers) == []
    assert daemon.wait() == 0


def test_what_is_open_when_the_grace_is_over_ends_as_draining(daemon: Daemon) -> None:
    stream = OpenStream(daemon)
    _stub(daemon).Shutdown(pb.ShutdownRequest(grace=Duration(nanos=300_000_000)))
    with pytest.raises(grpc.RpcError) as error:
        next(stream.answers)
    failure = failure_of(error.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DAEMON_DRAINING")
    stream.end()
    assert daemon.wait() == 0


def test_a_second_signal_ends_at_once(start: StartDaemon, daemon: Daemon) -> None:
    stream = OpenStream(daemon)
    daemon.signal(signal.SIGTERM)
    eventually(lambda: not daemon.info_path.exists(), "the drain has begun")
    assert daemon.process.poll() is None
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(4) == 1  # the grace alone is 5 s
    assert not daemon.socket_path.exists()
    stream.end()
    assert _last_exit(start, daemon) == "signal"


def test_a_drain_that_hangs_is_ended_by_the_watchdog(start: StartDaemon) -> None:
    daemon = start(env={"RUNTAP_TEST_HANG": "1"}, program=ODD_DAEMON)
    _stub(daemon).Shutdown(pb.ShutdownRequest(grace=Duration()))
    assert daemon.wait() == 1
    assert _last_exit(start, daemon) == "shutdown"


def test_a_successor_may_start_while_the_predecessor_is_ending(start: StartDaemon, daemon: Daemon) -> None:
    stream = OpenStream(daemon)
    _stub(daemon).Shutdown(pb.ShutdownRequest(grace=Duration(seconds=1)))
    stream.end()
    daemon.wait()
    assert start(daemon.home).info["instance_id"] != daemon.info["instance_id"]


def test_idle_it_ends(start: StartDaemon) -> None:
    daemon = start(env={"RUNTAP_IDLE_EXIT_S": "0.4"})
    assert daemon.wait() == 0
    assert not daemon.info_path.exists()
    assert _last_exit(start, daemon) == "idle"


def test_attached_it_does_not_end_and_looking_on_does_not_keep_it(start: StartDaemon) -> None:
    daemon = start(env={"RUNTAP_IDLE_EXIT_S": "2"})
    stub = _stub(daemon)
    events = stub.Attach(pb.AttachRequest())
    next(events)
    status = stub.GetStatus(pb.GetStatusRequest())
    assert not status.HasField("idle_exit_at")
    assert [(client.client, client.attached) for client in status.clients] == [("test/1/0", True)]
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.wait(3)
    events.cancel()
    seen_waiting = False
    while daemon.process.poll() is None:
        try:
            seen_waiting |= stub.GetStatus(pb.GetStatusRequest(), timeout=1).HasField("idle_exit_at")
        except grpc.RpcError:
            break
        time.sleep(0.02)
    assert daemon.wait() == 0
    assert seen_waiting


def test_a_call_at_the_moment_of_idle_exit_is_served_or_refused(start: StartDaemon) -> None:
    daemon = start(env={"RUNTAP_IDLE_EXIT_S": "0.25"})
    stub = _stub(daemon)
    for pause_ms in count(240, 2):  # around the moment, and in the end surely behind it
        time.sleep(pause_ms / 1000)
        try:
            stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=5)
        except grpc.RpcError as error:
            assert failure_of(error).code is grpc.StatusCode.UNAVAILABLE
            break
    assert daemon.wait() == 0


def test_a_daemon_whose_info_file_was_replaced_leaves_without_touching_it(start: StartDaemon) -> None:
    daemon = start()
    successor = json.dumps(daemon.info | {"instance_id": "a successor"})
    daemon.info_path.write_text(successor)
    assert daemon.wait() == 0
    assert daemon.info_path.read_text() == successor
    assert _last_exit(start, daemon) == "replaced"


def test_a_daemon_whose_home_was_deleted_leaves(start: StartDaemon, tmp_path: Path) -> None:
    daemon = start()
    daemon.home.rename(tmp_path / "moved")
    assert daemon.wait() == 0


def test_a_daemon_whose_interpreter_was_deleted_leaves(start: StartDaemon, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    paths = os.pathsep.join(path for path in (*sys.path, sysconfig.get_path("purelib")) if path)
    daemon = start(env={"PYTHONPATH": paths}, python=str(python))
    assert daemon.info["executable"] == str(python)
    python.unlink()
    assert daemon.wait() == 0
    assert _last_exit(start, daemon) == "environment-gone"


def test_a_call_that_hangs_does_not_outlive_the_drain(start: StartDaemon) -> None:
    daemon = start(program=ODD_DAEMON)
    hanging = runs_pb2_grpc.RunServiceStub(daemon.channel()).ListRuns.future(runs_pb2.ListRunsRequest())
    stub = _stub(daemon)
    eventually(lambda: daemon.open_calls() == 1, "the call hangs")
    stub.Shutdown(pb.ShutdownRequest(grace=Duration()))
    error = hanging.exception(10)
    assert isinstance(error, grpc.RpcError)
    assert failure_of(error).reason == "DAEMON_DRAINING"
    assert daemon.wait() == 0
