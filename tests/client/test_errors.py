"""The table from the daemon's reasons to exceptions, and what callers may rely on in each of them."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from runtap import errors
from runtap.v1 import errors_pb2

PREFIX = "ERROR_REASON_"
ALL_ERRORS = [
    kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, errors.CommError)
]


def test_every_reason_of_the_contract_has_its_row_and_no_row_is_stale() -> None:
    assert {name.removeprefix(PREFIX) for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name} == set(
        errors.BY_REASON
    )


def test_every_status_code_but_ok_has_its_row() -> None:
    missing = {code.name for code in grpc.StatusCode} - set(errors.BY_CODE) - {"OK"}
    # These two tell of a state, never of trouble with a place of their own.
    assert missing == {"FAILED_PRECONDITION", "ALREADY_EXISTS"}


@pytest.mark.parametrize("reason", sorted(errors.BY_REASON))
def test_each_reason_keeps_what_it_carries_through_pickle(reason: str) -> None:
    fault = errors.Fault("UNAVAILABLE", "what happened", reason, {"http_status": "503", "server": "s"}, 2.0)
    made = errors.from_fault(fault)
    for error in (made, pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert type(error) is errors.BY_REASON[reason]
        assert (str(error), error.message, error.reason) == ("what happened", "what happened", reason)
        assert error.metadata == {"http_status": "503", "server": "s"}
        assert error.retry_after_s == 2.0
        assert isinstance(error.exc, errors.UpstreamHTTPError)
        assert error.exc.response.headers == {"Retry-After": "2"}
        assert error.exc.status_code == error.exc.response.status_code == 503


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_each_class_is_raised_with_a_message_alone_and_pickles(kind: type[errors.CommError]) -> None:
    error = pickle.loads(pickle.dumps(kind("text")))
    assert type(error) is kind
    assert error.message == str(error) == error.args[0] == "text"
    assert error.exc is None


def test_the_promised_builtins_catch_them() -> None:
    assert issubclass(errors.NotFoundError, ValueError)
    assert issubclass(errors.RunNotFoundError, errors.NotFoundError)
    assert issubclass(errors.InvalidRequestError, ValueError)
    assert issubclass(errors.UpstreamTimeoutError, TimeoutError)


def test_what_a_queued_write_and_an_incomplete_answer_know_is_pickled() -> None:
    queued = pickle.loads(pickle.dumps(errors.WriteQueued("later", write_id="w1", cause="429")))
    assert (queued.write_id, queued.cause) == ("w1", "429")
    lost = errors.IncompleteError("3 of 4", [errors.RunNotFoundError("gone")])
    assert [str(error) for error in pickle.loads(pickle.dumps(lost)).errors] == ["gone"]


@pytest.mark.parametrize(
    ("code", "reason", "metadata", "expected"),
    [
        ("DEADLINE_EXCEEDED", "UPSTREAM_TIMEOUT", {}, TimeoutError),
        ("NOT_FOUND", "RUN_NOT_FOUND", {}, ValueError),
        ("INVALID_ARGUMENT", "INVALID_FILTER", {}, ValueError),
        ("UNAVAILABLE", "UPSTREAM_UNAVAILABLE", {}, ConnectionError),
        ("PERMISSION_DENIED", "UPSTREAM_FORBIDDEN", {"http_status": "403"}, errors.UpstreamHTTPError),
        ("FAILED_PRECONDITION", "NOT_IN_CACHE", {}, type(None)),
    ],
)
def test_the_original_error(code: str, reason: str, metadata: dict[str, str], expected: type) -> None:
    assert isinstance(errors.from_fault(errors.Fault(code, "m", reason, metadata)).exc, expected)


def test_a_reason_of_a_newer_daemon_goes_by_its_status_code() -> None:
    error = errors.from_fault(errors.Fault("NOT_FOUND", "m", "PLANET_NOT_FOUND"))
    assert type(error) is errors.NotFoundError
    assert error.reason == "PLANET_NOT_FOUND"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Received message larger than max (20971612 vs. 16777216)", errors.InvalidRequestError),
        ("Bandwidth exhausted", errors.DaemonError),
    ],
)
def test_grpcs_own_limits_are_no_rate_limit(words: str, kind: type) -> None:
    class Limited(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.RESOURCE_EXHAUSTED

        def details(self) -> str:
            return words

        def trailing_metadata(self) -> tuple[()]:
            return ()

    error = errors.from_rpc(Limited(), "ListRuns")
    assert type(error) is kind
    assert words in error.message


def test_importing_the_errors_imports_no_grpc() -> None:
    code = "import sys, runtap.errors; sys.exit('grpc' in sys.modules or 'google' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- through a real socket


def rich_status() -> status_pb2.Status:
    """An error as the daemon makes it."""
    status = status_pb2.Status(
        code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message="order: no column `lr`"
    )
    for detail in (
        error_details_pb2.ErrorInfo(domain="runtap", reason="INVALID_ORDER", metadata={"column": "lr"}),
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)),
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field="order", description="no column")
            ]
        ),
    ):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def refuse(request: bytes, context: grpc.ServicerContext) -> NoReturn:
    context.abort_with_status(rpc_status.to_status(rich_status()))


def fall_over(request: bytes, context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.INTERNAL, "plain words")


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[grpc.Channel]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    handlers: dict[str, Any] = {
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        "FallOver": grpc.unary_unary_rpc_method_handler(fall_over),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Errors", handlers),))
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    with grpc.insecure_channel(f"unix:{tmp_path}/s") as opened:
        yield opened
    server.stop(None).wait()


def error_of(channel: Any, method: str) -> errors.CommError:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/test.Errors/{method}")(b"", timeout=10)
    return errors.from_rpc(caught.value, f"errors.{method}")


def test_a_rich_error_is_read_whole(channel: grpc.Channel) -> None:
    error = error_of(channel, "Refuse")
    assert type(error) is errors.InvalidRequestError
    assert error.message == "order: no column `lr`"
    assert error.reason == "INVALID_ORDER"
    assert error.metadata == {"column": "lr", "field": "order"}
    assert error.retry_after_s == 1.5


def test_what_grpc_says_itself_names_the_call_and_the_cure(channel: grpc.Channel) -> None:
    plain = error_of(channel, "FallOver")
    assert type(plain) is errors.DaemonError
    assert plain.message == "errors.FallOver: plain words"
    unknown = error_of(channel, "Newest")
    assert type(unknown) is errors.DaemonError
    assert "errors.Newest" in unknown.message
    assert "runtap restart" in unknown.message
