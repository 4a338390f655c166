"""Keeps the caches of all accounts together within their limit, and makes them smaller when asked to.

Owns the disks of all accounts, also of those that only their folder tells of. Looks when one has grown by some MiB.
What has to go then is decided by `eviction.py` and done slice by slice in each store's thread, so that reads have their
turn in between. Runs that the journal has writes for stay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtapd import faults
from runtapd.cache import eviction, tables
from runtapd.cache.disk import Disk
from runtapd.cache.eviction import minute_of
from runtapd.cache.space import ALWAYS, Dropped
from runtapd.cache.store import RecordStore

RunPaths = Iterable[tuple[str, str, str]]
"""Entity, project and run id of runs."""
log = logging.getLogger(__name__)


class Quota:
    """The disks of all accounts and the limit they share. Used on the loop only."""

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        *,
        clock: Callable[[], float],
        unsent: Callable[[str], RunPaths],
    ) -> None:
        """`unsent` tells the runs of an account that have own writes under way."""
        self.limit_bytes = limit_bytes
        self._folder = folder
        self._clock = clock
        self._unsent = unsent
        self._disks: dict[str, Disk] = {}
        self._look: asyncio.Task[None] | None = None
        self._grown = False

    def disk(self, account_id: str) -> Disk:
        """Returns the disk of an account; there is only ever one."""
        disk = self._disks.get(account_id)
        if disk is None:
            disk = self._disks[account_id] = Disk(
                self._folder / account_id,
                clock=self._clock,
                growth_bytes=eviction.growth_worth_a_look(self.limit_bytes),
                on_growth=self._on_growth,
            )
        return disk

    async def sizes(self) -> dict[str, int]:
        """Returns the bytes on disk of every account that has any."""
        return await asyncio.to_thread(_sizes, self._folder)

    async def counts(self, account_id: str) -> tuple[int, int]:
        """Returns how many runs and lists of an account are kept."""
        return await self.disk(account_id).read(RecordStore.counts, (0, 0))

    async def prune(self, account_id: str, keep_bytes: int, unused_since: float | None) -> int:
        """Makes one account's cache, or (empty) those of all together, as small as that; returns the bytes freed.

        Drops only what was not used since that moment, if one is given. Raises DiskFull when a disk refuses.
        """
        before = await self.sizes()
        chosen = {name: size for name, size in before.items() if account_id in ("", name)}
        swept = await self._shrink(eviction.allowances(chosen, keep_bytes), unused_since)
        after = await self.sizes()
        freed = sum(max(0, size - after.get(name, 0)) for name, size in chosen.items())
        swept.tell("the cache was pruned", freed)
        if swept.refused is not None:
            raise swept.refused
        return freed

    async def release(self, account_id: str) -> None:
        """Closes an account's disk and forgets it."""
        if disk := self._disks.pop(account_id, None):
            await disk.close()

    async def close(self) -> None:
        """Ends what is under way and closes all disks."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)
        for account_id in list(self._disks):
            await self.release(account_id)

    def _on_growth(self) -> None:
        self._grown = True
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._keep_within())

    async def _keep_within(self) -> None:
        while self._grown:
            self._grown = False
            before = await self.sizes()
            if sum(before.values()) <= self.limit_bytes:
                continue
            allowed = eviction.allowances(before, eviction.after_sweep(self.limit_bytes))
            swept = await self._shrink({name: keep for name, keep in allowed.items() if keep < before[name]})
            freed = sum(before.values()) - sum((await self.sizes()).values())
            swept.tell("the cache was over its limit", freed)

    async def _shrink(self, allowed: Mapping[str, int], unused_since: float | None = None) -> _Swept:
        swept = _Swept()
        for account_id, keep in allowed.items():
            if not tables.exists(self._folder / account_id, tables.RECORDS):
                continue  # logged out meanwhile: its folder must not come back
            try:
                await self._shrink_one(swept, account_id, keep, unused_since)
            except faults.DiskFull as fault:
                swept.refused = fault
        return swept

    async def _shrink_one(
        self, swept: _Swept, account_id: str, keep: int, unused_since: float | None
    ) -> None:
        disk, unsent = self.disk(account_id), list(self._unsent(account_id))
        if keep == 0 and unused_since is None and not unsent:
            swept.add(Dropped(*await self.counts(account_id)))
            return await disk.discard()
        now, before = minute_of(self._clock()), ALWAYS if unused_since is None else minute_of(unused_since)
        disk.write_uses()
        await disk.ask(lambda store: store.space.no_later_than(now))
        pinned = await disk.ask(lambda store: store.ids_of(unsent))
        while dropped := await disk.ask(lambda store: store.space.drop(keep, before, pinned)):
            swept.add(dropped)
        while await disk.ask(lambda store: store.space.give_back()):
            pass
        await disk.ask(lambda store: store.space.settle())


@dataclass
class _Swept:
    """What came of making some caches smaller."""

    runs: int = 0
    answers: int = 0
    refused: faults.DiskFull | None = None
    """Why not all could be done that was to be."""

    def add(self, dropped: Dropped) -> None:
        self.runs += dropped.runs
        self.answers += dropped.answers

    def tell(self, why: str, freed: int) -> None:
        log.info(why, extra={"runs_dropped": self.runs, "lists_dropped": self.answers, "bytes_freed": freed})


def _sizes(folder: Path) -> dict[str, int]:
    try:
        accounts = [path for path in folder.iterdir() if tables.exists(path, tables.RECORDS)]
    except OSError:
        return {}
    return {path.name: tables.size(path, tables.RECORDS) for path in accounts}
