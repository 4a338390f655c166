"""How the list of an answer grows: a step at a time, each about one request to the server.

A step asks for a page of whole runs; of runs that are held it only glances, and reads those that have changed. A page
that fails, comes with gaps or gets too large is glanced at as well, and its runs are read by name, in halves where that
fails too, until what cannot be read stands alone. Between two steps an answer is consistent: who waits for it may
leave, and others go on from there. A list that ends shorter than the server counts is looked through once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtapd import faults
from runtapd.cache.records import Held
from runtapd.cache.store import StoredAnswer
from runtapd.model.freshness import Source, of_record
from runtapd.model.run import Record
from runtapd.reads.answers import LARGEST_PAGE, Answer, missing, record_bytes
from runtapd.reads.documents import large_texts
from runtapd.reads.judging import Judge
from runtapd.reads.overlay import ShownRun
from runtapd.reads.pages import FAILING, Pages, sorts_by_creation
from runtapd.reads.partitions import Partition
from runtapd.reads.query import RunQuery
from runtapd.reads.stretches import Comb, Row, Stretch, Unread, rows_of, still_right
from runtapd.upstream.api import GlancePage, RunPage, Wait
from runtapd.upstream.pushdown import Servers, Split

PAGE_BYTES = 16 * 2**20
"""About how many bytes of documents one page asked of a server may bring."""
GROWTH = 50
"""So many more runs than there were are looked for when a list is renewed."""
SINGLY = 5
"""So many runs that a server left out of an answer are asked for one by one."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many runs to ask of a server at once."""

    page: int
    """For the reader at hand."""
    renewed: int = LARGEST_PAGE
    """At most, where a list that was read to its end before is renewed."""
    judged: int = LARGEST_PAGE
    """At most, where all of them are needed."""


@dataclass(frozen=True, slots=True)
class _Step:
    part: Partition
    query: RunQuery
    answer: Answer
    split: Split
    wait: Wait


class Growing:
    """Takes the steps. Never two at once for the same answer."""

    def __init__(self, pages: Pages, servers: Servers) -> None:
        self._pages = pages
        self._servers = servers

    async def step(
        self, part: Partition, query: RunQuery, answer: Answer, split: Split, sizes: Sizes, wait: Wait
    ) -> bool:
        """Lets an answer grow. False when the server does not do what it was asked: then nothing of it is taken."""
        step = _Step(part, query, answer, split, wait)
        if answer.stretches:
            believed = await self._read(step)
        elif answer.more:
            believed = await self._page(step, sizes)
        else:
            believed = await self._look_again(step)
        if believed and not (answer.done or answer.more or answer.stretches):
            self._ended(step)
        return believed

    # A page

    async def _page(self, step: _Step, sizes: Sizes) -> bool:
        answer = step.answer
        first = _first(answer, sizes)
        held = await step.part.cache.by_ids(answer.ahead[:first])
        glances = answer.glances and 2 * len(held) >= min(first, len(answer.ahead))
        failed = False
        # A page with a run in it that cannot be read fails as a whole: while one is known, it is gone around.
        if not (glances or (step.part.unreadable and answer.by_name)):
            first = _within_bytes(answer, held, first)
            try:
                page, records = await self._pages.whole(*_where(step), first, step.wait)
            except faults.AnswerTooLarge:
                answer.at_once = max(1, first // 4)
                return True
            except FAILING:
                failed = True
            else:
                failed = page.unread > 0
                if not failed:
                    return await self._take_page(step, page, records)
            if failed and first > 1 and not answer.by_name:
                answer.at_once = max(1, first // 2)
                return True
        page_of_glances = await self._pages.glance(*_where(step), first, step.wait)
        return await self._glanced(step, page_of_glances, failed=failed)

    async def _take_page(self, step: _Step, page: RunPage, records: list[Record]) -> bool:
        rows = [
            Row(run.storage_id, run.run_id, run.created_at, cursor, "")
            for run, cursor in zip(page.runs, page.cursors, strict=True)
        ]
        if not await self._take(step, rows, {record.storage_id: record for record in records}):
            return False
        _go_on(step.answer, page)
        return True

    async def _glanced(self, step: _Step, page: GlancePage, *, failed: bool) -> bool:
        """Goes on with a page of glances; `failed` when it was glanced at because it could not be had whole."""
        answer = step.answer
        stretch = await self._stretch(step, rows_of(page))
        if not answer.by_name:
            for row in stretch.wanted:  # it stands alone: smaller pages were tried before
                self._give_up(step, row, _not_given(row, step))
            stretch.wanted = []
        _go_on(answer, page)
        answer.stretches.extend(stretch.halves() if failed else [stretch])
        return True if answer.stretches[0].wanted else await self._read(step)

    async def _stretch(self, step: _Step, rows: list[Row]) -> Stretch:
        """Finds out which of these rows have to be read; the others are current as of now."""
        part, answer = step.part, step.answer
        at = answer.fetched_at
        held = await part.cache.by_ids([row.storage_id for row in rows])
        right, wanted = [], []
        for row in rows:
            record = held[row.storage_id].record if row.storage_id in held else None
            if record is not None and still_right(
                record, row, answer.whole_at, part.cache.written_at(record.path)
            ):
                right.append(record)
            elif row.storage_id in part.unreadable:
                answer.errors[row.storage_id] = part.unreadable[row.storage_id]
            else:
                wanted.append(row)
        part.cache.check(right, at)
        return Stretch(rows, wanted)

    # By name

    async def _read(self, step: _Step) -> bool:
        """Reads what the first stretch wants, as much as fits, and takes the stretch when it wants nothing more."""
        answer, stretches = step.answer, step.answer.stretches
        stretch = stretches[0]
        if stretch.wanted:
            fitting = min(answer.at_once, _within_bytes(answer, {}, len(stretch.wanted)))
            if fitting < len(stretch.wanted):
                stretches.popleft()
                stretches.extendleft(reversed(stretch.cut(fitting)))
                stretch = stretches[0]
            await self._read_wanted(step, stretch)
            if not stretches or stretches[0] is not stretch or stretch.wanted:
                return True
        held = await step.part.cache.by_ids([row.storage_id for row in stretch.rows])
        if not await self._take(step, stretch.rows, {i: found.record for i, found in held.items()}):
            return False
        stretches.popleft()
        return True

    async def _read_wanted(self, step: _Step, stretch: Stretch) -> None:
        answer, batch = step.answer, stretch.wanted
        try:
            run_ids = [row.run_id for row in batch]
            page, records = await self._pages.by_name(step.part, step.query.project, run_ids, step.wait)
        except faults.AnswerTooLarge:
            answer.at_once = max(1, len(batch) // 4)
            return
        except faults.UpstreamRefused:
            return _go_whole(step)
        except FAILING as fault:
            if len(batch) > 1:
                _halve(answer)
            elif not await self._pages.alive(step.part, step.query, step.wait):
                raise  # it is not about this run
            else:
                self._give_up(step, batch[0], fault)
                stretch.wanted = []
            return
        came = {record.storage_id for record in records}
        left = [row for row in batch if row.storage_id not in came]
        if left and page.unread and len(batch) == 1:
            self._give_up(step, batch[0], _not_given(batch[0], step))
            left = []
        elif left and page.unread and not came:
            return _halve(answer)
        elif left and not page.unread and not (page.has_next and came):
            if len(left) > SINGLY:
                return _go_whole(step)
            left = await self._read_singly(step, stretch, left)
        stretch.wanted = left

    async def _read_singly(self, step: _Step, stretch: Stretch, left: list[Row]) -> list[Row]:
        """Asks for runs that the server left out: they are gone, or it does not do as it is told."""
        for row in left:
            if await self._pages.single(step.part, step.query.project, row.run_id, step.wait) is None:
                stretch.rows = [other for other in stretch.rows if other is not row]
        return []

    def _give_up(self, step: _Step, row: Row, fault: faults.Fault) -> None:
        unread = Unread(f"{step.query.project}/{row.run_id}", fault)
        step.answer.errors[row.storage_id] = step.part.unreadable[row.storage_id] = unread

    # Taking rows

    async def _take(self, step: _Step, rows: Sequence[Row], records: Mapping[str, Record]) -> bool:
        """Appends rows to the list; False when they are not what was asked for."""
        answer = step.answer
        new = [row for row in rows if row.storage_id not in answer.seen]
        checked = step.split.checked and not step.query.as_it_comes and answer.comb is None
        if checked and not await self._believed(step, new, records):
            return False
        answer.at_once = min(LARGEST_PAGE, 2 * answer.at_once)
        for row in new:
            answer.append(row)
            if record := records.get(row.storage_id):
                answer.bytes_seen += record_bytes(record)
                answer.versioned = answer.versioned and record.updated_at is not None
        return True

    async def _believed(self, step: _Step, rows: Sequence[Row], records: Mapping[str, Record]) -> bool:
        """Whether these are in the order that was asked for, and match the filter."""
        answer, judge = step.answer, Judge(step.split)
        if not judge.in_order(answer.last_created_at, [row.created_at for row in rows]):
            self._servers.does_not_sort(step.part.account.base_url)
            answer.disordered = answer.end
            return False
        if judge.roots:
            runs = [records[row.storage_id] for row in rows if row.storage_id in records]
            texts = {}
            for record in runs:
                shown = ShownRun(record, of_record(record, Source.MEMORY), {})
                texts[record.storage_id] = await large_texts(step.part, shown, judge.kinds, step.wait)
            if not await asyncio.to_thread(judge.all_match, runs, texts):
                return False
        if rows:
            answer.last_created_at = rows[-1].created_at
        return True

    # The end

    async def _look_again(self, step: _Step) -> bool:
        answer, comb = step.answer, step.answer.comb
        if comb is None:
            raise LookupError("an answer that has ended does not grow")
        page = await self._pages.glance_again(
            step.part, step.query, step.split, comb, LARGEST_PAGE, step.wait
        )
        if not comb.created_at and page.total is not None:
            answer.counted = page.total
        new = [row for row in rows_of(page) if row.storage_id not in answer.seen]
        if new:
            answer.patched = True
            answer.stretches.append(await self._stretch(step, new))
        comb.go_on(page, by_creation=sorts_by_creation(step.split))
        return True

    def _ended(self, step: _Step) -> None:
        """Completes an answer, or begins its second look."""
        answer = step.answer
        short = missing(answer.total, answer.counted, answer.end)
        if answer.comb is None and not answer.first and (short or answer.incomplete):
            answer.comb = Comb()
        elif answer.comb is not None and answer.comb.over and answer.total is not None and not short:
            answer.incomplete = ""  # it has found them all
        if answer.comb is None or answer.comb.over:
            complete(step.part, answer)


def complete(part: Partition, answer: Answer, incomplete: str = "") -> None:
    """Ends an answer, and keeps it where it may be used again."""
    answer.done, answer.former = True, None
    answer.incomplete = incomplete or answer.incomplete
    if not answer.incomplete and (expected := missing(answer.total, answer.counted, answer.end)):
        answer.incomplete = f"the server counts {expected} runs but listed {answer.end}"
    elif not answer.incomplete and answer.total is not None:
        answer.total = answer.end
    if answer.first or answer.generation != part.cache.generation or answer.errors or answer.patched:
        return
    part.cache.keep_answer(
        StoredAnswer(
            answer.key,
            answer.fetched_at,
            answer.whole_at,
            answer.versioned,
            answer.total,
            answer.incomplete,
            tuple(zip(answer.ids, answer.cursors, strict=True)),
        )
    )


def _where(step: _Step) -> tuple[Partition, RunQuery, Split, str | None]:
    return step.part, step.query, step.split, step.answer.behind


def _go_on(answer: Answer, page: RunPage | GlancePage) -> None:
    """Notes what a page says of the list beyond it."""
    if page.total is not None:
        answer.counted = page.total
        answer.total = page.total if answer.total is None else answer.total
    asked_behind = answer.behind
    if page.cursors:
        answer.behind = page.cursors[-1]
    answer.more = page.has_next and bool(page.runs)
    if answer.more and (not answer.behind or answer.behind == asked_behind):
        answer.more = False
        answer.incomplete = "the server says there is more but does not go on behind its last cursor"


def _go_whole(step: _Step) -> None:
    """Goes on without names: the server does not find runs by them."""
    answer = step.answer
    answer.by_name = step.part.by_name = False
    answer.glances = False
    answer.stretches.clear()
    if answer.comb is not None:
        answer.comb.over = True
    else:
        answer.behind, answer.more = answer.cursor_before(len(answer.ids)), True


def _halve(answer: Answer) -> None:
    answer.stretches.extendleft(reversed(answer.stretches.popleft().halves()))


def _not_given(row: Row, step: _Step) -> faults.InvalidAnswer:
    server = step.part.account.base_url
    return faults.InvalidAnswer(
        f"{server} lists the run {row.run_id} but does not give it", metadata={"server": server}
    )


def _first(answer: Answer, sizes: Sizes) -> int:
    """Returns how many runs to ask for next."""
    wanted = sizes.page
    if answer.former is not None and answer.former.done and answer.ahead:
        wanted = max(wanted, min(sizes.renewed, len(answer.ahead) + GROWTH))
    if answer.counted is not None and answer.counted > answer.end:
        wanted = min(wanted, answer.counted - answer.end)
    return min(wanted, answer.at_once)


def _within_bytes(answer: Answer, held: Mapping[str, Held], wanted: int) -> int:
    """Returns how many of so many runs to ask for, going by the size of those that are known."""
    known, size = len(answer.ids), answer.bytes_seen
    if not size:
        known, size = len(held), sum(record_bytes(found.record) for found in held.values())
    return min(wanted, max(1, PAGE_BYTES * known // size)) if size else wanted
