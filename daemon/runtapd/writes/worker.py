"""One try of one write: read the run, decide, send, settle, tell the cache. Two requests when something changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from runtapd.failpoints import failpoint
from runtapd.faults import NotFound, UpstreamForbidden, UpstreamRefused
from runtapd.journal import Entry, Journal, WriteState
from runtapd.model.run import RunData
from runtapd.upstream.api import RunChange, Upstream, Wait
from runtapd.writes.plan import Send, Settle, outcome, plan

FIRST_READ_S = 15.0
LONGEST_READ_S = 120.0
SEND_TIMEOUT_S = 60.0
SMALL_DOCUMENTS = 20_000
T = TypeVar("T")


class UpstreamProvider(Protocol):
    """Where a worker gets its server from when nobody is calling."""

    async def for_account(self, account_id: str) -> Upstream:
        """Returns the account's server; NeedsLogin when there is no usable key without its owner."""


class RecordSink(Protocol):
    """What the cache hears of writes."""

    def now(self) -> float:
        """Unix seconds, by the clock of the cache."""

    def sending(self, account_id: str, path: str) -> float:
        """Whatever was asked of the server about this run before now no longer counts; returns now."""

    def sent(self, account_id: str, path: str) -> None:
        """Nor does what was asked while the write was on its way."""

    def absorb_written(self, account_id: str, run: RunData, sent_at: float) -> None:
        """The run as the server gave it to a write of ours, or to the look before one, sent at that time."""


class Sender:
    """Tries writes. Faults that a later try may cure leave it; what ends a write is settled here."""

    def __init__(self, journal: Journal, upstreams: UpstreamProvider, sink: RecordSink) -> None:
        self._journal = journal
        self._upstreams = upstreams
        self._sink = sink

    async def attempt(self, entry: Entry, failures: int) -> None:
        """Brings a write to its end, or raises the Fault that keeps it from it."""
        held: RunData | None = None
        sent_at = self._sink.now()
        try:
            upstream = await self._upstreams.for_account(entry.account_id)
            run = await upstream.run(
                entry.entity, entry.project, entry.run_id, _wait(_read_timeout_s(failures))
            )
            todo = await _off_loop(plan, entry, run)
            if isinstance(todo, Send):
                entry = await self._journal.mark_sending(entry, todo.conflicts)
                sent_at = self._sink.sending(entry.account_id, entry.path)
                run = await self._send(entry, upstream, run, todo.change)
                todo = await _off_loop(outcome, entry, run)
            held = run
        except (NotFound, UpstreamRefused, UpstreamForbidden) as fault:
            todo = Settle(WriteState.FAILED, fault.message, conflicts=entry.conflicts)
        await self._settle(entry, todo, held, sent_at)

    async def _send(self, entry: Entry, upstream: Upstream, before: RunData, change: RunChange) -> RunData:
        try:
            run = await upstream.change_run(before.storage_id, before, change, _wait(SEND_TIMEOUT_S))
        finally:
            # Also when the outcome is unknown: what was read meanwhile may lack the change.
            self._sink.sent(entry.account_id, entry.path)
        failpoint("writes.sent")
        return run

    async def _settle(self, entry: Entry, end: Settle, run: RunData | None, sent_at: float) -> None:
        await self._journal.settle(
            entry, end.state, message=end.message, conflicts=end.conflicts, not_honoured=end.not_honoured
        )
        # From here on nothing awaits, so no read falls between the overlay and the record that replaces it.
        try:
            if run is not None:
                self._sink.absorb_written(entry.account_id, run, sent_at)
        finally:
            self._journal.release(entry.write_id)


async def _off_loop(decide: Callable[[Entry, RunData], T], entry: Entry, run: RunData) -> T:
    """Decides in a thread where the documents are so large that parsing them would hold up the loop."""
    if len(run.config) + len(run.summary) < SMALL_DOCUMENTS:
        return decide(entry, run)
    return await asyncio.to_thread(decide, entry, run)


def _read_timeout_s(failures: int) -> float:
    # Short at first, so that whoever waits soon hears why; then longer, for servers that are slow rather than away.
    return min(LONGEST_READ_S, FIRST_READ_S * 2.0 ** min(failures, 16))


def _wait(seconds: float) -> Wait:
    return Wait(asyncio.get_running_loop().time() + seconds, once=True)
