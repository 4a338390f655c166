"""What `DaemonService` asks of the rest of the daemon, and the answers of a daemon that has no rest yet.

Owns the shape of the question only. `app.py` passes in whoever can answer it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class AccountVitals:
    """One account as GetStatus shows it."""

    account_id: str
    base_url: str
    username: str
    is_default: bool
    blocked: bool
    upstream_requests: int
    pending_writes: int
    held_back: str = ""
    """What its requests wait for where the server limits them, such as `has asked for a pause of another 9 s`."""


@dataclass(frozen=True)
class CacheVitals:
    """What one account's cache holds."""

    account_id: str
    records: int
    answers: int
    histories: int
    disk_bytes: int
    memory_bytes: int


class Vitals(Protocol):
    """How the parts of the daemon are. Only the coroutines may take time."""

    def pending_writes(self) -> int:
        """Writes not settled yet."""
        ...

    def blocked_writes(self) -> int:
        """Of those, the ones that wait for a usable key."""
        ...

    def sendable_writes(self) -> int:
        """Of those, the ones that could be sent now: the daemon does not go idle before they are."""
        ...

    def account_statuses(self) -> Sequence[AccountVitals]:
        """The accounts in use."""
        ...

    def upstream_requests(self) -> int:
        """Requests sent to servers since the start."""
        ...

    def cache_hits(self) -> int:
        """Reads answered from the cache alone."""
        ...

    def cache_misses(self) -> int:
        """Reads that had to ask a server."""
        ...

    def cache_limit(self) -> int:
        """Bytes that the caches of all accounts together may take on disk."""
        ...

    async def cache_usage(self) -> Sequence[CacheVitals]:
        """What is cached of each account that is known or has left anything."""
        ...

    async def prune(self, account_id: str, keep_bytes: int, unused_since: float | None) -> int:
        """Drops what was used longest ago, of one account or (empty) all, and not since that moment if one is given,
        until no more than `keep_bytes` are left; returns the bytes freed on disk."""
        ...

    async def flush(self, account_id: str) -> float:
        """Makes what was fetched before now need revalidation, for one account or (empty) all; returns that moment
        in seconds since the epoch."""
        ...


class EmptyVitals:
    """The answers of a daemon without accounts, cache or journal."""

    def pending_writes(self) -> int:
        return 0

    def blocked_writes(self) -> int:
        return 0

    def sendable_writes(self) -> int:
        return 0

    def account_statuses(self) -> Sequence[AccountVitals]:
        return ()

    def upstream_requests(self) -> int:
        return 0

    def cache_hits(self) -> int:
        return 0

    def cache_misses(self) -> int:
        return 0

    def cache_limit(self) -> int:
        return 0

    async def cache_usage(self) -> Sequence[CacheVitals]:
        return ()

    async def prune(self, account_id: str, keep_bytes: int, unused_since: float | None) -> int:
        return 0

    async def flush(self, account_id: str) -> float:
        return time.time()
