"""Reads the rich status of a failed call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status


@dataclass
class Failure:
    """What a caller learns from an error."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    fields: list[str] = field(default_factory=list)


def failure_of(error: grpc.RpcError) -> Failure:
    """The failure that a call ended with, details included."""
    call: Any = error  # every RpcError of a call is also a Call, which the stubs do not know
    failure = Failure(call.code(), call.details() or "")
    status = rpc_status.from_call(call)
    for detail in status.details if status else ():
        info, retry, bad = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.RetryInfo(),
            error_details_pb2.BadRequest(),
        )
        if detail.Unpack(info):
            assert info.domain == "runtap"
            failure.reason, failure.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            failure.retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
        elif detail.Unpack(bad):
            failure.fields = [violation.field for violation in bad.field_violations]
    return failure
