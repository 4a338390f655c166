"""How a daemon starts: once per home, whatever a dead one left behind, and only in folders that are private."""

from __future__ import annotations

from runtap.v1 import daemon_pb2 as pb
from runtap.v1 import daemon_pb2_grpc as rpc
from tests.support.daemon import Daemon


def test_a_started_daemon_answers_who_it_is(daemon: Daemon) -> None:
    info = rpc.DaemonServiceStub(daemon.channel()).GetServerInfo(pb.GetServerInfoRequest())
    assert info.instance_id == daemon.info["instance_id"]
    assert info.pid == daemon.pid
    assert info.version == "0.1.0"
    assert info.api_revision == 1
