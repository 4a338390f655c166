"""What a call brings along beside its request: who asks, on whose account, and until when.

Owns the names of the metadata keys. Does not check the token: that is done before a service sees the call.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from grpc.aio import ServicerContext

TOKEN_KEY = "runtap-token"
ACCOUNT_KEY = "runtap-account"
CLIENT_KEY = "runtap-client"
DEFAULT_DEADLINE_S = 30.0


@dataclass(frozen=True)
class Call:
    """One call as a service sees it."""

    account_id: str
    """The account it is for; empty means the default one."""
    client: str
    """Who calls, as name/pid/nonce; empty if it did not say."""
    deadline_at: float | None
    """When its time is up, on the monotonic clock; None: never."""

    @classmethod
    def of(cls, context: ServicerContext[Any, Any], *, streaming: bool = False) -> Call:
        """Reads the call's metadata. Without a deadline of its own a unary call gets 30 s, a stream none."""
        metadata = context.invocation_metadata()
        left = _time_left(context)
        if left is None and not streaming:
            left = DEFAULT_DEADLINE_S
        return cls(
            account_id=metadata_value(metadata, ACCOUNT_KEY),
            client=metadata_value(metadata, CLIENT_KEY),
            deadline_at=None if left is None else time.monotonic() + left,
        )

    @property
    def deadline_s(self) -> float | None:
        """Seconds left at the moment this is read, never below 0; None without a deadline."""
        return None if self.deadline_at is None else max(0.0, self.deadline_at - time.monotonic())

    def remaining(self) -> float | None:
        """The same as `deadline_s`, for callers that want a function to ask again and again."""
        return self.deadline_s


def _time_left(context: Any) -> float | None:
    # Untyped on purpose: the stubs promise a float, but without a deadline there is None.
    left: float | None = context.time_remaining()
    return left


def metadata_value(metadata: Iterable[tuple[str, str | bytes]] | None, key: str) -> str:
    """The last value of a text key in a call's metadata; empty when it is not there."""
    found = ""
    for name, value in metadata or ():
        if name == key and isinstance(value, str):
            found = value
    return found
