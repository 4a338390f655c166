"""Write-back with everything around it in memory but the journal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from runtapd.faults import UpstreamUnavailable
from runtapd.journal import Entry, Journal, NewWrite, WriteState
from runtapd.model.patch import Edit, Patch
from runtapd.writes import Writes
from tests.support.memory_upstream import MemoryAccounts, MemoryUpstream, SeenByCache
from tests.support.runs import make_run

PATH = "team/vision/r1"
AWAY = UpstreamUnavailable("http://server cannot be reached")
DEADLINE_S = 10.0
NUMBERS = count(1)
"""Of all write ids in a test process, so that they stay unique across restarts of a journal."""


@dataclass
class Bench:
    """One write-back and what is around it."""

    journal: Journal
    writes: Writes
    server: MemoryUpstream
    accounts: MemoryAccounts
    cache: SeenByCache

    async def submit(self, patch: Patch, request_id: str = "q1", **fields: Any) -> Entry:
        return await self.writes.submit(new(patch, request_id, **fields))

    async def settled(self, patch: Patch, request_id: str = "q1", **fields: Any) -> Entry:
        entry = await self.submit(patch, request_id, **fields)
        return await self.writes.wait(entry.account_id, entry.write_id, DEADLINE_S)

    async def reaches(self, *states: WriteState) -> None:
        """Waits until the open writes are in these states."""
        async with asyncio.timeout(DEADLINE_S):
            while [entry.state for entry in self.journal.open_entries()] != list(states):
                await asyncio.sleep(0.002)


@asynccontextmanager
async def bench(
    folder: Path,
    server: MemoryUpstream | None = None,
    *,
    keyless: bool = False,
    chance: float = 0.0,
    concurrency: int = 4,
) -> AsyncIterator[Bench]:
    """Zero `chance` makes every pause empty."""
    server = server or MemoryUpstream(make_run())
    accounts = MemoryAccounts(acct=server, other=server)
    accounts.keyless = {"acct"} if keyless else set()
    cache = SeenByCache()
    journal = Journal(folder / "journal.db", clock=lambda: 1000.0, new_id=lambda: f"w{next(NUMBERS)}")
    await journal.open()
    writes = Writes(journal, accounts, cache, chance=lambda: chance, concurrency=concurrency)
    writes.start()
    try:
        yield Bench(journal, writes, server, accounts, cache)
    finally:
        await writes.close(0.0)
        await journal.close()


def new(patch: Patch, request_id: str = "q1", run_id: str = "r1", account_id: str = "acct") -> NewWrite:
    return NewWrite(
        account_id=account_id,
        request_id=request_id,
        entity="team",
        project="vision",
        run_id=run_id,
        patch=patch,
    )


def lr(value: float, base: str | None = None, **options: Any) -> Patch:
    return Patch(config=(Edit(("lr",), json.dumps(value), base),), **options)


def lr_of(server: MemoryUpstream, path: str = PATH) -> float:
    value: float = json.loads(server.runs_by_path[path].config)["lr"]["value"]
    return value
