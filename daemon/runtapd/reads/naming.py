"""Runs of a list asked for by name: in halves where that fails, until what cannot be read stands alone.

Owns what is believed of runs that their server could not give. What follows them in the list is `growing`'s.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from runtapd import faults
from runtapd.reads.answers import Answer
from runtapd.reads.pages import FAILING, Pages
from runtapd.reads.partitions import Partition
from runtapd.reads.query import RunQuery
from runtapd.reads.stretches import Row, Stretch, Unread
from runtapd.upstream.api import Wait
from runtapd.upstream.pushdown import Split

SINGLY = 5
"""So many runs that a server left out of an answer are asked for one by one."""
THOROUGH = 3
"""So many runs are given up only after three tries; after that it is no surprise any more, and two will do."""
MOST_ALONE = 50
"""So many runs in a row are found out one by one to be unreadable. After that, until one can be read, those
are taken for it that were asked for together: a server that can give none at all must not be asked for each."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a growing answer, and whom it is for."""

    part: Partition
    query: RunQuery
    answer: Answer
    split: Split
    wait: Wait

    @property
    def over(self) -> bool:
        """Whether its time is up: then what failed says nothing of the runs that were asked for."""
        return asyncio.get_running_loop().time() >= self.wait.deadline


class Naming:
    """Reads what a stretch wants."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def read(self, step: Step, stretch: Stretch) -> None:
        """Asks once for all that the first stretch of an answer wants, and leaves what is still wanted after that."""
        answer, batch = step.answer, stretch.wanted
        try:
            run_ids = [row.run_id for row in batch]
            page, records = await self._pages.by_name(
                step.part, step.query.project, run_ids, step.wait, tries=_tries(answer, stretch)
            )
        except faults.AnswerTooLarge:
            answer.at_once = max(1, len(batch) // 4)
            return
        except faults.UpstreamRefused:
            return go_whole(step)
        except FAILING as fault:
            return await self._failed(step, stretch, fault)
        came = {record.storage_id for record in records}
        if came:
            answer.lost = 0
        for storage_id in came:
            step.part.unreadable.pop(storage_id, None)
        left = [row for row in batch if row.storage_id not in came]
        if left and page.unread:
            self._gaps(step, stretch, left)
        elif left and not (page.has_next and came):
            if len(left) > SINGLY:
                return go_whole(step)
            await self._singly(step, stretch, left)
        else:
            stretch.wanted = left

    async def _failed(self, step: Step, stretch: Stretch, fault: faults.Fault) -> None:
        answer = step.answer
        if step.over:
            raise fault
        if len(stretch.wanted) > 1 and answer.lost < MOST_ALONE:
            return _halve(answer)
        # One that never ends has been waited for long enough; others get a second chance once the server is well.
        again = not stretch.tried and not isinstance(fault, faults.UpstreamTimeout)
        await self._pages.well(step.part, step.query, step.wait)
        if again:
            stretch.tried = True
        else:
            self._give_up(step, stretch, fault)

    def _gaps(self, step: Step, stretch: Stretch, left: list[Row]) -> None:
        """Goes on where a server gave the others and said that it cannot give these, or gave none at all."""
        if len(left) < len(stretch.wanted):
            stretch.wanted, stretch.tried = left, True
        elif len(left) > 1 and not stretch.tried and step.answer.lost < MOST_ALONE:
            _halve(step.answer)
        else:
            self._give_up(step, stretch)

    async def _singly(self, step: Step, stretch: Stretch, left: list[Row]) -> None:
        """Asks for runs that the server left out: they are gone, or it does not do as it is told."""
        for row in left:
            if await self._pages.single(step.part, step.query.project, row.run_id, step.wait) is None:
                stretch.rows = [other for other in stretch.rows if other is not row]
        stretch.wanted = []

    def _give_up(self, step: Step, stretch: Stretch, fault: faults.Fault | None = None) -> None:
        step.answer.lost += len(stretch.wanted)
        for row in stretch.wanted:
            give_up(step, row, fault or not_given(step, row))
        stretch.wanted = []


def known_unreadable(step: Step) -> bool:
    """Whether a page of this project may hold a run that cannot be read: pages with one fail as a whole."""
    project = f"{step.query.project}/"
    return any(unread.path.startswith(project) for unread in step.part.unreadable.values())


def give_up(step: Step, row: Row, fault: faults.Fault) -> None:
    """Takes a run for unreadable, in this list and for a while in others."""
    unread = Unread(f"{step.query.project}/{row.run_id}", fault, step.answer.fetched_at)
    step.answer.errors[row.storage_id] = step.part.unreadable[row.storage_id] = unread


def not_given(step: Step, row: Row) -> faults.InvalidAnswer:
    """What is said of a run that a server leaves out without a word."""
    server = step.part.account.base_url
    return faults.InvalidAnswer(
        f"{server} lists the run {row.run_id} but does not give it", metadata={"server": server}
    )


def go_whole(step: Step) -> None:
    """Goes on without names: the server does not find runs by them."""
    answer = step.answer
    answer.by_name = step.part.by_name = False
    answer.glances = False
    answer.stretches.clear()
    if answer.comb is not None:
        answer.comb.over = True
    else:
        answer.behind, answer.more = answer.cursor_before(len(answer.ids)), True


def _tries(answer: Answer, stretch: Stretch) -> int:
    return 2 if stretch.tried and len(answer.errors) < THOROUGH else 1


def _halve(answer: Answer) -> None:
    answer.stretches.extendleft(reversed(answer.stretches.popleft().halves()))
