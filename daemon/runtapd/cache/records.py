"""The records of one account, in memory over disk. Every run enters through `absorb`, which compares and numbers it.

Used on the loop only: what happens between two awaits happens at once, so no locks are needed. The disk is written
behind, by `disk.py`; what memory holds is always at least as new. A disk that is full, away or damaged costs what
it would have remembered and nothing else: every answer can be given without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from cachetools import LRUCache

from runtapd.cache.disk import Disk
from runtapd.cache.store import RecordStore, StoredAnswer
from runtapd.model import encode
from runtapd.model.run import DocumentKind, Record, RunData
from runtapd.upstream import decode

MOST_NAMES = 100_000
"""So many runs beside those in memory are known by name and revision."""
MOST_WRITES = 10_000
"""So many runs with own writes have a floor of their own."""
_OVERHEAD = 1024
"""Bytes a record costs in memory beside its body, roughly."""
_LARGE = 4 * 2**20
"""Bytes of documents beyond messages that may wait to be written."""
_AT_ONCE = 50
"""Runs made into records in one go, in a thread."""


@dataclass(frozen=True, slots=True)
class Held:
    """A record, and whether it had to be read from disk."""

    record: Record
    from_disk: bool = False


class RecordCache:
    """The runs one account has seen."""

    def __init__(
        self, disk: Disk[RecordStore], *, app_url: str, memory_bytes: int, clock: Callable[[], float]
    ) -> None:
        self._app_url = app_url
        self._clock = clock
        self._memory: LRUCache[str, Record] = LRUCache(
            memory_bytes, getsizeof=lambda record: len(record.body) + _OVERHEAD
        )
        self._ids: dict[str, str] = {}
        self._revisions: dict[str, int] = {}
        self._disk = disk
        self._generation = 0
        self._written: dict[str, _OwnWrite] = {}
        self.floor = 0.0
        """Unix seconds: nothing fetched before this moment is used without asking the server."""

    # Own writes

    @property
    def generation(self) -> int:
        """Grows with every own write; a fetch remembers it from before it was sent."""
        return self._generation

    def sending(self, path: str) -> float:
        """An own write of this run is on its way: what was asked for before no longer counts for it. Returns now."""
        self._generation += 1
        now = self._clock()
        self._note_write(path, _OwnWrite(self._generation, now, under_way=True))
        self._disk.write(RecordStore.forget_answers)
        return now

    def sent(self, path: str) -> None:
        """It has arrived, or nobody knows: nor does what was asked for meanwhile count, which may lack it."""
        self._generation += 1
        self._note_write(path, _OwnWrite(self._generation, self._clock()))
        self._disk.write(RecordStore.forget_answers)

    def _note_write(self, path: str, own: _OwnWrite) -> None:
        self._written.pop(path, None)
        self._written[path] = own  # the last one now
        if len(self._written) > MOST_WRITES:
            for old in list(islice(self._written, MOST_WRITES // 2)):
                if not self._written[old].under_way:
                    # One floor for all takes the place of their own ones.
                    self.floor = max(self.floor, self._written.pop(old).at)

    def absorb_written(self, run: RunData, sent_at: float) -> None:
        """Takes in a run as the server gave it to an own write sent at that time, or to the look before one."""
        if own := self._written.get(run.path):
            self._written[run.path] = replace(own, at=min(own.at, sent_at))
        self.absorb([run], sent_at=sent_at, generation=self._generation)

    def written_at(self, path: str) -> float:
        """Unix seconds of the last own write of this run; 0 when there was none."""
        own = self._written.get(path)
        return 0.0 if own is None else own.at

    def floor_of(self, path: str) -> float:
        """Unix seconds: nothing this run showed before that moment is used without asking the server."""
        return max(self.floor, self.written_at(path))

    # Runs in

    def absorb(self, runs: Iterable[RunData], *, sent_at: float, generation: int) -> list[Record]:
        """Keeps runs from an answer to a request sent at that time and generation; returns what is now held.

        What was asked for before what is held is not taken over. What an own write may have changed since is, where
        nothing better is held, and is marked: it `lacks_write`.
        """
        return self._taken([self._record(run, sent_at) for run in runs], generation)

    async def absorb_page(self, runs: Sequence[RunData], *, sent_at: float, generation: int) -> list[Record]:
        """The same for many runs or large ones: milliseconds of work each, done in threads."""
        # What only the disk knows comes first, so that its revisions go on.
        await self.by_ids([run.storage_id for run in runs])
        records: list[Record] = []
        for start in range(0, len(runs), _AT_ONCE):
            fresh = await asyncio.to_thread(self._records, runs[start : start + _AT_ONCE], sent_at)
            records += self._taken(fresh, generation)
            if sum(size for record in fresh for _, size in record.oversize) > _LARGE:
                # What waits to be written is held in memory: large documents must not pile up there.
                await self._disk.read(lambda store: None, None)
        return records

    def _records(self, runs: Sequence[RunData], sent_at: float) -> list[Record]:
        return [self._record(run, sent_at) for run in runs]

    def _record(self, run: RunData, sent_at: float) -> Record:
        step = decode.last_step(run.history_keys)
        return encode.record_of(run, app_url=self._app_url, fetched_at=sent_at, last_step=step)

    def _taken(self, fresh: list[Record], generation: int) -> list[Record]:
        kept, new = [], []
        for record in fresh:
            held = self._memory.get(record.storage_id)
            own = self._written.get(record.path)
            outdated = own is not None and own.outdates(generation)
            # What is held lacks nothing, and this may: unless that is older than the write, it stays.
            whole = (
                held is not None and own is not None and held.current_at >= own.at and not held.lacks_write
            )
            # A record from the future was made before the clock was set back; it does not count as newer.
            newer = held is not None and record.fetched_at < held.current_at <= self._clock()
            if held is not None and ((outdated and whole) or (newer and held.lacks_write <= outdated)):
                kept.append(held)
                continue
            # An outdated one is shown, with the write laid over it, and asked for again as soon as it is wanted.
            record = replace(record, lacks_write=True) if outdated else record
            record = self._numbered(record, held)
            self._remember(record)
            kept.append(record)
            new.append(record)
        if new:
            self._disk.write(lambda store: store.put(new))
        return kept

    def _numbered(self, record: Record, held: Record | None) -> Record:
        if held is None:
            return encode.numbered(record, self._revisions.get(record.storage_id, 0) + 1)
        same = encode.numbered(record, held.revision)
        return same if same.body == held.body else encode.numbered(record, held.revision + 1)

    def check(self, records: Sequence[Record], at: float) -> list[Record]:
        """Notes that a glance asked for at that time found these records unchanged; returns them with that noted."""
        checked = []
        for record in records:
            held = self._memory.get(record.storage_id, record)
            if held.sign == record.sign and held.checked_at < at:
                held = replace(held, checked_at=at)
                self._remember(held)
            checked.append(held)
        ids = [record.storage_id for record in records]
        if ids:
            self._disk.write(lambda store: store.check(ids, at))
        return checked

    def _remember(self, record: Record) -> None:
        light = replace(record, documents={}) if record.documents else record
        self._ids[record.path] = record.storage_id
        self._revisions.pop(record.storage_id, None)
        self._revisions[record.storage_id] = record.revision  # the last one now
        try:
            self._memory[record.storage_id] = light
        except ValueError:
            self._memory.pop(record.storage_id, None)  # larger than the whole memory: the disk has it
        if len(self._revisions) > MOST_NAMES + 2 * len(self._memory):
            self._forget_names()

    def _forget_names(self) -> None:
        """Forgets what is known of runs that left memory long ago: the disk has written down what they were."""
        for storage_id in list(islice(self._revisions, len(self._revisions) // 2)):
            if storage_id not in self._memory:
                del self._revisions[storage_id]
        self._ids = {path: i for path, i in self._ids.items() if i in self._memory}

    def forget(self, storage_id: str) -> None:
        """Drops a run that turned out to be gone."""
        record = self._memory.pop(storage_id, None)
        if record is not None and self._ids.get(record.path) == storage_id:
            del self._ids[record.path]
        self._disk.write(lambda store: store.remove(storage_id))

    # Runs out

    async def by_path(self, path: str) -> Held | None:
        """Returns the record of `entity/project/run_id`, from memory or disk."""
        record = self._memory.get(self._ids.get(path, ""))
        if record is not None and record.path == path:  # two runs of one storage id are the server's mistake
            self._disk.used([record.storage_id])
            return Held(record)
        entity, project, run_id = path.split("/", 2)
        found = await self._disk.read(lambda store: store.by_path(entity, project, run_id), None)
        if found is not None and self._outrun(found):
            found = await self._disk.read(lambda store: store.by_path(entity, project, run_id), None)
        if found is None or self._outrun(found):
            return None
        self._disk.used([found.storage_id])
        return self._held(found)

    def latest(self, record: Record) -> Record:
        """Returns this record, or a newer one of the same run if memory has it."""
        if self._revisions.get(record.storage_id) == record.revision:
            return record  # nearly always, and lists ask this for each of their runs
        held = self._memory.get(record.storage_id)
        return held if held is not None and held.revision > record.revision else record

    async def by_ids(self, storage_ids: Sequence[str]) -> dict[str, Held]:
        """Returns the records there are, by storage id."""
        held = self._memory.get
        found = {i: Held(record) for i in storage_ids if (record := held(i)) is not None}
        missing = [i for i in storage_ids if i not in found]
        if missing:
            nothing: list[Record] = []
            stored = await self._disk.read(lambda store: store.by_ids(missing), nothing)
            if any(map(self._outrun, stored)):
                stored = await self._disk.read(lambda store: store.by_ids(missing), nothing)
            for record in stored:
                if not self._outrun(record):
                    found[record.storage_id] = self._held(record)
        self._disk.used(found)
        return found

    def sizes(self, storage_ids: Iterable[str]) -> list[int]:
        """Returns the bytes of those of these runs that memory has."""
        return [len(record.body) for i in storage_ids if (record := self._memory.get(i)) is not None]

    def _outrun(self, record: Record) -> bool:
        """Whether a newer version came and left memory while this was read from disk, which has that by now too."""
        known = self._revisions.get(record.storage_id, 0)
        return known > record.revision and record.storage_id not in self._memory

    def _held(self, record: Record) -> Held:
        newer = self._memory.get(record.storage_id)
        if newer is not None:
            return Held(newer)
        self._remember(record)
        return Held(record, from_disk=True)

    async def document_digest(self, record: Record, kind: DocumentKind) -> bytes | None:
        """Names the text of an oversize document of this very record; None when the disk does not have it."""
        return await self._disk.read(
            lambda store: store.document_digest(record.storage_id, kind, record.revision), None
        )

    async def document_piece(
        self, storage_id: str, kind: DocumentKind, digest: bytes, start: int, length: int
    ) -> bytes | None:
        """Returns bytes of the document of that digest; None when it has been replaced."""
        return await self._disk.read(
            lambda store: store.document_piece(storage_id, kind, digest, start, length), None
        )

    # Answers

    def keep_answer(self, answer: StoredAnswer) -> None:
        """Keeps a complete list on disk."""
        self._disk.write(lambda store: store.put_answer(answer))

    async def stored_answer(self, key: str) -> StoredAnswer | None:
        """Returns a complete list from disk."""
        self._disk.used([key])
        return await self._disk.read(lambda store: store.answer(key), None)

    # Care

    @property
    def memory_bytes(self) -> int:
        """Bytes held in memory."""
        return int(self._memory.currsize)

    def flush(self) -> float:
        """Lets nothing fetched before now be used without asking the server; returns now."""
        self.floor = self._clock()
        return self.floor


@dataclass(frozen=True, slots=True)
class _OwnWrite:
    generation: int
    at: float
    """Nothing from before is used unasked."""
    under_way: bool = False

    def outdates(self, generation: int) -> bool:
        """Whether what was asked for at that generation may lack the write."""
        return self.under_way or self.generation > generation
