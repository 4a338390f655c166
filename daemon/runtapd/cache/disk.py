"""The store in its one thread: reads are awaited, writes are done behind.

Owns the thread and what happens when the disk does not do what it should; what is stored is `store.py`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from runtapd.cache.store import BROKEN, RecordStore, is_damage

T = TypeVar("T")
log = logging.getLogger(__name__)


class Disk:
    """The store in its one thread, opened on first use; whatever goes wrong with it is logged and otherwise ignored."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="records")
        self._store: RecordStore | None = None
        self._closed = False
        self._failing = False

    async def read(self, question: Callable[[RecordStore], T], otherwise: T) -> T:
        """Returns what the store says, or `otherwise` when it cannot be asked."""
        if self._closed:
            return otherwise
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._asked, question, otherwise)
        return await work

    def write(self, change: Callable[[RecordStore], None]) -> None:
        """Writes behind: the caller does not wait."""
        if not self._closed:
            self._thread.submit(self._asked, change, None)

    async def close(self) -> None:
        """Writes what is still to be written and closes the file."""
        if self._closed:
            return
        self._closed = True
        self._thread.submit(self._close_store)
        await asyncio.to_thread(self._thread.shutdown, wait=True)

    def _asked(self, question: Callable[[RecordStore], T], otherwise: T) -> T:
        try:
            if self._store is None:
                self._store = RecordStore(self._folder)
            answer = question(self._store)
        except BROKEN as error:
            if not self._failing:  # said once, not for every run of a long list
                log.warning("the cache on disk cannot be used", extra={"error": str(error)})
            self._failing = True
            with contextlib.suppress(OSError):
                self._begin_anew_if_damaged(error)
            return otherwise
        self._failing = False
        return answer

    def _begin_anew_if_damaged(self, error: Exception) -> None:
        if is_damage(error):
            self._close_store()
            RecordStore.discard(self._folder)
        elif not RecordStore.exists(self._folder):
            self._close_store()

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
