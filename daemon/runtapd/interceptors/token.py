"""Lets in only calls that carry this daemon's token; nothing is exempt, not even health checks.

The folder's mode keeps other users away from the socket and the token; the token also covers what a mode cannot,
such as a socket forwarded out of a container.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from runtapd.faults import Fault
from runtapd.interceptors.enclosing import Handler, refusing
from runtapd.services.calls import TOKEN_KEY, metadata_value


class TokenCheck(grpc.aio.ServerInterceptor):
    """Compares the token in the metadata with ours."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        given = metadata_value(handler_call_details.invocation_metadata, TOKEN_KEY)
        # In constant time, so that an answer's delay tells nothing about how much of a guess was right.
        if hmac.compare_digest(given.encode(), self._token):
            return await continuation(handler_call_details)
        problem = "is not this daemon's" if given else "is missing"
        return refusing(
            Fault(
                f"the metadata key {TOKEN_KEY!r} {problem}; read the token from the daemon's info file again "
                f"(daemon.json, see `runtap status`): it changes with each start",
                reason="TOKEN_INVALID",
            )
        )
