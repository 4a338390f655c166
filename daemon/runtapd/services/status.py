"""The one table from faults to gRPC status codes, and the rich status built from a fault.

Owns nothing else: which reason a fault carries is decided where it is raised, and `proto/runtap/v1/errors.proto`
describes every reason. Texts are cut, because a status travels in HTTP/2 headers,
of which most clients take 8 KiB: there the message stands twice, in forms up to three times as long.
"""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]

from runtapd.faults import Fault

DOMAIN = "runtap"
_MESSAGE_BYTES = 900
_DESCRIPTION_BYTES = 300
_METADATA_BYTES = 1500

CODES: dict[str, grpc.StatusCode] = {
    "TOKEN_INVALID": grpc.StatusCode.UNAUTHENTICATED,
    "DAEMON_DRAINING": grpc.StatusCode.UNAVAILABLE,
    "INTERNAL_ERROR": grpc.StatusCode.INTERNAL,
    "NOT_IMPLEMENTED": grpc.StatusCode.UNIMPLEMENTED,
    "CLIENT_LIMIT": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DISK_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "DAEMON_NOT_IDLE": grpc.StatusCode.FAILED_PRECONDITION,
    "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_PATH": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_FILTER": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_ORDER": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_PAGE_TOKEN": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_RESUME_TOKEN": grpc.StatusCode.INVALID_ARGUMENT,
    "REQUEST_ID_REUSED": grpc.StatusCode.INVALID_ARGUMENT,
    "NO_API_KEY": grpc.StatusCode.FAILED_PRECONDITION,
    "API_KEY_MALFORMED": grpc.StatusCode.INVALID_ARGUMENT,
    "API_KEY_REJECTED": grpc.StatusCode.PERMISSION_DENIED,
    "ACCOUNT_UNKNOWN": grpc.StatusCode.FAILED_PRECONDITION,
    "RUN_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "PROJECT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "SWEEP_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "FILE_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "WRITE_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "DOCUMENT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "UPSTREAM_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "UPSTREAM_TIMEOUT": grpc.StatusCode.DEADLINE_EXCEEDED,
    "RATE_LIMITED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "UPSTREAM_FORBIDDEN": grpc.StatusCode.PERMISSION_DENIED,
    "UPSTREAM_REFUSED": grpc.StatusCode.FAILED_PRECONDITION,
    "UPSTREAM_INVALID_ANSWER": grpc.StatusCode.UNAVAILABLE,
    "NOT_IN_CACHE": grpc.StatusCode.FAILED_PRECONDITION,
    "HISTORY_REWRITTEN": grpc.StatusCode.FAILED_PRECONDITION,
    "WRITE_CONFLICT": grpc.StatusCode.ABORTED,
    "WRITE_NOT_HONOURED": grpc.StatusCode.FAILED_PRECONDITION,
    "WRITE_REFUSED": grpc.StatusCode.FAILED_PRECONDITION,
    "WRITE_STATE": grpc.StatusCode.FAILED_PRECONDITION,
}


def code_of(fault: Fault) -> grpc.StatusCode:
    """The status code a fault travels under."""
    return CODES[fault.reason]


def brief(fault: Fault) -> tuple[int, str]:
    """The number of a fault's status code, and its message: what an item that failed alone carries."""
    return code_of(fault).value[0], _cut(fault.message, _MESSAGE_BYTES)


def rich_status(fault: Fault) -> status_pb2.Status:
    """The fault as google.rpc.Status; also what an item that failed alone carries inside an answer."""
    details = [_error_info(fault)]
    if fault.retry_after_s is not None:
        details.append(_retry_info(fault.retry_after_s))
    if fault.field is not None:
        details.append(_bad_request(fault.field, fault.message))
    return status_pb2.Status(
        code=code_pb2.Code.Value(code_of(fault).name),
        message=_cut(fault.message, _MESSAGE_BYTES),
        details=details,
    )


def _error_info(fault: Fault) -> any_pb2.Any:
    info = error_details_pb2.ErrorInfo(reason=fault.reason, domain=DOMAIN)
    room = _METADATA_BYTES
    for key, value in fault.metadata.items():
        room -= len(key)
        if room > 0:
            info.metadata[key] = _cut(value, room)
            room -= len(info.metadata[key].encode())
    return _packed(info)


def _retry_info(seconds: float) -> any_pb2.Any:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromNanoseconds(int(max(0.0, seconds) * 1e9))
    return _packed(info)


def _bad_request(field: str, description: str) -> any_pb2.Any:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=field, description=_cut(description, _DESCRIPTION_BYTES)
    )
    return _packed(error_details_pb2.BadRequest(field_violations=[violation]))


def _packed(
    detail: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo | error_details_pb2.BadRequest,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _cut(text: str, most_bytes: int) -> str:
    data = text.encode()
    return text if len(data) <= most_bytes else data[: max(0, most_bytes - 3)].decode(errors="ignore") + "…"
