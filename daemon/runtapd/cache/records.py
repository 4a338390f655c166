"""The records of one account, in memory over disk. Every run enters through `absorb`, which compares and numbers it.

Used on the loop only: what happens between two awaits happens at once, so no locks are needed. The disk is written
behind, in its own thread; what memory holds is always at least as new.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from cachetools import LRUCache

from runtapd import faults
from runtapd.cache.store import RecordStore, StoredAnswer
from runtapd.model import encode
from runtapd.model.run import DocumentKind, Record, RunData
from runtapd.upstream import decode

T = TypeVar("T")
log = logging.getLogger(__name__)
_OVERHEAD = 1024
"""Bytes a record costs in memory beside its body, roughly."""


@dataclass(frozen=True, slots=True)
class Held:
    """A record, and whether it had to be read from disk."""

    record: Record
    from_disk: bool = False


class RecordCache:
    """The runs one account has seen."""

    def __init__(self, folder: Path, *, app_url: str, memory_bytes: int, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._app_url = app_url
        self._clock = clock
        self._memory: LRUCache[str, Record] = LRUCache(
            memory_bytes, getsizeof=lambda record: len(record.body) + _OVERHEAD
        )
        self._ids: dict[str, str] = {}
        self._disk_revisions: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="records")
        self._store: RecordStore | None = None
        self._generation = 0
        self._written: dict[str, int] = {}
        self.floor = 0.0
        """Unix seconds: nothing fetched before this moment is used without asking the server."""

    # Own writes

    @property
    def generation(self) -> int:
        """Grows with every own write; a fetch remembers it from before it was sent."""
        return self._generation

    def bump(self, path: str) -> None:
        """An own write of this run is on its way: answers to requests sent before now no longer count for it."""
        self._generation += 1
        self._written[path] = self._generation

    # Runs in

    def absorb(self, runs: Iterable[RunData], *, sent_at: float, generation: int) -> list[Record]:
        """Keeps runs from an answer to a request sent at that time and generation; returns what is now held.

        A run that an own write has changed since the request was sent is not taken over; what is held stays.
        """
        kept, fresh = [], []
        for run in runs:
            held = self._memory.get(run.storage_id)
            if self._written.get(run.path, 0) > generation:
                if held is not None:
                    kept.append(held)
                    continue
                sent_at = 0.0  # nothing newer is held: usable to show, but to be asked for again at once
            record = self._numbered(run, held, sent_at)
            self._remember(record)
            kept.append(record)
            fresh.append(record)
        if fresh:
            self._behind(lambda store: store.put(fresh))
        return kept

    def _numbered(self, run: RunData, held: Record | None, sent_at: float) -> Record:
        revision = held.revision if held else self._disk_revisions.get(run.storage_id, 0) + 1
        record = encode.record_of(
            run,
            app_url=self._app_url,
            fetched_at=sent_at,
            revision=revision,
            last_step=decode.last_step(run.history_keys),
        )
        if held is not None and record.body != held.body:
            record = encode.renumbered(record, held.revision + 1)
        return record

    def _remember(self, record: Record) -> None:
        light = replace(record, documents={}) if record.documents else record
        self._ids[record.path] = record.storage_id
        self._disk_revisions[record.storage_id] = record.revision
        try:
            self._memory[record.storage_id] = light
        except ValueError:
            self._memory.pop(record.storage_id, None)  # larger than the whole memory: the disk has it

    def forget(self, storage_id: str) -> None:
        """Drops a run that turned out to be gone."""
        record = self._memory.pop(storage_id, None)
        if record is not None:
            self._ids.pop(record.path, None)
        self._behind(lambda store: store.remove(storage_id))

    # Runs out

    async def by_path(self, path: str) -> Held | None:
        """Returns the record of `entity/project/run_id`, from memory or disk."""
        record = self._memory.get(self._ids.get(path, ""))
        if record is not None:
            return Held(record)
        entity, project, run_id = path.split("/", 2)
        found = await self._ask(lambda store: store.by_path(entity, project, run_id))
        return self._held(found) if found else None

    async def by_ids(self, storage_ids: Sequence[str]) -> dict[str, Held]:
        """Returns the records there are, by storage id."""
        found = {i: Held(self._memory[i]) for i in storage_ids if i in self._memory}
        missing = [i for i in storage_ids if i not in found]
        if missing:
            for record in await self._ask(lambda store: store.by_ids(missing)):
                found[record.storage_id] = self._held(record)
        return found

    def _held(self, record: Record) -> Held:
        newer = self._memory.get(record.storage_id)
        if newer is not None:
            return Held(newer)
        self._remember(record)
        return Held(record, from_disk=True)

    async def document(self, storage_id: str, kind: DocumentKind) -> bytes | None:
        """Returns an oversize document whole."""
        return await self._ask(lambda store: store.document(storage_id, kind))

    # Answers

    def keep_answer(self, answer: StoredAnswer) -> None:
        """Keeps a complete list on disk."""
        self._behind(lambda store: store.put_answer(answer))

    async def stored_answer(self, key: str) -> StoredAnswer | None:
        """Returns a complete list from disk."""
        return await self._ask(lambda store: store.answer(key))

    # Care

    async def usage(self) -> tuple[int, int, int, int]:
        """Returns records, answers, bytes on disk, bytes in memory."""
        records, answers, disk = await self._ask(lambda store: store.usage())
        return records, answers, disk, int(self._memory.currsize)

    def flush(self) -> float:
        """Lets nothing fetched before now be used without asking the server; returns now."""
        self.floor = self._clock()
        return self.floor

    async def close(self) -> None:
        """Writes what is still to be written and closes the disk."""
        await self._ask(lambda store: store.close())
        self._thread.shutdown(wait=True)

    def _opened(self) -> RecordStore:
        if self._store is None:
            self._store = RecordStore(self._folder)
        return self._store

    async def _ask(self, question: Callable[[RecordStore], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: question(self._opened()))

    def _behind(self, write: Callable[[RecordStore], None]) -> None:
        self._thread.submit(functools.partial(self._write_quietly, write))

    def _write_quietly(self, write: Callable[[RecordStore], None]) -> None:
        try:
            write(self._opened())
        except (faults.DiskFull, OSError) as error:
            # The answer is right without the disk; the next start will just know less.
            log.warning("the cache on disk cannot be written", extra={"error": str(error)})
