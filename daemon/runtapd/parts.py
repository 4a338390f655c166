"""The parts that answer calls, made lowest floor first: accounts, cache, journal, reads, writes, services.

The inner half of the wiring in `app.py`; nothing else constructs these. Owns also what GetStatus asks of them all.
"""

from __future__ import annotations

import random
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import runtapd
from runtapd.cache.eviction import default_limit
from runtapd.cache.policy import SoftLimits
from runtapd.history import encode
from runtapd.journal import Journal
from runtapd.paging import Sealer
from runtapd.reads.best import BestRuns
from runtapd.reads.histories import HistoryReads
from runtapd.reads.history_keys import HistoryKeyReads
from runtapd.reads.lists import RunLists
from runtapd.reads.many import ManyHistories
from runtapd.reads.overlay import Overlay
from runtapd.reads.partitions import Partitions
from runtapd.reads.projects import ProjectReads
from runtapd.reads.rosters import Rosters
from runtapd.reads.runs import RunReads
from runtapd.reads.sweeps import SweepReads
from runtapd.services.accounts import AccountService
from runtapd.services.history import HistoryService
from runtapd.services.history_keys import HistoryKeyPages
from runtapd.services.projects import ProjectService
from runtapd.services.read_histories import ManyHistoryStreams
from runtapd.services.runs import RunService
from runtapd.services.sweeps import SweepService
from runtapd.services.vitals import AccountVitals, CacheVitals, EmptyVitals, Vitals
from runtapd.services.writes import WriteService
from runtapd.settings import Settings
from runtapd.upstream.accounts import Accounts
from runtapd.upstream.features import ServerFeatures
from runtapd.upstream.pushdown import Servers
from runtapd.writes import Writes

WRITES_GRACE_S = 2.0


class _Service(Protocol):
    """A servicer that says what it can do."""

    @property
    def capabilities(self) -> Sequence[str]: ...


@dataclass(kw_only=True)
class Parts:
    """What answers calls: the services by their full name in the contract, and what GetStatus asks of them."""

    services: Sequence[tuple[str, object]] = ()
    capabilities: Sequence[str] = ()
    vitals: Vitals = field(default_factory=EmptyVitals)
    warm_up: Callable[[], object] = lambda: None
    """Loads what only some calls need; called in a thread, in a quiet moment."""

    async def close(self) -> None:
        """Stops what runs in the background and makes the journal safe; called when no call is open any more."""


@dataclass(kw_only=True)
class WholeParts(Parts):
    """The parts of a real daemon, in the order in which they are made."""

    features: ServerFeatures
    accounts: Accounts
    partitions: Partitions
    journal: Journal
    writes: Writes
    threads: ThreadPoolExecutor

    async def close(self) -> None:
        await self.writes.close(WRITES_GRACE_S)
        await self.journal.close()
        await self.partitions.close()
        self.accounts.close()
        await self.features.close()
        self.threads.shutdown(wait=False, cancel_futures=True)


async def build_parts(settings: Settings, learn: Callable[[str], None]) -> WholeParts:
    """Makes the parts of the daemon, lowest floor first; raises DiskFull or OSError when its folder is unusable.

    `learn` is told every key, so that the log can leave it out.
    """
    threads = ThreadPoolExecutor(settings.upstream_threads, thread_name_prefix="upstream")
    features = ServerFeatures(settings.state_dir)
    accounts = _accounts(settings, threads, learn, features)
    sealer = Sealer.from_folder(settings.state_dir)
    journal = Journal(
        settings.state_dir / "journal.db", clock=time.time, new_id=lambda: secrets.token_hex(12)
    )
    await journal.open()
    partitions = _build_partitions(settings, accounts, journal)
    writes = Writes(journal, accounts, partitions, chance=random.random)
    accounts.on_login = writes.unblock
    overlay = Overlay(journal.open_patches)
    runs = RunReads(partitions, overlay)
    lists = RunLists(partitions, overlay, Servers(accounts.is_local, features))
    histories = HistoryReads(runs, time.time)
    run_service = RunService(partitions, runs, lists, writes, sealer)
    services: dict[str, _Service] = {
        "AccountService": AccountService(accounts, partitions, journal, sealer, settings.local_home),
        "ProjectService": ProjectService(partitions, ProjectReads(partitions), sealer),
        "RunService": run_service,
        "HistoryService": HistoryService(
            partitions,
            histories,
            ManyHistoryStreams(partitions, ManyHistories(histories), Rosters(partitions, runs, lists)),
            HistoryKeyPages(partitions, HistoryKeyReads(runs), sealer),
            sealer,
        ),
        "SweepService": SweepService(
            partitions, SweepReads(partitions), BestRuns(lists, histories), run_service, sealer
        ),
        "WriteService": WriteService(
            writes, journal, sealer, account_of=lambda asked: accounts.get(asked).account_id
        ),
    }
    writes.start()
    return WholeParts(
        services=[(f"runtap.v1.{name}", service) for name, service in services.items()],
        capabilities=[capability for service in services.values() for capability in service.capabilities],
        vitals=PartVitals(accounts, partitions, journal),
        features=features,
        accounts=accounts,
        partitions=partitions,
        journal=journal,
        writes=writes,
        threads=threads,
        warm_up=encode.load,
    )


def _build_partitions(settings: Settings, accounts: Accounts, journal: Journal) -> Partitions:
    limits = SoftLimits(settings.fresh_running_s, settings.fresh_list_s, settings.fresh_finished_s)
    return Partitions(
        accounts,
        settings.state_dir / "cache",
        cache_limit_bytes=settings.cache_limit_bytes
        or default_limit(shutil.disk_usage(settings.state_dir).total),
        unsent=lambda account_id: [
            (entry.entity, entry.project, entry.run_id) for entry in journal.open_entries(account_id)
        ],
        memory_bytes=settings.memory_cache_bytes,
        limits=limits,
        clock=time.time,
        last_settled_at=journal.last_settled_at,
    )


def _accounts(
    settings: Settings, threads: ThreadPoolExecutor, learn: Callable[[str], None], features: ServerFeatures
) -> Accounts:
    return Accounts(
        state_dir=settings.state_dir,
        local_home=settings.local_home,
        threads=threads,
        version=runtapd.__version__,
        learn=learn,
        features=features,
    )


@dataclass
class PartVitals:
    """How the parts are, for GetStatus; `runtapd.services.vitals.Vitals` says what each answer means."""

    accounts: Accounts
    partitions: Partitions
    journal: Journal

    def pending_writes(self) -> int:
        return self.journal.pending_count()

    def blocked_writes(self) -> int:
        return self.journal.blocked_count()

    def sendable_writes(self) -> int:
        return self.journal.sendable_count()

    def account_statuses(self) -> Sequence[AccountVitals]:
        return [
            AccountVitals(
                account_id=account.account_id,
                base_url=account.base_url,
                username=account.viewer.username,
                is_default=account.account_id == self.accounts.default_id,
                blocked=account.blocked,
                upstream_requests=account.requests_sent,
                pending_writes=self.journal.pending_count(account.account_id),
                held_back=account.held_back,
            )
            for account in self.accounts.all()
        ]

    def upstream_requests(self) -> int:
        return sum(account.requests_sent for account in self.accounts.all())

    def cache_hits(self) -> int:
        return sum(partition.hits for partition in self.partitions.all())

    def cache_misses(self) -> int:
        return sum(partition.misses for partition in self.partitions.all())

    def cache_limit(self) -> int:
        return self.partitions.quota.limit_bytes

    async def cache_usage(self) -> Sequence[CacheVitals]:
        quota = self.partitions.quota
        sizes = await quota.sizes()
        on_disk = {account_id: await quota.counts(account_id) for account_id in sizes}
        nothing: Counter[str] = Counter()
        return [
            CacheVitals(
                account_id,
                records=on_disk.get(account_id, nothing)["runs"],
                answers=on_disk.get(account_id, nothing)["lists"],
                histories=on_disk.get(account_id, nothing)["histories"],
                disk_bytes=sizes.get(account_id, 0),
                memory_bytes=self.partitions.memory_bytes(account_id),
            )
            for account_id in sorted({*sizes, *(account.account_id for account in self.accounts.all())})
        ]

    async def prune(self, account_id: str, keep_bytes: int, unused_since: float | None) -> int:
        return await self.partitions.quota.prune(account_id, keep_bytes, unused_since)

    async def flush(self, account_id: str) -> float:
        return self.partitions.flush(account_id)
