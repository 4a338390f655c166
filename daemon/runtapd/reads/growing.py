"""How the list of an answer grows: a step at a time, each about one request to the server.

A step asks for a page of whole runs; of runs that are held it only glances, and reads those that have changed. A page
that fails, comes with gaps or gets too large is glanced at as well, and its runs are read by name (`naming`). Between
two steps an answer is consistent: who waits for it may leave, and others go on from there. A list that ends shorter
than the server counts, or of which runs were deleted meanwhile, is looked through once more.
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
from runtapd.reads.naming import Naming, Step, give_up, known_unreadable, not_given
from runtapd.reads.overlay import ShownRun
from runtapd.reads.pages import FAILING, Pages, sorts_by_creation
from runtapd.reads.partitions import Partition
from runtapd.reads.query import RunQuery
from runtapd.reads.stretches import Comb, Row, Stretch, rows_of, still_right
from runtapd.upstream.api import GlancePage, RunPage, Wait
from runtapd.upstream.pushdown import Servers, Split

PAGE_BYTES = 16 * 2**20
"""About how many bytes of documents one page asked of a server may bring."""
GROWTH = 50
"""So many more runs than there were are looked for when a list is renewed."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many runs to ask of a server at once."""

    page: int
    """For the reader at hand."""
    renewed: int = LARGEST_PAGE
    """At most, where a list that was read to its end before is renewed."""
    judged: int = LARGEST_PAGE
    """At most, where all of them are needed."""


class Growing:
    """Takes the steps. Never two at once for the same answer."""

    def __init__(self, pages: Pages, servers: Servers) -> None:
        self._pages = pages
        self._naming = Naming(pages)
        self._servers = servers

    async def step(
        self, part: Partition, query: RunQuery, answer: Answer, split: Split, sizes: Sizes, wait: Wait
    ) -> bool:
        """Lets an answer grow. False when the server does not do what it was asked: then nothing of it is taken."""
        step = Step(part, query, answer, split, wait)
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

    async def _page(self, step: Step, sizes: Sizes) -> bool:
        answer = step.answer
        first = _first(answer, sizes)
        held = await step.part.cache.by_ids(answer.ahead[:first])
        glances = answer.glances and 2 * len(held) >= min(first, len(answer.ahead))
        failed = False
        # A page with a run in it that cannot be read fails as a whole: while one is known, it is gone around.
        if not (glances or (answer.by_name and known_unreadable(step))):
            first = _within_bytes(answer, held, first)
            try:
                page, records = await self._pages.whole(*_where(step), first, step.wait)
            except faults.AnswerTooLarge:
                answer.at_once = max(1, first // 4)
                return True
            except FAILING:
                if step.over:
                    raise
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

    async def _take_page(self, step: Step, page: RunPage, records: list[Record]) -> bool:
        rows = [
            Row(run.storage_id, run.run_id, run.created_at, cursor, "")
            for run, cursor in zip(page.runs, page.cursors, strict=True)
        ]
        if not await self._take(step, rows, {record.storage_id: record for record in records}):
            return False
        _go_on(step.answer, page)
        return True

    async def _glanced(self, step: Step, page: GlancePage, *, failed: bool) -> bool:
        """Goes on with a page of glances; `failed` when it was glanced at because it could not be had whole."""
        answer = step.answer
        stretch = await self._stretch(step, rows_of(page))
        if not answer.by_name:
            for row in stretch.wanted:  # it stands alone: smaller pages were tried before
                give_up(step, row, not_given(step, row))
            stretch.wanted = []
        _go_on(answer, page)
        suspects = {row.storage_id for row in stretch.wanted if row.storage_id in step.part.unreadable}
        pieces = stretch.around(suspects)
        answer.stretches.extend(stretch.halves() if failed and len(pieces) == 1 else pieces)
        return True if answer.stretches[0].wanted else await self._read(step)

    async def _stretch(self, step: Step, rows: list[Row]) -> Stretch:
        """Finds out which of these rows have to be read; the others are current as of now."""
        part, answer = step.part, step.answer
        at = answer.fetched_at
        held = await part.cache.by_ids([row.storage_id for row in rows])
        right, wanted = [], []
        for row in rows:
            record = held[row.storage_id].record if row.storage_id in held else None
            unread = part.unreadable.get(row.storage_id)
            if record is not None and still_right(
                record, row, answer.whole_at, part.cache.written_at(record.path)
            ):
                right.append(record)
            elif unread is not None and unread.at >= answer.believes_from:
                answer.errors[row.storage_id] = unread
            else:
                wanted.append(row)
        part.cache.check(right, at)
        return Stretch(rows, wanted)

    # By name

    async def _read(self, step: Step) -> bool:
        """Reads what the first stretch wants, as much as fits, and takes the stretch when it wants nothing more."""
        answer, stretches = step.answer, step.answer.stretches
        stretch = stretches[0]
        if stretch.wanted:
            fitting = min(answer.at_once, _within_bytes(answer, {}, len(stretch.wanted)))
            if fitting < len(stretch.wanted):
                stretches.popleft()
                stretches.extendleft(reversed(stretch.cut(fitting)))
                stretch = stretches[0]
            await self._naming.read(step, stretch)
            if not stretches or stretches[0] is not stretch or stretch.wanted:
                return True
        held = await step.part.cache.by_ids([row.storage_id for row in stretch.rows])
        if not await self._take(step, stretch.rows, {i: found.record for i, found in held.items()}):
            return False
        stretches.popleft()
        return True

    # Taking rows

    async def _take(self, step: Step, rows: Sequence[Row], records: Mapping[str, Record]) -> bool:
        """Appends rows to the list; False when they are not what was asked for."""
        answer = step.answer
        new = [row for row in rows if row.storage_id not in answer.seen]
        checked = step.split.checked and not step.query.as_it_comes and answer.comb is None
        if checked and not await self._believed(step, new, records):
            return False
        answer.at_once = min(LARGEST_PAGE, 2 * answer.at_once)
        answer.old_rows = 0 if new else answer.old_rows + len(rows)
        for row in new:
            answer.append(row)
            if record := records.get(row.storage_id):
                answer.bytes_seen += record_bytes(record)
                answer.versioned = answer.versioned and record.updated_at is not None
        return True

    async def _believed(self, step: Step, rows: Sequence[Row], records: Mapping[str, Record]) -> bool:
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

    async def _look_again(self, step: Step) -> bool:
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
        # Pages overlap where runs were made at one moment: a second look sees each about twice at most.
        most = 3 * (answer.end + GROWTH)
        comb.go_on(page, by_creation=sorts_by_creation(step.split), most=most)
        return True

    def _ended(self, step: Step) -> None:
        """Completes an answer, or begins its second look."""
        answer = step.answer
        short = missing(answer.total, answer.counted, answer.end)
        if answer.comb is None and not answer.first and (short or answer.shrank or answer.incomplete):
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


def _where(step: Step) -> tuple[Partition, RunQuery, Split, str | None]:
    return step.part, step.query, step.split, step.answer.behind


def _go_on(answer: Answer, page: RunPage | GlancePage) -> None:
    """Notes what a page says of the list beyond it."""
    if page.total is not None:
        answer.shrank = answer.shrank or (answer.counted is not None and page.total < answer.counted)
        answer.counted = page.total
        answer.total = page.total if answer.total is None else answer.total
    asked_behind = answer.behind
    if end := page.end or (page.cursors[-1] if page.cursors else ""):
        answer.behind = end
    # Only a glance gets here with gaps; runs that are not even told of there cannot be asked for in any other way.
    if page.unread:
        answer.incomplete = "the server lists runs of which it does not tell which they are"
    places = bool(page.runs) or page.unread > 0
    answer.more = page.has_next and places
    stays = not places or not answer.behind or answer.behind == asked_behind
    if page.has_next and (stays or answer.old_rows > _most_old_rows(answer)):
        answer.more = False
        answer.incomplete = "the server says there is more but does not go on behind its last cursor"


def _most_old_rows(answer: Answer) -> int:
    """How many places in a row may bring runs that were listed before: those inserted meanwhile shift as many.

    Beyond that the server goes round in circles. A second look finds what was cut off, where there is something.
    """
    return max(GROWTH, min(LARGEST_PAGE, answer.end))


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
