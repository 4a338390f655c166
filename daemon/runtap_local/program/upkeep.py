"""What a server does from time to time: it calls runs crashed that fell silent, and keeps the write-ahead log short.

Silence counts unless it is this server that could not hear. It hears nobody while it is down or the machine sleeps;
afterwards, as when somebody sets the clock, all programs seem to have been silent for hours, and are given the time to
be heard of again.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

from ..app import LocalServer
from ..store import runs
from ..store.database import Database
from ..times import now_us

_LOG = logging.getLogger(__name__)


class Listener:
    """Knows how long this server has been listening while the clock went as it should. All in microseconds."""

    def __init__(self, limit: int, clock: int, ran: int) -> None:
        self._limit = limit
        self._offset = clock - ran
        self._since = ran

    def is_sure(self, clock: int, ran: int) -> bool:
        """Whether silence means something now; ``ran`` is a clock that nobody sets and that sleeps with the machine."""
        if abs(clock - ran - self._offset) > self._limit // 2:
            self._offset, self._since = clock - ran, ran
        return ran - self._since >= self._limit


def look(database: Database, listener: Listener, limit: int) -> None:
    """Call those crashed that have been silent for longer than the limit."""
    now = now_us()
    if not listener.is_sure(now, time.monotonic_ns() // 1000):
        return
    # What was heard of in times to come, was so before the clock was set back, and not since.
    silent = runs.silent(now - limit, now + limit)
    with database.read() as connection:
        due = runs.any_silent(connection, silent)
    if due:
        with database.write() as connection:
            runs.crash_silent(connection, silent, now)


@contextlib.asynccontextmanager
async def upkeep(server: LocalServer) -> AsyncIterator[None]:
    """Do all that from time to time, until the end of the block."""
    task = asyncio.create_task(_keep_up(server))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _keep_up(server: LocalServer) -> None:
    limit_s = server.settings.crash_after_s
    limit = int(limit_s * 1_000_000)
    listener = Listener(limit, now_us(), time.monotonic_ns() // 1000)

    def work() -> None:
        look(server.database, listener, limit)
        server.database.shorten_log()

    while True:
        await asyncio.sleep(min(10.0, max(0.1, limit_s / 10)))
        try:
            await server.in_thread(work)
        except Exception:  # noqa: BLE001 - the top of a task: the next time may succeed
            _LOG.exception("upkeep failed")
