"""Lets calls in while the daemon serves, and only so many per client; keeps the ledger of what is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from runtapd.interceptors.enclosing import Handler, enclosed
from runtapd.life import Life, draining_fault
from runtapd.services.calls import CLIENT_KEY, metadata_value

# Looking at the daemon is not using it: a monitor must not keep it alive.
PASSIVE_METHODS = frozenset(
    {"/runtap.v1.DaemonService/GetStatus", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"}
)


class Admission(grpc.aio.ServerInterceptor):
    """Asks `Life` for every call, and tells it when the call is over."""

    def __init__(self, life: Life) -> None:
        self._life = life

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        client = metadata_value(handler_call_details.invocation_metadata, CLIENT_KEY)
        method = handler_call_details.method
        streaming = handler.request_streaming or handler.response_streaming
        return enclosed(handler, lambda _: self._admitted(client, method, streaming))

    @asynccontextmanager
    async def _admitted(self, client: str, method: str, streaming: bool) -> AsyncIterator[None]:
        call = self._life.admit(client, method, streaming=streaming, passive=method in PASSIVE_METHODS)
        call.task = asyncio.current_task()
        failed = True
        try:
            yield
            failed = False
        except asyncio.CancelledError:
            if call.cut_off:
                raise draining_fault() from None
            raise
        finally:
            self._life.ledger.leave(call, failed=failed)
