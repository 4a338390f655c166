"""Keeps the caches of all accounts together within their limit, and makes them smaller when asked to.

Owns the disks of all accounts, also of those that only their folder tells of. Looks when one has grown by some MiB.
What has to go then is decided by `eviction.py` and done slice by slice in each store's thread, so that reads have their
turn in between. Runs that the journal has writes for stay.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtapd import faults
from runtapd.cache import eviction, tables
from runtapd.cache.disk import Disk, S, Store
from runtapd.cache.eviction import minute_of
from runtapd.cache.space import ALWAYS
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
        kinds: Sequence[type[Store]],
        *,
        clock: Callable[[], float],
        unsent: Callable[[str], RunPaths],
    ) -> None:
        """`kinds` are the stores each account has; `unsent` tells its runs that have own writes under way."""
        self.limit_bytes = limit_bytes
        self._folder = folder
        self._kinds = kinds
        self._clock = clock
        self._unsent = unsent
        self._disks: dict[tuple[str, str], Disk[Any]] = {}
        self._look: asyncio.Task[None] | None = None
        self._grown = False

    def disk(self, account_id: str, kind: type[S]) -> Disk[S]:
        """Returns an account's disk of that kind; there is only ever one."""
        disk = self._disks.get((account_id, kind.FILE.name))
        if disk is None:
            disk = self._disks[account_id, kind.FILE.name] = Disk(
                self._folder / account_id,
                kind,
                clock=self._clock,
                growth_bytes=eviction.growth_worth_a_look(self.limit_bytes),
                on_growth=self._on_growth,
            )
        return disk

    async def sizes(self) -> dict[str, int]:
        """Returns the bytes on disk of every account that has any."""
        return await asyncio.to_thread(self._sizes)

    async def counts(self, account_id: str) -> Counter[str]:
        """Returns how many `runs`, `lists` and `histories` of an account are kept."""
        found: Counter[str] = Counter()
        for disk in self._present(account_id):
            found += await disk.read(lambda store: store.counts(), found)
        return found

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
        """Closes an account's disks and forgets them."""
        for key in [key for key in self._disks if key[0] == account_id]:
            await self._disks.pop(key).close()

    async def close(self) -> None:
        """Ends what is under way and closes all disks."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)
        for account_id in {account_id for account_id, _ in self._disks}:
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
            try:
                await self._shrink_one(swept, account_id, keep, unused_since)
            except faults.DiskFull as fault:
                swept.refused = fault
        return swept

    async def _shrink_one(
        self, swept: _Swept, account_id: str, keep: int, unused_since: float | None
    ) -> None:
        disks, unsent = self._present(account_id), list(self._unsent(account_id))
        if keep == 0 and unused_since is None and not unsent:
            swept.dropped += await self.counts(account_id)
            for disk in disks:
                await disk.discard()
            return
        now, before = minute_of(self._clock()), ALWAYS if unused_since is None else minute_of(unused_since)
        for disk in disks:
            disk.write_uses()
            await disk.ask(lambda store: store.space.no_later_than(now))
        pinned = await self._pinned(account_id, unsent)
        while dropped := await _drop_slice(disks, keep, before, pinned):
            swept.dropped += dropped
        for disk in disks:
            while await disk.ask(lambda store: store.space.give_back()):
                pass
            await disk.ask(lambda store: store.space.settle())

    def _present(self, account_id: str) -> list[Disk[Any]]:
        """The disks of which there are files: those of an account that is logged out must not come back."""
        folder = self._folder / account_id
        return [self.disk(account_id, kind) for kind in self._kinds if tables.exists(folder, kind.FILE)]

    async def _pinned(self, account_id: str, unsent: RunPaths) -> set[str]:
        if not unsent or not tables.exists(self._folder / account_id, RecordStore.FILE):
            return set()
        return await self.disk(account_id, RecordStore).ask(lambda store: store.ids_of(unsent))

    def _sizes(self) -> dict[str, int]:
        try:
            folders = list(self._folder.iterdir())
        except OSError:
            return {}
        files = [kind.FILE for kind in self._kinds]
        return {
            folder.name: sum(tables.size(folder, file) for file in files)
            for folder in folders
            if any(tables.exists(folder, file) for file in files)
        }


async def _drop_slice(
    disks: Sequence[Disk[Any]], keep: int, before: int, pinned: Collection[str]
) -> Counter[str]:
    """Drops of one of an account's disks what was used the longest ago of all; nothing when no more must or may go."""
    looks = [await disk.ask(lambda store: store.space.look(before, pinned)) for disk in disks]
    excess = sum(look.filled for look in looks) - keep
    found = [(look.oldest, i) for i, look in enumerate(looks) if look.oldest is not None]
    if excess <= 0 or not found:
        return Counter()
    (_, oldest), *others = sorted(found)
    until = min(
        [before, *(minute + 1 for minute, _ in others)]
    )  # what the others have used later stays for now
    return await disks[oldest].ask(lambda store: store.space.drop(excess, until, pinned))


@dataclass
class _Swept:
    """What came of making some caches smaller."""

    dropped: Counter[str] = field(default_factory=Counter)
    refused: faults.DiskFull | None = None
    """Why not all could be done that was to be."""

    def tell(self, why: str, freed: int) -> None:
        names = ("runs", "lists", "histories")
        counts = {f"{name}_dropped": self.dropped[name] for name in names}
        log.info(why, extra=counts | {"bytes_freed": freed})
