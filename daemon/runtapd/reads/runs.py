"""Reading runs: one, a page of a list, or all of it.

The order of a read: 1. look into the cache; 2. decide whether that is fresh enough (`cache/policy.py`); 3. else fetch,
once for everybody who waits; 4. keep; 5. lay own writes over it that the server has not confirmed yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from runtapd import faults
from runtapd.cache import keys, policy
from runtapd.cache.policy import Wishes
from runtapd.cache.records import Held
from runtapd.cache.store import StoredAnswer
from runtapd.model import encode
from runtapd.model.freshness import Freshness, Source
from runtapd.model.patch import Patch
from runtapd.model.paths import ProjectPath, RunPath
from runtapd.model.run import DocumentKind, Record, RunData
from runtapd.reads.partitions import Answer, Partition, Partitions
from runtapd.upstream.api import Wait

FIRST_PAGE = 50
LARGEST_PAGE = 1000
PAGE_BYTES = 32 * 2**20
"""About how many bytes of documents one page asked of a server may bring."""

OpenPatches = Callable[[str, str], Sequence[Patch]]
"""The own writes of a run (account, path) that the server has not confirmed."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs, and in which order; texts as they go to the server."""

    project: ProjectPath
    filters: str
    order: str

    @property
    def key(self) -> str:
        """Names the answer."""
        return keys.answer_key("runs", project=str(self.project), filters=self.filters, order=self.order)


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run as a caller sees it: the record with own writes laid over it."""

    record: Record
    freshness: Freshness
    documents: dict[DocumentKind, str]
    """Oversize documents that own writes changed; the others lie in the cache."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a list."""

    runs: list[ShownRun]
    next_offset: int | None
    """Where the list goes on; None at its end."""
    cursor: str
    """The server's cursor behind the last of these runs."""
    total: int | None
    incomplete: str
    freshness: Freshness


class RunReads:
    """Answers questions about runs."""

    def __init__(self, partitions: Partitions, open_patches: OpenPatches) -> None:
        self._partitions = partitions
        self._open_patches = open_patches

    # One run

    async def run(self, part: Partition, path: RunPath, wishes: Wishes, wait: Wait) -> ShownRun:
        """Returns one run; raises NotFound, NotInCache or an UpstreamFault."""
        held = await part.cache.by_path(str(path))
        if held is not None and self._usable(part, held.record, wishes):
            part.hits += 1
            return await self._shown(part, held.record, Source.DISK if held.from_disk else Source.MEMORY)
        if wishes.cache_only:
            raise faults.NotInCache(f"run {path} is not in the cache, and the server was not to be asked")
        part.misses += 1
        try:
            record = await part.flights.join(path, wait, lambda shared: self._fetch(part, path, shared))
        except faults.NotFound:
            if held is not None:
                part.cache.forget(held.record.storage_id)
            raise
        except faults.UpstreamFault:
            if held is None or not wishes.allow_stale_on_error:
                raise
            return await self._shown(part, held.record, Source.MEMORY, stale=True)
        return await self._shown(part, record, Source.UPSTREAM)

    async def document(self, part: Partition, shown: ShownRun, kind: DocumentKind) -> bytes | None:
        """Returns a document of a run whole, wherever it lies; None when the run has none."""
        if kind in shown.documents:
            return shown.documents[kind].encode("utf-8", "surrogatepass")
        if any(kind == left_out for left_out, _ in shown.record.oversize):
            found = await part.cache.document(shown.record.storage_id, kind)
            if found is None:
                raise faults.DiskFull("the document was too large for memory and could not be kept on disk")
            return found
        message = encode.parse(shown.record.body)
        name = encode.document_field(kind)
        return getattr(message, name).encode() if message.HasField(name) else None  # type: ignore[arg-type]

    async def _fetch(self, part: Partition, path: RunPath, wait: Wait) -> Record:
        sent_at, generation = self._partitions.clock(), part.cache.generation
        run = await part.upstream.run(path.entity, path.project, path.run_id, wait)
        return part.cache.absorb([run], sent_at=sent_at, generation=generation)[0]

    def _usable(self, part: Partition, record: Record, wishes: Wishes) -> bool:
        limit = self._partitions.limits.of_run(record.state)
        return policy.usable(record.fetched_at, self._partitions.clock(), limit, wishes, part.cache.floor)

    # Lists

    async def part_of_list(
        self,
        part: Partition,
        query: RunQuery,
        *,
        offset: int,
        count: int,
        page_ceiling: int,
        wishes: Wishes,
        wait: Wait,
        cursor: str | None = None,
        answer: Answer | None = None,
    ) -> tuple[Part, Answer]:
        """Returns up to `count` runs from `offset` on, and the answer they belong to.

        Later parts are given the `answer` of the first, so that a list does not change under its reader; when it is
        gone (restart, memory), the list goes on behind `cursor`.
        """
        fetched = 0
        if answer is None:
            answer = await self._answer(part, query, wishes, offset, cursor)
        if not answer.done and len(answer.ids) < offset + count:
            async with answer.extending:
                while not answer.done and len(answer.ids) < offset + count:
                    wanted = offset + count - len(answer.ids)
                    await self._extend(part, query, answer, min(wanted, page_ceiling), wait)
                    fetched += 1
        if fetched:
            part.misses += 1
        else:
            part.hits += 1
        ids = answer.ids[offset : offset + count]
        runs = await self._runs_by_id(part, query, answer, ids, bool(fetched), wait)
        end = offset + len(ids)
        at_end = answer.done and end >= len(answer.ids)
        return (
            Part(
                runs=runs,
                next_offset=None if at_end else end,
                cursor=answer.cursors[end - 1] if ids else "",
                total=answer.total,
                incomplete=answer.incomplete if at_end else "",
                freshness=self._list_freshness(answer, runs, bool(fetched)),
            ),
            answer,
        )

    def kept_answer(self, part: Partition, query: RunQuery) -> Answer | None:
        """Returns the answer to this query that is in memory, however old."""
        return part.answers.get(query.key)

    async def _answer(
        self, part: Partition, query: RunQuery, wishes: Wishes, offset: int, cursor: str | None
    ) -> Answer:
        """Returns the cached answer if it may be used, else a new one; `cursor` begins one in the middle."""
        now, limit = self._partitions.clock(), self._partitions.limits.list_s
        kept = part.answers.get(query.key)
        if kept is None and (stored := await part.cache.stored_answer(query.key)):
            kept = _from_disk(stored, part.cache.generation)
        if kept is not None and kept.generation == part.cache.generation:
            if policy.usable(kept.fetched_at, now, limit, wishes, part.cache.floor):
                part.answers[query.key] = kept
                return kept
        elif kept is not None and wishes.cache_only:
            return kept
        if wishes.cache_only:
            raise faults.NotInCache(f"the runs of {query.project} are not in the cache")
        answer = Answer(query.key, fetched_at=now, generation=part.cache.generation)
        if offset and cursor:
            # What came before is the caller's already; only its length matters here.
            answer.ids, answer.cursors = [""] * offset, [cursor] * offset
        else:
            part.answers[query.key] = answer
        return answer

    async def _extend(
        self, part: Partition, query: RunQuery, answer: Answer, wanted: int, wait: Wait
    ) -> None:
        """Fetches one more page of an answer."""
        if answer.ids and answer.total is not None:
            wanted = min(wanted, max(1, answer.total - len(answer.ids)))
        if answer.bytes_seen:
            wanted = min(wanted, max(1, PAGE_BYTES * len(answer.ids) // answer.bytes_seen))
        sent_at, generation = self._partitions.clock(), part.cache.generation
        page = await part.upstream.runs(
            query.project.entity,
            query.project.project,
            filters=query.filters,
            order=query.order,
            cursor=answer.cursors[-1] if answer.cursors else None,
            first=min(wanted, LARGEST_PAGE),
            wait=wait,
        )
        records = await _absorb(part, page.runs, sent_at, generation)
        seen = set(answer.ids)
        for record, run, cursor in zip(records, page.runs, page.cursors, strict=True):
            if (
                record.storage_id not in seen
            ):  # runs inserted meanwhile shift pages of servers that page by offset
                seen.add(record.storage_id)
                answer.ids.append(record.storage_id)
                answer.cursors.append(cursor)
                answer.bytes_seen += len(run.config) + len(run.summary)
        if page.total is not None:
            answer.total = page.total
        if not page.has_next or not page.runs:
            self._finish(part, answer)

    def _finish(self, part: Partition, answer: Answer) -> None:
        answer.done = True
        if answer.total is not None and answer.total != len(answer.ids):
            answer.incomplete = f"the server counts {answer.total} runs but listed {len(answer.ids)}"
        if all(answer.ids):
            runs = tuple(zip(answer.ids, answer.cursors, strict=True))
            part.cache.keep_answer(
                StoredAnswer(answer.key, answer.fetched_at, answer.total, answer.incomplete, runs)
            )

    async def _runs_by_id(
        self, part: Partition, query: RunQuery, answer: Answer, ids: list[str], fetched: bool, wait: Wait
    ) -> list[ShownRun]:
        held = await part.cache.by_ids(ids)
        lost = [i for i in ids if i not in held]
        if lost:
            # Memory and disk have forgotten these runs; the list itself is still right, so read it again once.
            again = Answer(answer.key, self._partitions.clock(), part.cache.generation)
            while not again.done and len(again.ids) < len(answer.ids):
                await self._extend(part, query, again, LARGEST_PAGE, wait)
            held |= await part.cache.by_ids(lost)
        shown = []
        for storage_id in ids:
            if storage_id in held:
                source = _source(held[storage_id], fetched)
                shown.append(await self._shown(part, held[storage_id].record, source))
        return shown

    def _list_freshness(self, answer: Answer, runs: list[ShownRun], fetched: bool) -> Freshness:
        source = Source.UPSTREAM if fetched else Source.DISK if answer.from_disk else Source.MEMORY
        return Freshness(
            answer.fetched_at, source, pending_writes=sum(run.freshness.pending_writes for run in runs)
        )

    # Own writes laid over

    async def _shown(
        self, part: Partition, record: Record, source: Source, *, stale: bool = False
    ) -> ShownRun:
        patches = self._open_patches(part.account.account_id, record.path)
        freshness = Freshness(record.fetched_at, source, stale)
        if not patches:
            return ShownRun(record, freshness, {})
        documents = {}
        for kind in _touched(patches):
            if any(kind == left_out for left_out, _ in record.oversize):
                text = await part.cache.document(record.storage_id, kind)
                documents[kind] = (text or b"{}").decode("utf-8", "replace")
        shown, changed = await asyncio.to_thread(
            encode.with_pending, record, patches, documents, part.account.app_url
        )
        return ShownRun(shown, replace(freshness, pending_writes=len(patches)), changed)


async def _absorb(part: Partition, runs: Sequence[RunData], sent_at: float, generation: int) -> list[Record]:
    """Absorbs a page, letting other calls in between: a page of 1,000 runs is tens of milliseconds of work."""
    records: list[Record] = []
    for start in range(0, len(runs), 25):
        piece = runs[start : start + 25]
        records += part.cache.absorb(piece, sent_at=sent_at, generation=generation)
        await asyncio.sleep(0)
    return records


def _source(held: Held, fetched: bool) -> Source:
    if fetched:
        return Source.UPSTREAM
    return Source.DISK if held.from_disk else Source.MEMORY


def _touched(patches: Sequence[Patch]) -> list[DocumentKind]:
    kinds = []
    if any(patch.config for patch in patches):
        kinds.append(DocumentKind.CONFIG)
    if any(patch.summary for patch in patches):
        kinds.append(DocumentKind.SUMMARY)
    return kinds


def _from_disk(stored: StoredAnswer, generation: int) -> Answer:
    return Answer(
        stored.key,
        stored.fetched_at,
        generation,
        ids=[storage_id for storage_id, _ in stored.runs],
        cursors=[cursor for _, cursor in stored.runs],
        total=stored.total,
        done=True,
        incomplete=stored.incomplete,
        from_disk=True,
    )
