"""One account's way to a test's server, without the daemon around it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from runtapd.upstream.api import Wait
from runtapd.upstream.channel import Channel
from runtapd.upstream.features import ServerFeatures
from runtapd.upstream.graphql import GraphQLUpstream
from runtapd.upstream.turns import Turns
from tests.support.upstream import KEY, ScriptedUpstream

T = TypeVar("T")
Use = Callable[[GraphQLUpstream], Awaitable[T]]


def use(
    server: ScriptedUpstream,
    what: Use[T],
    *,
    key: str = KEY,
    url: str = "",
    features: ServerFeatures | None = None,
) -> T:
    """Runs one coroutine against the server; no thread may be left busy afterwards."""
    with ThreadPoolExecutor(2) as threads:
        turns = Turns(url or server.url)
        channel = Channel(url or server.url, key, "test", threads, turns, draw=random.Random(1))
        try:
            return asyncio.run(_made(what, GraphQLUpstream(channel, features=features or ServerFeatures())))
        finally:
            channel.close()


async def _made(what: Use[T], upstream: GraphQLUpstream) -> T:
    try:
        return await what(upstream)
    finally:
        await upstream.features.close()


async def given_up(what: Coroutine[Any, Any, object], when: Callable[[], object]) -> None:
    """Begins with something, and cancels it soon after the condition holds."""
    task = asyncio.ensure_future(what)
    while not when():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # an answer that drips has begun by then
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def soon(seconds: float = 10.0) -> Wait:
    """A wait that ends so many seconds from now."""
    return Wait(asyncio.get_running_loop().time() + seconds)
