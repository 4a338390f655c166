"""What the daemon does around every call: token, limits, errors that help, an access log, and no starving."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from runtap.v1 import daemon_pb2 as pb
from runtap.v1 import daemon_pb2_grpc as rpc
from runtap.v1 import runs_pb2, runs_pb2_grpc
from runtapd.server import MAX_MESSAGE_BYTES, SERVICES
from tests.rpc.conftest import StartDaemon
from tests.support.daemon import ODD_DAEMON, Daemon, eventually
from tests.support.odd_daemon import ERROR_TEXT
from tests.support.status import Failure, failure_of

PROTO = Path(__file__).parents[2] / "proto" / "runtap" / "v1"
INFO_METHOD = "/runtap.v1.DaemonService/GetServerInfo"
OTHER_METHODS = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/runtap.v1.NoSuchService/NoSuchMethod",
]


def _contract_methods() -> list[str]:
    return [f"/{name}/{method.name}" for name, service in SERVICES.items() for method in service.methods]


def _call(channel: grpc.Channel, method: str, metadata: tuple[tuple[str, str], ...]) -> Failure:
    """Calls a method as a stream both ways, which fits any; returns how it fails."""
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
    try:
        list(call(iter([b""]), metadata=metadata, timeout=10))
    except grpc.RpcError as error:
        return failure_of(error)
    return Failure(grpc.StatusCode.OK, "")


@pytest.mark.parametrize("token", [None, "", "0" * 64, "short", "x" * 5000])
def test_without_the_token_no_method_of_any_service_answers(daemon: Daemon, token: str | None) -> None:
    channel = daemon.bare_channel()
    metadata = () if token is None else (("runtap-token", token),)
    methods = _contract_methods() + OTHER_METHODS
    assert len(methods) > 40
    for method in methods:
        failure = _call(channel, method, metadata)
        assert failure.code is grpc.StatusCode.UNAUTHENTICATED, method
        assert failure.reason == "TOKEN_INVALID"
        assert daemon.token not in failure.message


def _unstable_methods() -> list[str]:
    """The methods that the contract's comments call unstable."""
    found = []
    for path in PROTO.glob("*.proto"):
        service, comment = "", ""
        for line in path.read_text().splitlines():
            if match := re.match(r"service (\w+)", line):
                service = match[1]
            if line.strip().startswith("//"):
                comment += line
                continue
            if (match := re.match(r"\s*rpc (\w+)\(", line)) and "Unstable: not implemented" in comment:
                found.append(f"/runtap.v1.{service}/{match[1]}")
            comment = ""
    return found


def test_what_is_not_built_yet_says_so(daemon: Daemon) -> None:
    methods = _unstable_methods()
    assert "/runtap.v1.FileService/ListFiles" in methods
    for method in methods:
        failure = _call(daemon.bare_channel(), method, daemon.metadata())
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED"), method
        assert failure.metadata["method"] == method.removeprefix("/runtap.v1.").replace("/", ".")
        assert "not built yet" in failure.message


def test_an_unknown_method_is_named(daemon: Daemon) -> None:
    failure = _call(daemon.bare_channel(), "/runtap.v1.RunService/Fetch", daemon.metadata())
    assert failure.code is grpc.StatusCode.UNIMPLEMENTED
    assert failure.metadata["method"] == "/runtap.v1.RunService/Fetch"


def test_undecodable_bytes_are_the_callers_mistake(daemon: Daemon) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = daemon.bare_channel().unary_unary(
        "/runtap.v1.DaemonService/Shutdown"
    )
    with pytest.raises(grpc.RpcError) as error:
        call(b"\xff\xff\xff", metadata=daemon.metadata())
    failure = failure_of(error.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    failure = _call(
        daemon.bare_channel(), "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", daemon.metadata()
    )
    assert failure.code is grpc.StatusCode.OK


def test_too_large_a_request_is_resource_exhausted(daemon: Daemon) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = daemon.bare_channel().unary_unary(INFO_METHOD)
    with pytest.raises(grpc.RpcError) as error:
        call(bytes(MAX_MESSAGE_BYTES + 1), metadata=daemon.metadata())
    assert failure_of(error.value).code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert rpc.DaemonServiceStub(daemon.channel()).GetServerInfo(pb.GetServerInfoRequest()).pid == daemon.pid


def test_one_client_cannot_open_streams_without_end(start: StartDaemon) -> None:
    daemon = start(env={"RUNTAP_MAX_STREAMS": "2"})
    greedy = rpc.DaemonServiceStub(daemon.channel("greedy/1/0"))
    streams = [greedy.Attach(pb.AttachRequest()) for _ in range(2)]
    for stream in streams:
        next(stream)
    with pytest.raises(grpc.RpcError) as error:
        next(greedy.Attach(pb.AttachRequest()))
    failure = failure_of(error.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CLIENT_LIMIT")
    assert failure.retry_after_s is not None and failure.retry_after_s > 0
    assert failure.metadata == {"client": "greedy/1/0", "kind": "streams", "limit": "2"}

    assert greedy.GetServerInfo(pb.GetServerInfoRequest()).pid == daemon.pid
    assert next(rpc.DaemonServiceStub(daemon.channel("modest/2/0")).Attach(pb.AttachRequest()))
    streams[0].cancel()

    def let_in_again() -> bool:
        try:
            return bool(next(greedy.Attach(pb.AttachRequest())))
        except grpc.RpcError:
            return False

    eventually(let_in_again, "a place is free")


def test_one_client_cannot_open_calls_without_end(start: StartDaemon) -> None:
    daemon = start(env={"RUNTAP_MAX_OPEN_CALLS": "3"}, program=ODD_DAEMON)
    runs = runs_pb2_grpc.RunServiceStub(daemon.channel("greedy/1/0"))
    calls = [runs.ListRuns.future(runs_pb2.ListRunsRequest()) for _ in range(3)]
    watcher = rpc.DaemonServiceStub(daemon.channel("watcher/2/0"))
    eventually(lambda: daemon.open_calls() == 3, "the calls are open")
    with pytest.raises(grpc.RpcError) as error:
        runs.ListRuns(runs_pb2.ListRunsRequest())
    assert failure_of(error.value).metadata["kind"] == "calls"
    for call in calls:
        call.cancel()
    eventually(lambda: daemon.open_calls() == 0, "the calls are over")
    status = watcher.GetStatus(pb.GetStatusRequest())
    greedy = next(client for client in status.clients if client.client == "greedy/1/0")
    assert (greedy.open_calls, greedy.calls_total) == (0, 3)
    assert status.calls_failed == 3


def test_an_unexpected_error_gives_an_id_and_no_inner_details(start: StartDaemon) -> None:
    daemon = start(program=ODD_DAEMON)
    with pytest.raises(grpc.RpcError) as error:
        runs_pb2_grpc.RunServiceStub(daemon.channel()).GetRun(runs_pb2.GetRunRequest())
    failure = failure_of(error.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL_ERROR")
    assert ERROR_TEXT not in failure.message and "ZeroDivision" not in failure.message
    error_id = failure.metadata["error_id"]
    assert error_id in failure.message

    def entries() -> list[dict[str, Any]]:
        return [line for line in daemon.log() if line.get("error_id") == error_id]

    eventually(entries, "the log has it")
    assert ERROR_TEXT in entries()[0]["traceback"]


def test_a_deadline_ends_a_call_and_frees_its_place(start: StartDaemon) -> None:
    daemon = start(program=ODD_DAEMON)
    with pytest.raises(grpc.RpcError) as error:
        runs_pb2_grpc.RunServiceStub(daemon.channel()).ListRuns(runs_pb2.ListRunsRequest(), timeout=0.2)
    assert failure_of(error.value).code is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: daemon.open_calls() == 0, "the call is over")


def test_stalled_readers_of_streams_keep_nobody_waiting(start: StartDaemon) -> None:
    daemon = start(program=ODD_DAEMON)
    runs = runs_pb2_grpc.RunServiceStub(daemon.channel())
    streams = [runs.StreamRuns(runs_pb2.StreamRunsRequest()) for _ in range(64)]
    for stream in streams:
        assert next(stream).ByteSize() > 64 * 1024
    stub = rpc.DaemonServiceStub(daemon.channel("other/2/0"))
    for _ in range(20):
        status = stub.GetStatus(pb.GetStatusRequest(), timeout=20)
    assert status.open_calls == 65
    assert psutil.Process(daemon.pid).memory_info().rss < 1024**3  # what nobody reads is not produced
    for stream in streams:
        stream.cancel()
    eventually(lambda: daemon.open_calls() == 0, "the streams are over")


def test_the_log_level_can_be_changed_while_it_runs(daemon: Daemon) -> None:
    stub = rpc.DaemonServiceStub(daemon.channel())
    assert stub.SetLogLevel(pb.SetLogLevelRequest(level="error")).previous == "info"
    stub.GetServerInfo(pb.GetServerInfoRequest())
    assert stub.GetStatus(pb.GetStatusRequest()).log_level == "error"
    assert stub.SetLogLevel(pb.SetLogLevelRequest(level="info")).previous == "error"
    daemon.stop()
    methods = [line.get("method", "").rpartition("/")[2] for line in daemon.log()]
    assert "GetServerInfo" not in methods and "GetStatus" not in methods


def test_an_unknown_log_level_is_refused(daemon: Daemon) -> None:
    with pytest.raises(grpc.RpcError) as error:
        rpc.DaemonServiceStub(daemon.channel()).SetLogLevel(pb.SetLogLevelRequest(level="loud"))
    failure = failure_of(error.value)
    assert failure.fields == ["level"]
    assert "debug, info, warning, error" in failure.message


def test_the_log_has_a_line_per_call_and_no_secret(daemon: Daemon) -> None:
    key = "c0ffee" * 6 + "beef"
    stub = rpc.DaemonServiceStub(daemon.channel("notebook/7/a", account="acc-1"))
    stub.GetServerInfo(pb.GetServerInfoRequest())
    _call(daemon.bare_channel(), INFO_METHOD, daemon.metadata(client=f"named-{key}"))
    attached = stub.Attach(pb.AttachRequest(description=f"holds {key} and {daemon.token}"))
    next(attached)
    with pytest.raises(grpc.RpcError):
        stub.SetLogLevel(pb.SetLogLevelRequest(level=key))
    daemon.stop()
    daemon.secrets += [key]
    assert daemon.token not in daemon.log_path.read_text()
    assert daemon.token not in daemon.output
    line = next(line for line in daemon.log() if line.get("method") == INFO_METHOD)
    assert (line["client"], line["account"], line["code"]) == ("notebook/7/a", "acc-1", "OK")
    assert line["ms"] >= 0


def test_cache_flush_and_usage_answer(daemon: Daemon) -> None:
    stub = rpc.DaemonServiceStub(daemon.channel())
    assert stub.FlushCache(pb.FlushCacheRequest()).not_before.seconds > 0
    assert 0 < stub.GetCacheUsage(pb.GetCacheUsageRequest()).limit_bytes <= 5 * 1024**3


def test_health_knows_every_service(daemon: Daemon) -> None:
    stub = health_pb2_grpc.HealthStub(daemon.channel())
    for service in ("", *SERVICES):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_with_reflection_alone_the_daemon_can_be_called(daemon: Daemon, version: str) -> None:
    channel = daemon.channel()
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="runtap.v1.DaemonService"),
    ]
    listing, files = list(ask(iter(requests)))
    assert {service.name for service in listing.list_services_response.service} >= {*SERVICES}

    pool = descriptor_pool.DescriptorPool()
    _add_all(pool, files.file_descriptor_response.file_descriptor_proto)
    method = pool.FindServiceByName("runtap.v1.DaemonService").FindMethodByName("GetServerInfo")
    request, response = (
        message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type)
    )
    call = channel.unary_unary(
        INFO_METHOD, request_serializer=request.SerializeToString, response_deserializer=response.FromString
    )
    assert call(request()).pid == daemon.pid  # type: ignore[attr-defined]


def _add_all(pool: descriptor_pool.DescriptorPool, serialized: Any) -> None:
    """Adds files in the order their imports ask for."""
    waiting = {file.name: file for file in map(descriptor_pb2.FileDescriptorProto.FromString, serialized)}

    def add(name: str) -> None:
        if (file := waiting.pop(name, None)) is not None:
            for dependency in file.dependency:
                add(dependency)
            pool.Add(file)

    for name in list(waiting):
        add(name)
