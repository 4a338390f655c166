"""Calling the daemon: one reconnect, forks, threads, presence, and stubs for those who want them bare."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from runtap import channel, launch
from runtap.connected import connect
from runtap.errors import CommError, DaemonError, InvalidRequestError
from runtap.stubs import Stubs
from runtap.v1 import daemon_pb2, runs_pb2
from tests.support.client import Place, kill, new_place, wait_until


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with new_place(tmp_path) as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


def server_info() -> daemon_pb2.GetServerInfoResponse:
    answer: daemon_pb2.GetServerInfoResponse = channel.daemon().call(
        "daemon.GetServerInfo", daemon_pb2.GetServerInfoRequest()
    )
    return answer


# -- one reconnect


def test_a_killed_daemon_is_replaced_within_the_call(place: Place) -> None:
    first = server_info().pid
    kill(first)
    assert server_info().pid != first


def test_a_stopped_daemon_is_replaced_within_the_call(place: Place) -> None:
    first = server_info().pid
    assert place.runtap("restart").code == 0
    assert server_info().pid == place.info()["pid"] != first


def test_a_token_of_another_instance_is_replaced_within_the_call(place: Place) -> None:
    connection = channel.daemon().connection()
    object.__setattr__(connection.info, "token", "0" * 64)
    assert server_info().pid == connection.info.pid
    assert channel.daemon().connection() is not connection


def test_a_write_that_nobody_could_recognise_is_not_sent_twice(place: Place) -> None:
    kill(server_info().pid)
    with pytest.raises(DaemonError, match=r"the daemon went away during runs\.UpdateRun") as caught:
        channel.daemon().call("runs.UpdateRun", runs_pb2.UpdateRunRequest(path="a/b/c"))
    assert isinstance(caught.value.exc, ConnectionError)
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_a_write_with_a_request_id_is(place: Place) -> None:
    first = server_info().pid
    kill(first)
    with pytest.raises(CommError) as caught:  # no account here, but a new daemon has looked at it
        channel.daemon().call("runs.UpdateRun", runs_pb2.UpdateRunRequest(path="a/b/c", request_id="r1"))
    assert caught.value.reason
    assert server_info().pid != first


def test_errors_of_the_daemon_keep_their_reason(place: Place) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        channel.daemon().call("daemon.SetLogLevel", daemon_pb2.SetLogLevelRequest(level="loud"))
    assert caught.value.reason == "INVALID_FIELD"
    assert "loud" in caught.value.message


def test_a_deadline_is_a_timeout_error(place: Place) -> None:
    pid = server_info().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError, match=r"daemon\.GetServerInfo got no answer within its deadline"):
            channel.daemon().call("daemon.GetServerInfo", daemon_pb2.GetServerInfoRequest(), timeout=0.2)
    finally:
        os.kill(pid, signal.SIGCONT)


# -- streams and presence


def attachments(place: Place) -> int:
    answer = launch.find(place.folders, channel.probe_status)
    assert answer is not None
    return sum(client.attached for client in answer.clients)


def test_presence_lasts_as_long_as_the_block(place: Place) -> None:
    with channel.daemon().attached("a test"):
        assert attachments(place) == 1
        clients = place.runtap("status", "--json").json()["clients"]
        assert [client["description"] for client in clients if client["attached"]] == ["a test"]
        assert "a test" in place.runtap("status").out
    wait_until(lambda: attachments(place) == 0)


def test_closing_a_stream_ends_the_call(place: Place) -> None:
    events = channel.daemon().stream("daemon.Attach", daemon_pb2.AttachRequest())
    assert next(events).event == daemon_pb2.ATTACH_EVENT_ATTACHED
    events.close()
    wait_until(lambda: attachments(place) == 0)


def test_a_stream_is_begun_again_only_before_its_first_message(place: Place) -> None:
    kill(server_info().pid)
    events = channel.daemon().stream("daemon.Attach", daemon_pb2.AttachRequest())
    next(events)
    kill(place.info()["pid"])
    with pytest.raises(DaemonError, match=r"went away during daemon\.Attach"):
        next(events)


# -- one handle per process


def test_threads_that_call_at_once_share_one_connection(place: Place) -> None:
    gate = threading.Barrier(8)

    def first_call(_: int) -> int:
        gate.wait(10)
        return id(channel.daemon().connection())

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(first_call, range(8)))) == 1


def test_another_home_is_another_handle(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    here = channel.daemon()
    monkeypatch.setenv("RUNTAP_HOME", str(place.root / "elsewhere"))
    assert channel.daemon() is not here
    monkeypatch.setenv("RUNTAP_HOME", str(place.home))
    assert channel.daemon() is here


FORK = """
import os, sys
from runtap import channel
from runtap.v1 import daemon_pb2

def pid():
    return channel.daemon().call("daemon.GetServerInfo", daemon_pb2.GetServerInfoRequest(), timeout=10).pid

expected = pid()
parent_client = channel._process.client
events = channel.daemon().stream("daemon.Attach", daemon_pb2.AttachRequest())
next(events)
for _ in range(10):
    child = os.fork()
    if child == 0:
        good = pid() == expected and channel._process.client != parent_client
        sys.exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert pid() == expected
events.close()
print("fine")
"""


def test_a_forked_child_begins_anew_and_its_parent_goes_on_even_with_an_open_stream(place: Place) -> None:
    outcome = place.python(FORK)
    assert (outcome.code, outcome.out, outcome.err) == (0, "fine\n", "")


INTERRUPTED = """
from runtap import channel
from runtap.v1 import daemon_pb2
events = channel.daemon().stream("daemon.Attach", daemon_pb2.AttachRequest())
next(events)
print("waiting", flush=True)
next(events)
"""


def test_waiting_for_a_message_can_be_interrupted(place: Place) -> None:
    with place.running("-c", INTERRUPTED) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[1].endswith("KeyboardInterrupt\n")
    wait_until(lambda: attachments(place) == 0)


def test_a_stream_has_a_deadline_when_it_is_given_one(place: Place) -> None:
    events = channel.daemon().stream("daemon.Attach", daemon_pb2.AttachRequest(), timeout=0.3)
    next(events)
    with pytest.raises(TimeoutError):
        next(events)


POOL = """
import multiprocessing
from runtap import channel
from runtap.v1 import daemon_pb2

def pid(_):
    return channel.daemon().call("daemon.GetServerInfo", daemon_pb2.GetServerInfoRequest(), timeout=10).pid

if __name__ == "__main__":
    expected = pid(0)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert set(pool.map(pid, range(12))) == {expected}
    print("fine")
"""


def test_a_pool_of_forked_workers_can_call(place: Place) -> None:
    outcome = place.python(POOL)
    assert (outcome.code, outcome.out) == (0, "fine\n"), outcome.err


def test_importing_it_is_light() -> None:
    code = (
        "import sys, runtap.channel, runtap.connected, runtap.launch\n"
        "heavy = {'grpc', 'google', 'subprocess', 'requests', 'numpy', 'click', 'rich', 'runtapd'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- bare stubs


def test_connect_gives_every_stub_with_token_and_grpcs_own_errors(place: Place) -> None:
    with connect() as daemon:
        assert daemon.daemon.GetServerInfo(daemon_pb2.GetServerInfoRequest()).pid == place.info()["pid"]
        with pytest.raises(grpc.RpcError):
            daemon.daemon.SetLogLevel(daemon_pb2.SetLogLevelRequest(level="loud"))
        stream = daemon.daemon.Attach(daemon_pb2.AttachRequest())
        assert next(iter(stream)).event == daemon_pb2.ATTACH_EVENT_ATTACHED
        stream.cancel()
        assert repr(daemon) == f"<runtap connection to {place.info()['endpoint']}>"
        for name in ("accounts", "files", "history", "projects", "runs", "sweeps", "writes"):
            assert type(getattr(daemon, name)).__name__.endswith("ServiceStub")


def test_the_handle_has_the_stubs_too(place: Place) -> None:
    daemon = channel.daemon()
    assert daemon.daemon.GetServerInfo(daemon_pb2.GetServerInfoRequest()).pid == place.info()["pid"]
    with pytest.raises(AttributeError, match="the contract has no PlanetServiceStub"):
        daemon.stub("PlanetServiceStub")


def test_a_call_without_token_is_refused(place: Place) -> None:
    endpoint = channel.daemon().connection().info.endpoint
    with grpc.insecure_channel(endpoint) as bare, pytest.raises(grpc.RpcError) as caught:
        Stubs(bare).daemon.GetServerInfo(daemon_pb2.GetServerInfoRequest())
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_the_client_names_itself_in_a_form_that_is_safe_to_log(place: Place) -> None:
    name, pid, nonce = channel._process.client.split("/")
    assert name.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert int(pid) == os.getpid()
    assert len(nonce) == 6
