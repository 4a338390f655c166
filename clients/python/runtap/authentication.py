"""A channel that adds token, client name and account to every call. Imports grpc: import it inside functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import grpc


class _Details(NamedTuple):
    """What gRPC wants to know of an intercepted call."""

    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]]
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Authentication(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Puts the pairs in front of whatever metadata the caller gives."""

    def __init__(self, pairs: Sequence[tuple[str, str | bytes]]) -> None:
        self._pairs = tuple(pairs)

    def _intercept(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(
            _Details(
                details.method,
                details.timeout,
                (*self._pairs, *(details.metadata or ())),
                details.credentials,
                getattr(details, "wait_for_ready", None),
                getattr(details, "compression", None),
            ),
            request,
        )

    # One body for all four kinds: only metadata is touched, whatever goes in and out.
    intercept_unary_unary = _intercept  # type: ignore[assignment]
    intercept_unary_stream = _intercept  # type: ignore[assignment]
    intercept_stream_unary = _intercept  # type: ignore[assignment]
    intercept_stream_stream = _intercept  # type: ignore[assignment]


def authenticated(channel: grpc.Channel, pairs: Sequence[tuple[str, str | bytes]]) -> grpc.Channel:
    """Wraps a channel; closing the result closes the channel."""
    return grpc.intercept_channel(channel, _Authentication(pairs))
