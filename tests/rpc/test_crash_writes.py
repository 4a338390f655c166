"""Kill -9 of a real daemon in the middle of a write: nothing acknowledged is lost, nothing is applied twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import grpc
import pytest

from runtap.v1 import runs_pb2 as pb
from runtap.v1 import writes_pb2 as wpb
from tests.rpc.conftest import StartDaemon
from tests.support.local_server import LocalServer, local_server
from tests.support.meddling_proxy import refuse
from tests.support.writer import MUTATION, Writer, lr_of, new_writer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with local_server(tmp_path_factory.mktemp("local") / "home") as running:
        yield running


@pytest.fixture
def writer(server: LocalServer, start: StartDaemon) -> Iterator[Writer]:
    with new_writer(server, start()) as made:
        made.login()
        yield made


def mutations_at_server(writer: Writer) -> int:
    """How many changes the server has executed, by its own count."""
    operations = writer.server.request("GET", "/runtap/stats").json()["operations"]
    return int(operations.get(MUTATION, 0))


@pytest.mark.parametrize("with_etag", [False, True])
@pytest.mark.parametrize("point", ["journal.committed", "writes.sent"])
def test_killed_in_the_middle_of_a_write(
    start: StartDaemon, writer: Writer, point: str, with_etag: bool
) -> None:
    read = writer.read()
    etag = read.etag if with_etag else ""
    before = mutations_at_server(writer)
    writer.daemon.stop()
    doomed = start(writer.daemon.home, {"RUNTAP_FAILPOINT": point})
    writer.restart(doomed)
    request = writer.request(0.2, "killed", etag=etag)

    with pytest.raises(grpc.RpcError) as caught:
        writer.update(request)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert doomed.wait() == -signal.SIGKILL
    assert mutations_at_server(writer) - before == (1 if point == "writes.sent" else 0)

    writer.restart(start(doomed.home))
    assert writer.wait_all() == wpb.WaitWritesResponse()
    assert writer.lr_at_server() == 0.2
    assert lr_of(writer.read().config_json) == 0.2, "what the cache had on disk is older than the write"
    again = writer.update(request).write
    assert again.state == wpb.WRITE_STATE_APPLIED and again.attempts == 1
    assert mutations_at_server(writer) - before == 1


def test_killed_with_acknowledged_writes_waiting(start: StartDaemon, writer: Writer) -> None:
    before = mutations_at_server(writer)
    writer.proxy.always(MUTATION, refuse(503, "closed"))
    acknowledged = [
        writer.update(writer.request(float(n), f"q{n}", wait_for=pb.WAIT_FOR_ACCEPTED)).write.write_id
        for n in range(1, 6)
    ]
    writer.daemon.kill()
    writer.proxy.always(MUTATION, None)

    writer.restart(start(writer.daemon.home))

    assert writer.wait_all() == wpb.WaitWritesResponse()
    for write_id in acknowledged:
        writer.until_state(write_id, wpb.WRITE_STATE_APPLIED)
    assert writer.lr_at_server() == 5.0 and mutations_at_server(writer) - before == 5
