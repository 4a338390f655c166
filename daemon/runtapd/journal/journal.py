"""The journal as the loop sees it: commits in an own thread, and the open writes in memory for the overlay.

Two things live in memory only, because a restart finds them out again: that a write is BLOCKED_AUTH, and the message
of a write that waits. A settled write stays in the overlay until `release`, so that its reader can first absorb what
the server answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from runtapd.failpoints import failpoint
from runtapd.faults import DiskFull
from runtapd.journal.entry import Entry, NewWrite, WriteState
from runtapd.journal.store import JournalStore
from runtapd.model.patch import Conflict, Patch

T = TypeVar("T")
_NEWEST = 2**62
_PRUNE_EVERY_S = 3600.0


class Journal:
    """Accepted writes. Use on one loop only; `open` before anything else, `close` at the end."""

    def __init__(self, path: Path, *, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._path = path
        self._clock = clock
        self._new_id = new_id
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._store: JournalStore
        self._pruned_at = 0.0
        self._open: dict[str, Entry] = {}
        # Write ids per (account, run path), in order of acceptance.
        self._by_run: dict[tuple[str, str], list[str]] = {}
        self._last_settled: dict[str, float] = {}

    async def open(self) -> None:
        """Opens or makes the file and reads what is not settled."""
        try:
            self._store = await self._run(lambda: JournalStore(self._path))
            self._last_settled = await self._run(self._store.last_settled)
            await self._prune()
            for entry in await self._run(self._store.open_entries):
                self._add(entry)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    async def close(self) -> None:
        """Ends the thread after what it has to do; what is open stays in the file."""
        await self._run(self._store.close)
        self._thread.shutdown()

    async def append(self, new: NewWrite) -> tuple[Entry, bool]:
        """Commits a write, then returns it and True; or the first write of that request id, as it is now, and False."""
        if self._clock() - self._pruned_at > _PRUNE_EVERY_S:
            await self._prune()
        write_id, now = self._new_id(), self._clock()
        entry, is_new = await self._run(lambda: self._store.append(new, write_id, now))
        if not is_new:
            return self._open.get(entry.write_id, entry), False
        failpoint("journal.committed")
        self._add(entry)
        return entry, True

    async def mark_sending(self, entry: Entry, conflicts: tuple[Conflict, ...]) -> Entry:
        """Commits that the write is about to be sent."""
        await self._run(lambda: self._store.mark_sending(entry.write_id, conflicts))
        sending = replace(
            entry, state=WriteState.SENDING, attempts=entry.attempts + 1, conflicts=conflicts, message=""
        )
        self._open[entry.write_id] = sending
        return sending

    async def settle(
        self,
        entry: Entry,
        state: WriteState,
        *,
        message: str = "",
        conflicts: tuple[Conflict, ...] = (),
        not_honoured: tuple[Conflict, ...] = (),
    ) -> Entry:
        """Commits how a write ended. It stays in the overlay until `release`."""
        settled = replace(
            entry,
            state=state,
            settled_at=self._clock(),
            message=message,
            conflicts=conflicts,
            not_honoured=not_honoured,
        )
        await self._run(lambda: self._store.settle(settled))
        self._last_settled[entry.account_id] = settled.settled_at or 0.0
        return settled

    def release(self, write_id: str) -> None:
        """Takes a settled write out of the overlay."""
        entry = self._open.pop(write_id)
        key = (entry.account_id, entry.path)
        self._by_run[key].remove(write_id)
        if not self._by_run[key]:
            del self._by_run[key]

    def note(self, write_id: str, message: str) -> None:
        """Says in words what an open write waits for."""
        self._open[write_id] = replace(self._open[write_id], message=message)

    def block(self, account_id: str, message: str) -> None:
        """Marks everything open of an account as waiting for a usable key."""
        for entry in self.open_entries(account_id):
            self._open[entry.write_id] = replace(entry, state=WriteState.BLOCKED_AUTH, message=message)

    def unblock(self, account_id: str) -> None:
        """Makes the account's blocked writes sendable again."""
        for entry in self.open_entries(account_id):
            if entry.state is WriteState.BLOCKED_AUTH:
                state = WriteState.SENDING if entry.attempts else WriteState.ACCEPTED
                self._open[entry.write_id] = replace(entry, state=state, message="")

    def open_patches(self, account_id: str, path: str) -> Sequence[Patch]:
        """What reads of this run show on top of what the server holds, in order."""
        return [self._open[write_id].patch for write_id in self._by_run.get((account_id, path), ())]

    def last_settled_at(self, account_id: str) -> float:
        """Unix seconds at which a write of this account last ended; 0 for never. A cache that was not there to hear of
        it, or was killed before its disk had it, must not use anything older without asking the server."""
        return self._last_settled.get(account_id, 0.0)

    def open_entry(self, write_id: str) -> Entry | None:
        """One open write."""
        return self._open.get(write_id)

    def head(self, account_id: str, path: str) -> Entry | None:
        """The open write of this run that is to be sent next."""
        queue = self._by_run.get((account_id, path))
        return self._open[queue[0]] if queue else None

    def open_entries(self, account_id: str | None = None, path: str | None = None) -> list[Entry]:
        """Open writes in order of acceptance: all, of one account, or of one of its runs."""
        if account_id is not None and path is not None:
            return [self._open[write_id] for write_id in self._by_run.get((account_id, path), ())]
        return [
            entry for entry in self._open.values() if account_id is None or entry.account_id == account_id
        ]

    def pending_count(self, account_id: str | None = None, path: str | None = None) -> int:
        """How many writes are not settled."""
        return len(self.open_entries(account_id, path))

    def blocked_count(self, account_id: str | None = None) -> int:
        """How many of them wait for a usable key."""
        return sum(entry.state is WriteState.BLOCKED_AUTH for entry in self.open_entries(account_id))

    def sendable_count(self, account_id: str | None = None) -> int:
        """How many of them do not."""
        return self.pending_count(account_id) - self.blocked_count(account_id)

    async def by_write_id(self, account_id: str, write_id: str) -> Entry | None:
        """One write of this account, open or settled."""
        entry = await self._run(lambda: self._store.by_write_id(account_id, write_id))
        return entry and self._open.get(entry.write_id, entry)

    async def by_request_id(self, account_id: str, request_id: str) -> Entry | None:
        """The write of this account that came with this request id, open or settled."""
        entry = await self._run(lambda: self._store.by_request_id(account_id, request_id))
        return entry and self._open.get(entry.write_id, entry)

    async def newest(
        self,
        account_id: str,
        *,
        path: tuple[str, str, str] | None = None,
        states: Iterable[WriteState] = (),
        before_seq: int | None = None,
        limit: int,
    ) -> list[Entry]:
        """Writes of an account, newest first: of one run, in one of these states (none given: any), older than a
        number, at most `limit`."""
        wanted = frozenset(states) or frozenset(WriteState)
        below = _NEWEST if before_seq is None else before_seq
        # Open writes are taken first: one that settles meanwhile is then found in the file, or as it was at the call.
        found = {
            entry.seq: entry
            for entry in self.open_entries(account_id, None if path is None else "/".join(path))
            if entry.state in wanted and entry.seq < below
        }
        final = [int(state) for state in wanted if state.final]
        settled = await self._run(lambda: self._store.settled(account_id, path, final, below, limit))
        found.update({entry.seq: entry for entry in settled})
        return [found[seq] for seq in sorted(found, reverse=True)[:limit]]

    def _add(self, entry: Entry) -> None:
        self._open[entry.write_id] = entry
        self._by_run.setdefault((entry.account_id, entry.path), []).append(entry.write_id)

    async def _prune(self) -> None:
        self._pruned_at = now = self._clock()
        with suppress(DiskFull):  # deleting needs room too; whoever appends next is told
            await self._run(lambda: self._store.prune(now))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
