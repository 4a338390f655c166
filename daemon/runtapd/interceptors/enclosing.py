"""Runs any gRPC handler inside an async context manager, whatever its shape.

Owns the four shapes (unary or streaming, each way) and the two ways a servicer may stream (generator, or
`context.write`), and decodes requests inside the enclosure, so that undecodable bytes become an ordinary fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from runtapd.faults import Fault, InvalidRequest

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic in the stubs only
Enclosure = Callable[[Context], AbstractAsyncContextManager[None]]


def enclosed(handler: Handler, enclosure: Enclosure) -> Handler:
    """The handler with each of its calls inside the enclosure."""
    behaviour = _behaviour(handler)
    decode = _decode_all if handler.request_streaming else _decode

    async def unary(request: Any, context: Context) -> Any:
        async with enclosure(context):
            return await behaviour(decode(handler, request), context)

    async def stream(request: Any, context: Context) -> None:
        async with enclosure(context):
            answer = behaviour(decode(handler, request), context)
            if isinstance(answer, AsyncGenerator):
                await _write_all(answer, context)
            else:
                await answer

    return _shape(handler)(
        stream if handler.response_streaming else unary,
        request_deserializer=None,
        response_serializer=handler.response_serializer,
    )


def refusing(fault: Fault) -> Handler:
    """A handler that raises the fault. A stream both ways fits any caller: it answers without reading."""

    async def refuse(requests: object, context: object) -> None:
        raise fault

    return grpc.stream_stream_rpc_method_handler(refuse)


async def _write_all(messages: AsyncGenerator[Any, None], context: Context) -> None:
    # Closed explicitly: a generator that is cut short must let go of what it holds now, not when it is collected.
    async with aclosing(messages) as open_messages:
        async for message in open_messages:
            try:
                await context.write(message)
            except grpc.aio.InternalError as error:
                # A write that was blocked when the caller left ends so instead of being cancelled.
                raise asyncio.CancelledError from error


def _behaviour(handler: Handler) -> Callable[..., Any]:
    found: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return found  # type: ignore[no-any-return]


def _shape(handler: Handler) -> Callable[..., Handler]:
    if handler.request_streaming:
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler
        return grpc.stream_unary_rpc_method_handler
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler
    return grpc.unary_unary_rpc_method_handler


def _decode(handler: Handler, data: Any) -> Any:
    if handler.request_deserializer is None:
        return data
    try:
        return handler.request_deserializer(data)
    except DecodeError as error:
        raise InvalidRequest(
            "the request's bytes are not a message of the type this method takes; "
            "generate the stubs anew from proto/runtap/v1",
            field="",
        ) from error


async def _decode_all(handler: Handler, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for data in messages:
        yield _decode(handler, data)
