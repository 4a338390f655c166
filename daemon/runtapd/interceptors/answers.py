"""Turns whatever goes wrong in a call into a status a program can act on, and logs one line per call.

A `Fault` becomes its rich status. Anything else is our bug: the caller learns an id, the log has the rest. A call that
its caller gave up stays cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import grpc.aio
from grpc_status import rpc_status

from runtapd.faults import Fault, NotBuilt
from runtapd.interceptors.enclosing import Context, Handler, enclosed, refusing
from runtapd.services.calls import ACCOUNT_KEY, CLIENT_KEY, metadata_value
from runtapd.services.status import code_of, rich_status

access_log = logging.getLogger("runtapd.access")
log = logging.getLogger(__name__)


class Answers(grpc.aio.ServerInterceptor):
    """The outermost enclosure of every call."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None:
            handler = refusing(NotBuilt(f"this daemon has no method {method}", metadata={"method": method}))
        return enclosed(handler, lambda context: _answered(method, context))


@asynccontextmanager
async def _answered(method: str, context: Context) -> AsyncIterator[None]:
    began = time.monotonic()
    code = "OK"
    try:
        yield
    except Fault as fault:
        code = code_of(fault).name
        await _abort(context, fault)
    except asyncio.CancelledError:
        code = "CANCELLED"
        raise
    except grpc.aio.AbortError:
        code = _code_name(context.code())  # set by a servicer from a library, such as health
        raise
    except Exception as error:  # noqa: BLE001  # the top of an RPC
        code = "INTERNAL"
        await _abort(context, _bug(method, error))
    finally:
        _log_access(method, context, code, time.monotonic() - began)


async def _abort(context: Context, fault: Fault) -> NoReturn:
    status = rpc_status.to_status(rich_status(fault))
    try:
        await context.abort(status.code, status.details, status.trailing_metadata)
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError from error  # the caller is gone or does not read: nobody to tell


def _bug(method: str, error: Exception) -> Fault:
    error_id = secrets.token_hex(4)
    log.error(
        "unexpected %s", type(error).__name__, extra={"error_id": error_id, "method": method}, exc_info=error
    )
    return Fault(
        f"the daemon met a bug in {method}; its log (`runtap logs`) has the details under id {error_id}",
        metadata={"error_id": error_id, "method": method},
    )


def _log_access(method: str, context: Context, code: str, seconds: float) -> None:
    metadata = context.invocation_metadata()
    access_log.info(
        "call",
        extra={
            "method": method,
            "client": metadata_value(metadata, CLIENT_KEY),
            "account": metadata_value(metadata, ACCOUNT_KEY),
            "code": code,
            "ms": round(seconds * 1000, 2),
        },
    )


def _code_name(code: Any) -> str:
    # grpc.aio gives the number, whatever its type hint says.
    return next((known.name for known in grpc.StatusCode if code in (known, known.value[0])), str(code))
