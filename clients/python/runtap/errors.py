"""Every exception of the client, told apart by what the caller should do, and the one table back from gRPC.

    Error                          base of all
    └── CommError                  something went wrong with the daemon or the server; `.message`, `.exc`, `.reason`
        ├── UsageError             no key, or no account: log in, or name one
        ├── AuthenticationError    the key cannot be one, or the server refused it: another key
        ├── NotFoundError          not there, or not shown to this account: project, sweep, ...; also a ValueError
        │   └── RunNotFoundError   the same for a run
        ├── InvalidRequestError    the request is wrong and says where; also a ValueError
        │   └── UnsupportedError   neither runtap nor the server does that; the message says what to do instead
        ├── RateLimitError         too much at once: wait `.retry_after_s`
        ├── UpstreamTimeoutError   no answer in time; also a TimeoutError
        ├── NotInCacheError        only cached data was wanted, and there is none
        ├── ConflictError          a precondition does not hold; nothing was sent
        ├── NotHonouredError       the server took the write but keeps something else
        ├── WriteRefusedError      the server refused the write for good
        ├── WriteQueued            saved on this machine, not on the server yet; `.write_id`, `.cause`
        ├── IncompleteError        some items could not be read; `.errors`, `.partial`
        └── DaemonError            trouble with the daemon itself
            └── NotRunningError    none runs, and none may be started
    ConflictWarning                somebody else had changed what was just overwritten
    StaleWarning                   the answer is older than was asked for

`.exc` is the original error in a form that pickles: an `UpstreamHTTPError`, a `TimeoutError`, a `ConnectionError`, a
`ValueError`, or None. The gRPC error is `__cause__`. Importing this module imports no grpc.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc

__all__ = [
    "AuthenticationError",
    "CommError",
    "ConflictError",
    "ConflictWarning",
    "DaemonError",
    "Error",
    "IncompleteError",
    "InvalidRequestError",
    "NotFoundError",
    "NotHonouredError",
    "NotInCacheError",
    "NotRunningError",
    "RateLimitError",
    "RunNotFoundError",
    "StaleWarning",
    "UnsupportedError",
    "UpstreamHTTPError",
    "UpstreamResponse",
    "UpstreamTimeoutError",
    "UsageError",
    "WriteQueued",
    "WriteRefusedError",
    "from_fault",
    "from_rpc",
]


class Error(Exception):
    """Base of every exception runtap raises. `message` is for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class CommError(Error):
    """Something went wrong between this program and the server."""

    def __init__(
        self,
        message: str,
        exc: BaseException | None = None,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.exc = exc
        self.reason = reason
        """A name of `ErrorReason` in errors.proto without its prefix, for programs; empty when there is none."""
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s
        """When trying again may help, in seconds; None when nobody said."""


class UsageError(CommError):
    """There is no key or no account to act as."""


class AuthenticationError(CommError):
    """The key cannot be one, or the server refused it."""


class NotFoundError(CommError, ValueError):
    """What was asked for is not there, or not shown to this account."""


class RunNotFoundError(NotFoundError):
    """The run is not there, or not shown to this account."""


class InvalidRequestError(CommError, ValueError):
    """The request is wrong; the message names the place and what would be right."""


class UnsupportedError(InvalidRequestError):
    """Neither runtap nor the server does that; the message says what to do instead."""


class DaemonError(CommError):
    """The daemon could not be found, started or understood."""


class NotRunningError(DaemonError):
    """No daemon runs, and none may be started."""


class RateLimitError(CommError):
    """Too much at once."""


class UpstreamTimeoutError(CommError, TimeoutError):
    """No answer in time."""


class ConflictError(CommError):
    """A precondition does not hold; nothing was sent."""


class NotHonouredError(CommError):
    """The server took the write but keeps something else; the message names the keys."""


class WriteRefusedError(CommError):
    """The server refused the write for good."""


class NotInCacheError(CommError):
    """Only cached data was wanted, and there is none."""


class WriteQueued(CommError):
    """The write is safe on this machine and not on the server yet; it goes on without the caller."""

    def __init__(self, message: str, *, write_id: str = "", cause: str = "", **details: Any) -> None:
        super().__init__(message, **details)
        self.write_id = write_id
        self.cause = cause
        """What keeps it, for people; empty when it only takes its time."""


class IncompleteError(CommError):
    """Everything that could be read was delivered; `errors` says what is missing and why."""

    def __init__(
        self, message: str, errors: Sequence[CommError] = (), *, partial: Any = None, **details: Any
    ) -> None:
        super().__init__(message, **details)
        self.errors = list(errors)
        self.partial = partial
        """What could be read, of a call that returns everything at once; None where it was delivered before."""


class ConflictWarning(UserWarning):
    """Somebody else had changed what was just overwritten."""


class StaleWarning(UserWarning):
    """The answer is older than was asked for, because the server could not be reached."""


@dataclass(frozen=True)
class UpstreamResponse:
    """What the server answered, named as in `requests`."""

    status_code: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


class UpstreamHTTPError(Exception):
    """The server answered with an error status; shaped like `requests.HTTPError`, and picklable."""

    def __init__(self, response: UpstreamResponse) -> None:
        super().__init__(response)
        self.response = response
        self.status_code = response.status_code

    def __str__(self) -> str:
        place = f" from {self.response.url}" if self.response.url else ""
        return f"HTTP {self.status_code}{place}"


@dataclass(frozen=True)
class Fault:
    """What an RPC or one item of its answer failed with, freed from gRPC."""

    code: str
    """The name of the status code, such as `NOT_FOUND`."""
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None


BY_REASON: Mapping[str, type[CommError]] = {
    "UNSPECIFIED": CommError,
    "TOKEN_INVALID": DaemonError,
    "DAEMON_DRAINING": DaemonError,
    "DAEMON_NOT_IDLE": DaemonError,
    "INTERNAL_ERROR": DaemonError,
    "NOT_IMPLEMENTED": DaemonError,
    "CLIENT_LIMIT": RateLimitError,
    "DISK_FULL": DaemonError,
    "DEADLINE_EXCEEDED": UpstreamTimeoutError,
    "INVALID_FIELD": InvalidRequestError,
    "INVALID_PATH": InvalidRequestError,
    "INVALID_FILTER": InvalidRequestError,
    "INVALID_ORDER": InvalidRequestError,
    "INVALID_PAGE_TOKEN": InvalidRequestError,
    "INVALID_RESUME_TOKEN": InvalidRequestError,
    "REQUEST_ID_REUSED": InvalidRequestError,
    "NO_API_KEY": UsageError,
    "API_KEY_MALFORMED": AuthenticationError,
    "API_KEY_REJECTED": AuthenticationError,
    "ACCOUNT_UNKNOWN": UsageError,
    "RUN_NOT_FOUND": RunNotFoundError,
    "PROJECT_NOT_FOUND": NotFoundError,
    "SWEEP_NOT_FOUND": NotFoundError,
    "FILE_NOT_FOUND": NotFoundError,
    "WRITE_NOT_FOUND": NotFoundError,
    "DOCUMENT_NOT_FOUND": NotFoundError,
    "UPSTREAM_UNAVAILABLE": CommError,
    "UPSTREAM_TIMEOUT": UpstreamTimeoutError,
    "RATE_LIMITED": RateLimitError,
    "UPSTREAM_FORBIDDEN": CommError,
    "UPSTREAM_REFUSED": CommError,
    "UPSTREAM_INVALID_ANSWER": CommError,
    "NOT_IN_CACHE": NotInCacheError,
    "HISTORY_REWRITTEN": CommError,
    "WRITE_CONFLICT": ConflictError,
    "WRITE_NOT_HONOURED": NotHonouredError,
    "WRITE_REFUSED": WriteRefusedError,
    "WRITE_STATE": CommError,
}
"""The one table from `ErrorReason` to exceptions; tests/client/test_errors.py holds it complete."""

BY_CODE: Mapping[str, type[CommError]] = {
    "CANCELLED": CommError,
    "INVALID_ARGUMENT": InvalidRequestError,
    "OUT_OF_RANGE": InvalidRequestError,
    "DEADLINE_EXCEEDED": UpstreamTimeoutError,
    "NOT_FOUND": NotFoundError,
    "PERMISSION_DENIED": AuthenticationError,
    "ABORTED": ConflictError,
    "RESOURCE_EXHAUSTED": RateLimitError,
    "UNAUTHENTICATED": DaemonError,
    "UNAVAILABLE": DaemonError,
    "UNIMPLEMENTED": DaemonError,
    "INTERNAL": DaemonError,
    "UNKNOWN": DaemonError,
    "DATA_LOSS": DaemonError,
}
"""For reasons of a newer daemon, and for errors that gRPC makes itself."""

_GRPC_SAYS = {
    "UNAVAILABLE": "the daemon went away during {method}; call again, or see `runtap status`",
    "UNIMPLEMENTED": "the daemon does not know {method}, it is older than this client: run `runtap restart`",
    "DEADLINE_EXCEEDED": "{method} got no answer within its deadline; give it more time, or see `runtap status`",
    "CANCELLED": "{method} was cancelled",
}


def from_rpc(error: grpc.RpcError, method: str = "the call") -> CommError:
    """Translates what a stub raised. Raise the result `from error`."""
    return from_fault(fault_of(error, method))


def from_fault(fault: Fault) -> CommError:
    """Makes the exception for a fault; also for the errors of single items."""
    kind = BY_REASON.get(fault.reason) or BY_CODE.get(fault.code, CommError)
    return kind(
        fault.message,
        _original(kind, fault),
        reason=fault.reason,
        metadata=fault.metadata,
        retry_after_s=fault.retry_after_s,
    )


def fault_of(error: grpc.RpcError, method: str = "the call") -> Fault:
    """Reads status and details of an RPC error."""
    code = error.code().name
    words = error.details() or code
    details = _rich_details(error)
    if details is None and code == "RESOURCE_EXHAUSTED":
        return _of_grpc_limits(words, method)
    if details is None:
        template = _GRPC_SAYS.get(code)
        text = f"{template.format(method=method)} ({words})" if template else f"{method}: {words}"
        return Fault(code=code, message=text)
    reason, metadata, retry_after_s = details
    return Fault(code=code, message=words, reason=reason, metadata=metadata, retry_after_s=retry_after_s)


def _of_grpc_limits(words: str, method: str) -> Fault:
    """What gRPC makes itself when a message is too large, or when it has no room; nobody called too often."""
    if "larger than max" in words:
        return Fault("INVALID_ARGUMENT", f"{method}: one message cannot be as large as that ({words})")
    return Fault("INTERNAL", f"{method}: no room left between this program and the daemon ({words})")


def _rich_details(error: grpc.RpcError) -> tuple[str, dict[str, str], float | None] | None:
    """Returns reason, metadata and retry delay of our own errors; None for what gRPC made itself."""
    trailers: Any = error.trailing_metadata() or ()
    packed = next((value for key, value in trailers if key == "grpc-status-details-bin"), None)
    if packed is None:
        return None
    from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

    status = status_pb2.Status.FromString(packed)
    info, retry, bad = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
    )
    for detail in status.details:
        for message in (info, retry, bad):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    if info.domain != "runtap":
        return None
    metadata = dict(info.metadata)
    if bad.field_violations:
        metadata.setdefault("field", bad.field_violations[0].field)
    delay = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    return info.reason, metadata, delay


def _original(kind: type[CommError], fault: Fault) -> Exception | None:
    """The error behind the error, in a form that pickles."""
    status = fault.metadata.get("http_status", "")
    if status.isdecimal():
        headers = {"Retry-After": f"{fault.retry_after_s:g}"} if fault.retry_after_s is not None else {}
        text = fault.metadata.get("body", fault.message)
        return UpstreamHTTPError(
            UpstreamResponse(int(status), text, headers, fault.metadata.get("server", ""))
        )
    if issubclass(kind, TimeoutError):
        return TimeoutError(fault.message)
    if issubclass(kind, ValueError):
        return ValueError(fault.message)
    if fault.code == "UNAVAILABLE":
        return ConnectionError(fault.message)
    return None


def _rebuild(kind: type[Error], args: tuple[Any, ...], state: dict[str, Any]) -> Error:
    """Unpickles: every class here restores without knowing its own constructor."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
