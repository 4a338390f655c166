"""Accepting writes, keeping a worker per run busy until nothing is open, and waiting for what becomes of them.

Writes of one run go in order; runs go side by side, a few of an account at a time. Knows when to try; `worker.py`
knows how.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from runtapd.faults import Draining, Fault, NeedsLogin, NotFound
from runtapd.journal import Entry, Journal, NewWrite, WriteState
from runtapd.writes.backoff import pause_s
from runtapd.writes.worker import RecordSink, Sender, UpstreamProvider

CONCURRENCY = 4
log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Lane:
    """One run's worker."""

    account_id: str
    path: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    patient: bool = False
    """It waits because the server asked it to; a new write is no reason to come earlier."""


class Writes:
    """Write-back. Lives on one loop; `start` once the journal is open, `close` before it is closed."""

    def __init__(
        self,
        journal: Journal,
        upstreams: UpstreamProvider,
        sink: RecordSink,
        *,
        chance: Callable[[], float],
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._journal = journal
        self._sender = Sender(journal, upstreams, sink)
        self._chance = chance
        # Per account, so that a server that is away does not hold up the writes to another.
        self._slots = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(concurrency))
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._blocked: set[str] = set()
        self._arrivals: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: set[asyncio.Task[Entry]] = set()
        self._watchers: set[asyncio.Future[None]] = set()
        self._closing = False

    def start(self) -> None:
        """Takes up what an earlier daemon left open."""
        self._work_on(self._journal.open_entries())

    async def close(self, grace_s: float) -> None:
        """Stops; what is under way has `grace_s` seconds to end, the rest stays in the journal."""
        self._closing = True
        for lane in self._lanes.values():
            lane.wake.set()
        if self._accepting:
            await asyncio.wait(self._accepting)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._announce()

    async def submit(self, new: NewWrite) -> Entry:
        """Returns the write once it is on disk. A repeated request id returns the first write as it is now.

        Whoever calls may leave meanwhile: what is on disk is worked on all the same.
        """
        if self._closing:
            raise Draining("the daemon is ending and takes no more writes; connect again")
        task = asyncio.get_running_loop().create_task(self._accept(new))
        self._accepting.add(task)
        task.add_done_callback(self._accepted)
        return await asyncio.shield(task)

    async def wait(self, account_id: str, write_id: str, timeout_s: float) -> Entry:
        """Returns the write when it is settled or waits for a key, or as it is when the time is up."""

        def over() -> bool:
            entry = self._journal.open_entry(write_id)
            return entry is None or entry.state is WriteState.BLOCKED_AUTH

        await self._until(over, timeout_s)
        return await self.get(account_id, write_id)

    async def wait_all(self, account_id: str, path: str | None, timeout_s: float) -> tuple[int, list[Entry]]:
        """Waits for the writes accepted so far; returns how many are still open, and those that have ended."""
        ids = [entry.write_id for entry in self._journal.open_entries(account_id, path)]

        def still_open() -> list[str]:
            return [write_id for write_id in ids if self._journal.open_entry(write_id)]

        await self._until(lambda: not still_open(), timeout_s)
        left = set(still_open())
        ended = [await self.get(account_id, write_id) for write_id in ids if write_id not in left]
        return len(left), ended

    async def get(self, account_id: str, write_id: str) -> Entry:
        """Returns a write of this account; NotFound when there is none."""
        entry = await self._journal.by_write_id(account_id, write_id)
        return _found(entry, f"write_id {write_id!r}")

    async def get_by_request(self, account_id: str, request_id: str) -> Entry:
        """The same by the id the caller gave."""
        entry = await self._journal.by_request_id(account_id, request_id)
        return _found(entry, f"request_id {request_id!r}")

    def unblock(self, account_id: str) -> None:
        """A client of this account has come: writes that wait for its key are tried again."""
        self._arrivals[account_id] += 1
        if account_id not in self._blocked:
            return
        self._blocked.discard(account_id)
        self._journal.unblock(account_id)
        self._work_on(self._journal.open_entries(account_id))

    async def _accept(self, new: NewWrite) -> Entry:
        entry, is_new = await self._journal.append(new)
        self.unblock(new.account_id)
        if is_new:
            self._work_on([entry])
        return self._journal.open_entry(entry.write_id) or entry

    def _accepted(self, task: asyncio.Task[Entry]) -> None:
        self._accepting.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have left; then nobody else looks

    def _work_on(self, entries: Iterable[Entry]) -> None:
        """Sees to it that these writes' runs have workers that are awake."""
        for key in dict.fromkeys((entry.account_id, entry.path) for entry in entries):
            if lane := self._lanes.get(key):
                if not lane.patient:
                    lane.wake.set()
            elif not self._closing:
                lane = self._lanes[key] = _Lane(*key)
                task = asyncio.get_running_loop().create_task(self._drain(lane))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _drain(self, lane: _Lane) -> None:
        """Works until nothing of this run is open, or its account is blocked, or the daemon ends."""
        failures = 0
        try:
            while entry := self._next(lane):
                arrivals = self._arrivals[lane.account_id]
                fault = await self._attempt(entry, failures)
                if fault is None:
                    failures = 0
                elif isinstance(fault, NeedsLogin):
                    # A login during the try may have brought a better key than the one refused.
                    if arrivals == self._arrivals[lane.account_id]:
                        self._block(lane.account_id, fault.message)
                else:
                    failures += 1
                    await self._pause(lane, entry.write_id, fault, failures)
                self._announce()
        finally:
            del self._lanes[lane.account_id, lane.path]

    def _next(self, lane: _Lane) -> Entry | None:
        if self._closing or lane.account_id in self._blocked:
            return None
        return self._journal.head(lane.account_id, lane.path)

    async def _attempt(self, entry: Entry, failures: int) -> Fault | None:
        """Tries once; returns what went wrong for now."""
        try:
            async with self._slots[entry.account_id]:
                await self._sender.attempt(entry, failures)
            return None
        except Fault as fault:
            log.info("a write has to wait", extra={"write": entry.write_id, "reason": fault.reason})
            return fault
        except Exception:  # top of a task: one write must not end the worker for good
            log.exception("a write failed inside the daemon", extra={"write": entry.write_id})
            return Fault("a bug in the daemon keeps this write from being sent; its log has the details")

    def _block(self, account_id: str, message: str) -> None:
        self._blocked.add(account_id)
        self._journal.block(account_id, f"waits for a usable key: {message}")

    async def _pause(self, lane: _Lane, write_id: str, fault: Fault, failures: int) -> None:
        seconds = pause_s(failures, self._chance(), fault.retry_after_s)
        entry = self._journal.open_entry(write_id)
        if entry and entry.state is not WriteState.BLOCKED_AUTH:
            self._journal.note(write_id, f"{fault.message}; trying again in {seconds:.0f} s")
        self._announce()
        lane.wake.clear()
        lane.patient = fault.retry_after_s is not None
        if not self._closing:
            with suppress(TimeoutError):
                await asyncio.wait_for(lane.wake.wait(), seconds)
        lane.patient = False

    async def _until(self, over: Callable[[], bool], timeout_s: float) -> None:
        """Waits until that holds, asked anew whenever a write moves on; or until the time is up or the daemon ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not over() and not self._closing:
                    moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._watchers.add(moved)
                    try:
                        await moved
                    finally:
                        self._watchers.discard(moved)

    def _announce(self) -> None:
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)


def _found(entry: Entry | None, name: str) -> Entry:
    if entry is None:
        raise NotFound(
            f"there is no write with {name}; settled writes are kept for seven days", reason="WRITE_NOT_FOUND"
        )
    return entry
