"""A daemon whose RunService misbehaves, for tests of what the daemon does around a service.

Run as a program: it takes the flags of `runtapd`. Everything but the service is the real daemon.

    GetRun       raises an error nobody expected, with a secret in its text
    ListRuns     never answers; `entity/project` in the request's path does not matter
    StreamRuns   streams 64 KiB batches without end, as bytes that are already serialised
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from grpc.aio import ServicerContext

from runtap.v1 import runs_pb2 as pb
from runtapd import app
from runtapd.parts import Parts
from runtapd.settings import Settings
from runtapd.starting import Readiness

ERROR_TEXT = "an inner detail that no caller may see"
BATCH_BYTES = 64 * 1024


class OddRuns:
    """The service."""

    async def GetRun(
        self, request: pb.GetRunRequest, context: ServicerContext[Any, Any]
    ) -> pb.GetRunResponse:
        raise ZeroDivisionError(ERROR_TEXT)

    async def ListRuns(
        self, request: pb.ListRunsRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListRunsResponse:
        await asyncio.sleep(3600)
        return pb.ListRunsResponse()

    async def StreamRuns(
        self, request: pb.StreamRunsRequest, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        # An unknown field: any reader skips it.
        batch = b"\xfa\x7f" + _varint(BATCH_BYTES) + bytes(BATCH_BYTES)
        while True:
            yield batch


class OddParts(Parts):
    """Parts that hang for good when they are to be closed, if RUNTAP_TEST_HANG says so."""

    async def close(self) -> None:
        if os.environ.get("RUNTAP_TEST_HANG"):
            time.sleep(3600)


async def build(settings: Settings, learn: Callable[[str], None]) -> Parts:
    return OddParts(services=[("runtap.v1.RunService", OddRuns())], capabilities=["runs.odd"])


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


if __name__ == "__main__":
    ready = Readiness(int(sys.argv[sys.argv.index("--ready-fd") + 1]))
    sys.exit(asyncio.run(app.run(Settings.from_environment(), ready, build)))
