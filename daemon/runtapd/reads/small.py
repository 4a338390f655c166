"""Answers that are small and of one piece (a project, a sweep, a page of them), in memory as they came, over disk.

Runs are records, known by their id whatever asked for them; these are known by their question alone. Each question is
asked once for everybody who waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cachetools import LRUCache

from runtapd import faults
from runtapd.cache import policy
from runtapd.cache.disk import Disk
from runtapd.cache.policy import Wishes
from runtapd.cache.store import RecordStore
from runtapd.model.freshness import Freshness, Source
from runtapd.reads import smalltexts
from runtapd.reads.flights import Flights
from runtapd.upstream.api import Wait

T = TypeVar("T")
KEPT = 1024
PATIENCE_S = 3.0
"""How long a server is waited for by those who have something older to fall back on."""


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """An answer, and how fresh it is."""

    value: T
    freshness: Freshness


@dataclass(frozen=True, slots=True)
class _Kept:
    value: Any
    fetched_at: float


class SmallAnswers:
    """What one account was answered."""

    def __init__(self, clock: Callable[[], float], disk: Disk[RecordStore]) -> None:
        self._clock = clock
        self._disk = disk
        self._kept: LRUCache[str, _Kept] = LRUCache(KEPT)
        self._flights: Flights[_Kept] = Flights(clock)

    async def get(
        self,
        key: str,
        ask: Callable[[Wait], Awaitable[T]],
        *,
        what: str,
        soft_limit_s: float,
        floor: float,
        wishes: Wishes,
        wait: Wait,
    ) -> Found[T]:
        """Returns the answer to the question `key`; `ask` asks the server, and `what` names it in errors."""
        kept, source = await self._looked_up(key)
        if kept is not None and policy.usable(kept.fetched_at, self._clock(), soft_limit_s, wishes, floor):
            return _found(kept, source)
        if wishes.cache_only:
            raise faults.NotInCache(f"{what} is not in the cache, and the server was not to be asked")
        fallback = kept if wishes.allow_stale_on_error else None
        if fallback is not None:
            wait = wait.no_later_than(asyncio.get_running_loop().time() + PATIENCE_S)
        try:
            fresh = await self._flights.join(
                key,
                wait,
                lambda shared: self._ask(key, ask, shared),
                not_before=max(floor, wishes.not_before),
            )
        except faults.NotFound:
            self._kept.pop(key, None)
            self._disk.write(lambda store: store.remove_small(key))
            raise
        except faults.UpstreamFault:
            if fallback is None:
                raise
            return _found(fallback, source, stale=True)
        return _found(fresh, Source.UPSTREAM)

    async def _looked_up(self, key: str) -> tuple[_Kept | None, Source]:
        self._disk.used([key])
        if key not in self._kept:
            stored = await self._disk.read(lambda store: _stored(store, key), None)
            if stored is not None and key not in self._kept:
                self._kept[key] = stored
                return stored, Source.DISK
        return self._kept.get(key), Source.MEMORY

    async def _ask(self, key: str, ask: Callable[[Wait], Awaitable[T]], wait: Wait) -> _Kept:
        sent_at = self._clock()
        fresh = _Kept(await ask(wait), sent_at)
        held = self._kept.get(key)
        # One from the future was kept before the clock was set back.
        if held is None or not sent_at < held.fetched_at <= self._clock():
            self._kept[key] = fresh
            self._disk.write(lambda store: store.put_small(key, sent_at, smalltexts.text_of(fresh.value)))
        return fresh


def _stored(store: RecordStore, key: str) -> _Kept | None:
    found = store.small(key)
    value = smalltexts.answer_of(found[1]) if found else None
    return _Kept(value, found[0]) if found and value is not None else None


def _found(kept: _Kept, source: Source, *, stale: bool = False) -> Found[Any]:
    return Found(kept.value, Freshness(kept.fetched_at, source, stale))
