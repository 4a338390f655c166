"""A store in its one thread: reads are awaited, writes are done behind, or awaited too.

Owns the thread, what happens when the disk does not do what it should, and which things were used since that was last
written down. What is stored is the store's (`store.py`, `history/store.py`); how much of it may stay is `quota.py`'s,
which hears of growth.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from runtapd import faults
from runtapd.cache import tables
from runtapd.cache.eviction import minute_of
from runtapd.cache.space import Space


class Store(Protocol):
    """What an account keeps in one file."""

    FILE: ClassVar[tables.File]
    space: Space

    def __init__(self, folder: Path) -> None: ...

    def close(self) -> None: ...

    def counts(self) -> Counter[str]: ...


S = TypeVar("S", bound=Store)
T = TypeVar("T")
U = TypeVar("U")
log = logging.getLogger(__name__)
_USES_AT_ONCE = 2000
"""Uses that wait before they are written down."""


class Disk(Generic[S]):
    """One of an account's stores, opened on first use; whatever goes wrong with it is logged and otherwise ignored."""

    def __init__(
        self,
        folder: Path,
        kind: type[S],
        *,
        clock: Callable[[], float],
        growth_bytes: int = 0,
        on_growth: Callable[[], None] | None = None,
    ) -> None:
        """`on_growth` is called on the loop when the file has grown so much since the last call."""
        self._folder = folder
        self._kind = kind
        self._growth_bytes = growth_bytes
        self._on_growth = on_growth
        self._bytes_then = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=kind.FILE.name)
        self._store: S | None = None
        self._closed = False
        self._failing = False
        self._uses = _Uses(clock)

    async def read(self, question: Callable[[S], T], otherwise: U) -> T | U:
        """Returns what the store says, or `otherwise` when it cannot be asked."""
        if self._closed:
            return otherwise
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._asked, question, otherwise, loop)

    async def ask(self, question: Callable[[S], T]) -> T:
        """The same for those who must know when it cannot be asked: DiskFull."""
        answer = await self.read(question, _REFUSED)
        if isinstance(answer, _Refused):
            raise faults.DiskFull(
                f"the cache in {self._folder} cannot be written to (the daemon's log says why), so it cannot be made "
                "smaller piece by piece; dropping all of it needs no room"
            )
        return answer

    def write(self, change: Callable[[S], None]) -> None:
        """Writes behind: the caller does not wait."""
        if not self._closed:
            self._thread.submit(self._asked, change, None, asyncio.get_running_loop())

    def used(self, names: Iterable[str]) -> None:
        """Notes that these runs (by storage id) and lists (by key) are used now; written down many at a time."""
        if self._uses.add(names) >= _USES_AT_ONCE:
            self.write_uses()

    def write_uses(self) -> None:
        """Writes down, behind, what was noted."""
        if not self._closed and (uses := self._uses.take()):
            self._thread.submit(self._answered, lambda store: store.space.note(uses), None)

    async def discard(self) -> None:
        """Removes the file whole, which needs no room on the disk; DiskFull when not even that can be done."""
        if not self._closed:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._discarded)

    async def close(self) -> None:
        """Writes what is still to be written and closes the file."""
        if self._closed:
            return
        self.write_uses()
        self._closed = True
        self._thread.submit(self._close_store)
        await asyncio.to_thread(self._thread.shutdown, wait=True)

    # In the thread

    def _asked(self, question: Callable[[S], T], otherwise: U, loop: asyncio.AbstractEventLoop) -> T | U:
        try:
            return self._answered(question, otherwise)
        finally:
            self._see_growth(loop)

    def _see_growth(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._on_growth is None:
            return
        now = tables.size(self._folder, self._kind.FILE)
        if now - self._bytes_then >= self._growth_bytes:
            self._bytes_then = now
            loop.call_soon_threadsafe(self._on_growth)
        self._bytes_then = min(self._bytes_then, now)

    def _answered(self, question: Callable[[S], T], otherwise: U) -> T | U:
        try:
            if self._store is None:
                self._store = self._kind(self._folder)
            answer = question(self._store)
        except tables.BROKEN as error:
            if not self._failing:  # said once, not for every run of a long list
                log.warning("the cache on disk cannot be used", extra={"error": str(error)})
            self._failing = True
            with contextlib.suppress(OSError):
                self._begin_anew_if_damaged(error)
            return otherwise
        self._failing = False
        return answer

    def _begin_anew_if_damaged(self, error: Exception) -> None:
        if tables.is_damage(error):
            self._close_store()
            tables.discard(self._folder, self._kind.FILE)
        elif not tables.exists(self._folder, self._kind.FILE):
            self._close_store()

    def _discarded(self) -> None:
        try:
            self._close_store()
            tables.discard(self._folder, self._kind.FILE)
        except tables.BROKEN as error:
            raise faults.DiskFull(f"the cache in {self._folder} cannot be removed: {error}") from error

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


class _Refused:
    """Stands for an answer that the store could not give."""


_REFUSED = _Refused()


class _Uses:
    """Names used since they were last taken, each noted once a minute."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._minute = 0
        self._noted: set[str] = set()
        self._waiting: dict[str, int] = {}

    def add(self, names: Iterable[str]) -> int:
        """Notes them; returns how many wait to be taken."""
        minute = minute_of(self._clock())
        if minute != self._minute:
            self._minute, self._noted = minute, set()
        fresh = [name for name in names if name not in self._noted]
        self._noted.update(fresh)
        self._waiting.update(dict.fromkeys(fresh, minute))
        return len(self._waiting)

    def take(self) -> dict[str, int]:
        """Returns the minute of each that waits, and begins anew."""
        taken, self._waiting = self._waiting, {}
        return taken
