"""Which runs' histories are read, one after the other, each with how it stands when its turn comes.

Many runs cost few requests: those that were named are asked for by name, some hundred at once, those that match a
filter come in the pages of their list. What was heard too long ago when a run's turn comes is asked for again, together
with those that follow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.model.freshness import Source, of_record
from runtapd.model.paths import RunPath
from runtapd.reads.answers import LARGEST_PAGE, Answer
from runtapd.reads.batches import Batches
from runtapd.reads.growing import Sizes
from runtapd.reads.lists import PATIENCE_S, RunLists
from runtapd.reads.overlay import ShownRun
from runtapd.reads.pages import Pages
from runtapd.reads.partitions import Partition, Partitions
from runtapd.reads.query import RunQuery
from runtapd.reads.runs import RunReads, source_of
from runtapd.reads.standing import Standing
from runtapd.upstream.api import Waits

AT_ONCE = 250
"""Runs asked for together."""
Turn = tuple[str, Standing | faults.Fault]
"""A run's path, and how its history stands or why that is not known."""


@dataclass(slots=True)
class _Entry:
    path: str
    found: Standing | faults.Fault | None
    """None: not asked yet."""


class Rosters:
    """Makes rosters."""

    def __init__(self, partitions: Partitions, runs: RunReads, lists: RunLists) -> None:
        self.clock = partitions.clock
        self.runs = runs
        self.batches = Batches(runs, Pages(partitions.clock))
        self.lists = lists

    def named(self, part: Partition, paths: Sequence[RunPath], wishes: Wishes, waits: Waits) -> Roster:
        """The roster of these runs, each once where one is named twice."""
        roster = Roster(self, part, None, wishes, waits)
        roster.pending.extend(_Entry(str(path), None) for path in dict.fromkeys(paths))
        roster.total, roster.listed = len(roster.pending), True
        return roster

    def matching(self, part: Partition, query: RunQuery, wishes: Wishes, waits: Waits) -> Roster:
        """The roster of the runs that match."""
        return Roster(self, part, query, wishes, waits)


@dataclass
class Roster:
    """The runs of one call, in order. Not more of them is held than their paths and how they stand."""

    rosters: Rosters
    part: Partition
    query: RunQuery | None
    wishes: Wishes
    waits: Waits
    total: int | None = None
    """How many runs there are, as far as that is known."""
    incomplete: str = ""
    """Why runs may be missing."""
    listed: bool = False
    """Whether no more runs are to be expected than those that are pending."""
    pending: deque[_Entry] = field(default_factory=deque)
    _answer: Answer | None = None
    _offset: int = 0
    _heard: bool = False
    """Whether the server has given any run."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def next(self) -> Turn | None:
        """Returns the next run; None when there are no more. Raises what the server as a whole fails with."""
        async with self._turn:
            while not self.pending and not self.listed:
                await self._list()
            if not self.pending:
                return None
            entry = self.pending[0]
            if not self._may_be_read(entry.found):
                await self._ask(list(self.pending)[:AT_ONCE])
            self.pending.popleft()
            if isinstance(entry.found, Standing):
                entry.found = await self._latest(entry.found)
            assert entry.found is not None
            return entry.path, entry.found

    def _may_be_read(self, found: Standing | faults.Fault | None) -> bool:
        if not isinstance(found, Standing):
            return found is not None
        return self.wishes.cache_only or found.freshness.stale or found.is_current(self.rosters.clock())

    async def _latest(self, standing: Standing) -> Standing:
        """Returns what others have learnt of the run meanwhile: by less, what they stored is too much."""
        held = await self.part.cache.by_path(str(standing.path))
        if held is None or held.record.current_at <= standing.current_at:
            return standing
        return Standing.of(ShownRun(held.record, standing.freshness, {}))

    # Runs that match

    async def _list(self) -> None:
        assert self.query is not None
        lists, part, query = self.rosters.lists, self.part, self.query
        if self._answer is None:
            self._answer = await lists.answer(part, query, self.wishes, None)
        stretch, self._answer = await lists.part(
            part,
            query,
            self._answer,
            offset=self._offset,
            count=AT_ONCE,
            sizes=Sizes(LARGEST_PAGE),
            wishes=self.wishes,
            waits=self.waits,
        )
        self.pending.extend(_Entry(shown.record.path, Standing.of(shown)) for shown in stretch.runs)
        self.pending.extend(_Entry(unread.path, unread.fault) for _, unread in stretch.errors)
        self._heard = True
        self.total, self.incomplete = stretch.total, stretch.incomplete
        self.listed = stretch.next is None
        self._offset = stretch.next.offset if stretch.next else self._offset

    # Runs by name

    async def _ask(self, entries: Sequence[_Entry]) -> None:
        """Finds out how these runs stand: from the cache where that is young enough, the others in one request."""
        absent = []
        for entry in entries:
            if self._may_be_read(entry.found):
                continue
            path = RunPath(*entry.path.split("/"))
            held = await self.rosters.runs.held(self.part, path, self.wishes)
            standing = Standing.of(held) if held is not None else None
            if standing is not None and self._may_be_read(standing):
                entry.found = standing
            else:
                absent.append((entry, path))
        found = await self._asked([path for _, path in absent])
        for (entry, _), run in zip(absent, found, strict=True):
            entry.found = self._asked_for(run) if isinstance(run, ShownRun) else run
        self._heard = True

    def _asked_for(self, run: ShownRun) -> Standing:
        """How a run stands that was asked for just now, although it comes by way of the cache."""
        if self.wishes.cache_only or run.freshness.stale:
            return Standing.of(run)
        return Standing.of(replace(run, freshness=replace(run.freshness, source=Source.UPSTREAM)))

    async def _asked(self, paths: Sequence[RunPath]) -> Sequence[ShownRun | faults.Fault]:
        """Asks the server; raises what it fails with when nothing at all was heard of it."""
        wait, wishes, found = self.waits(), self.wishes, list[ShownRun | faults.Fault]()
        if wishes.allow_stale_on_error:
            wait = wait.no_later_than(asyncio.get_running_loop().time() + PATIENCE_S)
        if not wishes.cache_only:
            wishes = replace(wishes, max_age_s=0.0)
        try:
            found = await self.rosters.batches.runs(self.part, paths, wishes, wait)
        except faults.UpstreamFault as fault:
            found = [fault for _ in paths]
        if wishes.allow_stale_on_error:
            found = [await self._older(path, run) for path, run in zip(paths, found, strict=True)]
        failed = [run for run in found if isinstance(run, faults.UpstreamFault)]
        if failed and len(failed) == len(found) and not self._heard:
            raise failed[0]
        return found

    async def _older(self, path: RunPath, found: ShownRun | faults.Fault) -> ShownRun | faults.Fault:
        """Returns what is known of a run that could not be asked for, if anything is."""
        held = await self.part.cache.by_path(str(path)) if isinstance(found, faults.UpstreamFault) else None
        if held is None:
            return found
        return ShownRun(held.record, of_record(held.record, source_of(held), stale=True), {})
