"""Everything that can go wrong, told apart by what the caller should do. No gRPC here.

    Fault                       carries reason, metadata, and what people read
    ├── InvalidRequest          the caller's bug: names the field and what would be right
    │   └── RequestIdReused     the same request_id came with another request
    ├── NotFound                the thing is not there, or not shown to this account
    ├── NeedsLogin              no key, an unknown account, or a key the server refused
    ├── UpstreamFault           the server's side; retrying later may help
    │   ├── UpstreamUnavailable   not reached, or 5xx until the deadline
    │   ├── UpstreamTimeout       no answer in time
    │   ├── RateLimited           429 for longer than the deadline allows
    │   ├── UpstreamForbidden     403
    │   ├── UpstreamRefused       another 4xx, or GraphQL errors: asking again will not help
    │   └── InvalidAnswer         HTML, truncated, or a field missing
    │       └── AnswerTooLarge      more bytes than were wanted in one piece
    ├── NotInCache              cache_only was asked for
    ├── PreconditionFailed      history rewritten, write conflict, write in the wrong state
    ├── Busy                    this client has too much open
    ├── DiskFull                nothing was recorded
    ├── DeadlineExceeded        the call's time ran out inside the daemon
    ├── Draining                the daemon is ending
    └── NotBuilt                an RPC of the contract that is not implemented yet

`services/status.py` holds the one table from here to status codes; `reason` is a name of `ErrorReason` in
`proto/runtap/v1/errors.proto`, without its prefix.
"""

from __future__ import annotations

from collections.abc import Mapping


class Fault(Exception):
    """Something went wrong in a way we understand. The message is for people and never holds a secret."""

    reason = "INTERNAL_ERROR"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.reason
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s
        """When asking again may help, in seconds from now."""
        self.field = field
        """The request field at fault, for InvalidRequest."""


class InvalidRequest(Fault):
    """A field of the request cannot be understood."""

    reason = "INVALID_FIELD"


class RequestIdReused(InvalidRequest):
    """The same request_id was used before with another request."""

    reason = "REQUEST_ID_REUSED"


class NotFound(Fault):
    """The thing is not there; the reason says what kind of thing."""

    reason = "RUN_NOT_FOUND"


class NeedsLogin(Fault):
    """There is no usable key: NO_API_KEY, API_KEY_MALFORMED, API_KEY_REJECTED or ACCOUNT_UNKNOWN."""

    reason = "NO_API_KEY"


class UpstreamFault(Fault):
    """The server's side; metadata may hold `http_status`, `server` and `body`."""

    reason = "UPSTREAM_UNAVAILABLE"


class UpstreamUnavailable(UpstreamFault):
    """The server was not reached, or kept failing."""


class UpstreamTimeout(UpstreamFault):
    """The server did not answer in time."""

    reason = "UPSTREAM_TIMEOUT"


class RateLimited(UpstreamFault):
    """The server asks to wait longer than the deadline allows."""

    reason = "RATE_LIMITED"


class UpstreamForbidden(UpstreamFault):
    """The server does not allow it."""

    reason = "UPSTREAM_FORBIDDEN"


class UpstreamRefused(UpstreamFault):
    """The server understood and refused; asking again will not help."""

    reason = "UPSTREAM_REFUSED"


class InvalidAnswer(UpstreamFault):
    """The server's answer cannot be understood."""

    reason = "UPSTREAM_INVALID_ANSWER"


class AnswerTooLarge(InvalidAnswer):
    """The server's answer has more bytes than were wanted in one piece; smaller pieces may be asked for."""


class NotInCache(Fault):
    """The caller wanted cached data only, and there is none."""

    reason = "NOT_IN_CACHE"


class PreconditionFailed(Fault):
    """HISTORY_REWRITTEN, WRITE_CONFLICT, WRITE_NOT_HONOURED, WRITE_REFUSED or WRITE_STATE."""

    reason = "WRITE_CONFLICT"


class Busy(Fault):
    """This client has too much open; retry_after_s says when to try again."""

    reason = "CLIENT_LIMIT"


class DiskFull(Fault):
    """The disk is full; nothing was recorded."""

    reason = "DISK_FULL"


class DeadlineExceeded(Fault):
    """The call's time ran out inside the daemon."""

    reason = "DEADLINE_EXCEEDED"


class Draining(Fault):
    """The daemon is ending; connect again."""

    reason = "DAEMON_DRAINING"


class NotBuilt(Fault):
    """An RPC of the contract that is not implemented yet."""

    reason = "NOT_IMPLEMENTED"
