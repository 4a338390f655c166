"""A request that is made in a thread, seen from the loop: waited for as long as there is time, then ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from runtapd.upstream.transport import Exchange

T = TypeVar("T")


async def outcome(job: Future[T], exchange: Exchange, left: Callable[[], float]) -> T:
    """Returns what comes of a request; ends it when no time is `left`, with TimeoutError, or when it is cancelled.

    `left` is asked again whenever the time it told is over: others may have joined the wait meanwhile.
    """
    work = asyncio.wrap_future(job)
    try:
        while not work.done():
            seconds = left()
            if seconds <= 0:
                raise TimeoutError
            await asyncio.wait([work], timeout=seconds)
        return work.result()
    finally:
        if not work.done():
            exchange.close()
            work.cancel()  # if no thread has taken it up yet, nothing is sent
            # Otherwise the thread ends by itself now; its outcome is nobody's business any more.
            work.add_done_callback(lambda done: done.cancelled() or done.exception())


def on_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., None]) -> Callable[..., None]:
    """Returns a function for other threads that makes the call on the loop, while there is one."""

    def make(*arguments: object) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(call, *arguments)

    return make
