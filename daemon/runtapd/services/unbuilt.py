"""RPCs of the contract that are not built yet: told from the descriptors, answered with a helpful refusal.

Owns the handler table of a service: one entry per method of its descriptor, the built ones leading to the servicer,
the others to `NotBuilt`. So a method added to a proto file is answered sensibly before anybody writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from runtapd.faults import NotBuilt


def handlers(
    service: ServiceDescriptor, servicer: object | None
) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """A handler for each method of a service, built or not."""
    return {method.name: _handler(method, built_method(servicer, method.name)) for method in service.methods}


def built_method(servicer: object | None, name: str) -> Callable[..., Any] | None:
    """The servicer's own method of that name; the refusals that generated base classes bring do not count."""
    method = getattr(servicer, name, None)
    if method is None or method.__module__.endswith("_pb2_grpc"):
        return None
    return method  # type: ignore[no-any-return]  # getattr is untyped by nature


def serialized(response: Message | bytes) -> bytes:
    """The bytes of an answer; a service may pass on bytes that it keeps serialised."""
    return response if isinstance(response, bytes) else response.SerializeToString()


def _handler(
    method: MethodDescriptor, behaviour: Callable[..., Any] | None
) -> grpc.RpcMethodHandler[Any, Any]:
    shapes: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    if behaviour is None:
        return grpc.stream_stream_rpc_method_handler(_refusal(method))
    return shapes[method.client_streaming, method.server_streaming](
        behaviour,
        request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
        response_serializer=serialized,
    )


def _refusal(method: MethodDescriptor) -> Callable[..., Any]:
    name = f"{method.containing_service.name}.{method.name}"

    # Shaped as a stream both ways, which fits any caller: it answers without reading what was sent.
    async def refuse(requests: object, context: object) -> NoReturn:
        raise NotBuilt(
            f"{name} is part of the contract but not built yet in this version of runtap; "
            f"GetServerInfo lists what this daemon can do",
            metadata={"method": name},
        )

    return refuse
