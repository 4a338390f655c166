"""The gRPC server: binds the socket, registers every service of the contract, says whether it serves, stops.

Owns gRPC's options. Knows no service by name beyond the contract's list: which methods are built is read from the
servicers, the rest of the contract answers that it is not built yet. Health and reflection stand beside them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from runtap.v1 import (
    accounts_pb2,
    daemon_pb2,
    files_pb2,
    history_pb2,
    projects_pb2,
    runs_pb2,
    sweeps_pb2,
    writes_pb2,
)
from runtapd.services import unbuilt
from runtapd.starting import StartFailure

_CONTRACT = (
    accounts_pb2, daemon_pb2, files_pb2, history_pb2, projects_pb2, runs_pb2, sweeps_pb2, writes_pb2,
)  # fmt: skip
SERVICES: dict[str, ServiceDescriptor] = {
    service.full_name: service for file in _CONTRACT for service in file.DESCRIPTOR.services_by_name.values()
}
MAX_MESSAGE_BYTES = 16 * 1024**2
_MOST_CALLS = 4096
# The same messages under both names: v1 is what today's tools ask first.
_REFLECTION_NAMES = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")
_OPTIONS = (
    # Without this a second server may bind the same address and take the calls meant for the first.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A caller whose machine sleeps, or that was frozen, is noticed within two minutes.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 60_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)


class Server:
    """One server on one Unix socket."""

    def __init__(
        self,
        socket_path: Path,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        services: Sequence[tuple[str, object]],
    ) -> None:
        self._path = socket_path
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=interceptors, options=_OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS
        )
        self._register(dict(services))

    async def start(self) -> None:
        """Binds and serves; returns once the socket answers. StartFailure says why it cannot."""
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        old_umask = os.umask(0o177)  # the socket appears with mode 0600, not a moment later
        try:
            self._server.add_insecure_port(f"unix:{self._path}")
        except RuntimeError as error:
            raise StartFailure("socket", f"cannot bind the socket {self._path}: {error}") from error
        finally:
            os.umask(old_umask)
        await self._server.start()
        await self._check_that_it_answers()
        for name in ("", *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def say_not_serving(self) -> None:
        """From now on health checks are told to go elsewhere."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Closes the socket and ends what is still open after the grace."""
        await self._server.stop(grace_s)

    def _register(self, servicers: dict[str, object]) -> None:
        if unknown := servicers.keys() - SERVICES.keys():
            raise ValueError(f"not services of the contract: {', '.join(sorted(unknown))}")
        for name, service in SERVICES.items():
            self._add(name, unbuilt.handlers(service, servicers.get(name)))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, *_REFLECTION_NAMES)
        servicer = reflection.aio.ReflectionServicer(names)
        handler = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        for name in _REFLECTION_NAMES:
            self._add(name, {"ServerReflectionInfo": handler})

    def _add(self, service: str, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

    async def _check_that_it_answers(self) -> None:
        try:
            _, writer = await asyncio.open_unix_connection(self._path)
        except OSError as error:
            raise StartFailure("socket", f"the socket {self._path} does not answer: {error}") from error
        writer.close()
