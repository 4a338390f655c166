"""What belongs to one account: its server, its records, its lists, its requests in flight. Nothing is shared across."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cachetools import TTLCache

from runtapd.cache.disk import Disk
from runtapd.cache.eviction import LARGEST_LIMIT
from runtapd.cache.policy import SoftLimits, Wishes
from runtapd.cache.quota import Quota, RunPaths
from runtapd.cache.records import RecordCache
from runtapd.cache.store import RecordStore
from runtapd.history.store import HistoryStore
from runtapd.model.freshness import Source
from runtapd.model.run import Record, RunData
from runtapd.reads.answers import KeptAnswers
from runtapd.reads.flights import Flights
from runtapd.reads.small import Found, SmallAnswers
from runtapd.reads.stretches import Unread
from runtapd.upstream.accounts import Account, Accounts, is_account_id
from runtapd.upstream.api import Upstream, Wait

T = TypeVar("T")
KEPT_UNREAD = 4096
UNREADABLE_S = 60.0
"""How long a run that could not be read is not tried again, by those who do not wish otherwise."""
SUSPECT_S = 3600.0


@dataclass(eq=False)
class Partition:
    """One account's share of the daemon."""

    account: Account
    cache: RecordCache
    flights: Flights[Record]
    pages: Flights[None]
    small: SmallAnswers
    histories: Disk[HistoryStore]
    answers: KeptAnswers = field(default_factory=KeptAnswers)
    unreadable: TTLCache[str, Unread] = field(default_factory=lambda: TTLCache(KEPT_UNREAD, SUSPECT_S))
    """Runs that their server could not give, by storage id. For a while they are not tried again in every list; after
    that they are asked for alone, so that they spoil no other's answer."""
    by_name: bool = True
    """False once the server was found not to list runs by their names."""
    hits: int = 0
    """Reads answered without asking the server."""
    misses: int = 0

    @property
    def upstream(self) -> Upstream:
        """The server as this account sees it."""
        if self.account.upstream is None:
            raise LookupError("a partition is only handed out for accounts that can be used")
        return self.account.upstream

    async def small_answer(
        self,
        key: str,
        ask: Callable[[Wait], Awaitable[T]],
        *,
        what: str,
        soft_limit_s: float,
        wishes: Wishes,
        wait: Wait,
    ) -> Found[T]:
        """Returns the answer to a question about something other than runs; see SmallAnswers."""
        found = await self.small.get(
            key,
            ask,
            what=what,
            soft_limit_s=soft_limit_s,
            floor=self.cache.floor,
            wishes=wishes,
            wait=wait,
        )
        asked = found.freshness.source is Source.UPSTREAM
        self.misses += asked
        self.hits += not asked
        return found


class Partitions:
    """Finds and makes partitions."""

    def __init__(
        self,
        accounts: Accounts,
        folder: Path,
        *,
        cache_limit_bytes: int = LARGEST_LIMIT,
        unsent: Callable[[str], RunPaths] = lambda account_id: (),
        memory_bytes: int,
        limits: SoftLimits,
        clock: Callable[[], float],
        last_settled_at: Callable[[str], float],
    ) -> None:
        self.limits = limits
        self.clock = clock
        self._last_settled_at = last_settled_at
        self._accounts = accounts
        self._folder = folder
        self.quota = Quota(folder, cache_limit_bytes, (RecordStore, HistoryStore), clock=clock, unsent=unsent)
        self._memory_bytes = memory_bytes
        self._partitions: dict[str, Partition] = {}

    def get(self, account_id: str) -> Partition:
        """Returns the partition of an account that can be used now; raises NeedsLogin as Accounts.get does."""
        account = self._accounts.get(account_id)
        partition = self._partitions.get(account.account_id)
        if partition is None:
            cache = RecordCache(
                self.quota.disk(account.account_id, RecordStore),
                app_url=account.app_url,
                memory_bytes=self._memory_bytes,
                clock=self.clock,
            )
            # Own writes may have ended before this cache was there to hear of it: after a restart, say.
            cache.floor = self._last_settled_at(account.account_id)
            partition = Partition(
                account,
                cache,
                Flights(self.clock),
                Flights(self.clock),
                SmallAnswers(self.clock, self.quota.disk(account.account_id, RecordStore)),
                self.quota.disk(account.account_id, HistoryStore),
            )
            self._partitions[account.account_id] = partition
        partition.account = account
        return partition

    def all(self) -> list[Partition]:
        """Returns the partitions in use."""
        return list(self._partitions.values())

    async def drop(self, account_id: str, *, keep_data: bool) -> None:
        """Forgets an account's share in memory and, unless the data is to be kept, on disk."""
        self._partitions.pop(account_id, None)
        await self.quota.release(account_id)
        # The id may come from a request: nothing but one folder of ours may ever be removed.
        if is_account_id(account_id) and not keep_data:
            await asyncio.to_thread(shutil.rmtree, self._folder / account_id, ignore_errors=True)

    def flush(self, account_id: str) -> float:
        """Lets nothing fetched before now be used unasked, for one account or all; returns now."""
        for partition in self.all():
            if account_id in ("", partition.account.account_id):
                partition.cache.flush()
        return self.clock()

    def memory_bytes(self, account_id: str) -> int:
        """Returns how much of an account is held in memory."""
        partition = self._partitions.get(account_id)
        return partition.cache.memory_bytes if partition else 0

    # What write-back tells the cache

    def now(self) -> float:
        """Unix seconds."""
        return self.clock()

    def sending(self, account_id: str, path: str) -> float:
        """An own write of this run is on its way; returns now."""
        partition = self._partitions.get(account_id)
        return partition.cache.sending(path) if partition else self.clock()

    def sent(self, account_id: str, path: str) -> None:
        """It has arrived, or nobody knows whether it has."""
        if partition := self._partitions.get(account_id):
            partition.cache.sent(path)

    def absorb_written(self, account_id: str, run: RunData, sent_at: float) -> None:
        """Takes in a run as the server gave it to an own write sent at that time, or to the look before one."""
        if partition := self._partitions.get(account_id):
            partition.cache.absorb_written(run, sent_at)

    async def close(self) -> None:
        """Closes all caches."""
        await self.quota.close()
