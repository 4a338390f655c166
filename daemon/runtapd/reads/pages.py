"""The requests that lists of runs are made of. Every run that comes goes through the cache's one door.

Owns how long and how much a request of many runs may take before it is given up for smaller ones (`FAILING` says with
which faults); what is asked for next is `growing`'s to decide.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from runtap_query import And, filter_text, order_text, parse_filter
from runtapd import faults
from runtapd.cache.records import Held
from runtapd.model.paths import ProjectPath, RunPath
from runtapd.model.run import Record
from runtapd.reads.partitions import Partition
from runtapd.reads.query import RunQuery
from runtapd.reads.stretches import Comb
from runtapd.upstream.api import Bounds, GlancePage, Listing, RunGlance, RunPage, Wait
from runtapd.upstream.pushdown import NEWEST_FIRST, Split, Trust

FAILING = (faults.UpstreamUnavailable, faults.UpstreamTimeout, faults.InvalidAnswer)
"""What a request of many runs may meet because of one of them."""
MOST_BYTES = 32 * 2**20
TRIES, TRIES_ALONE = 2, 5
"""What fails for many is soon asked for in smaller pieces; a single run is not given up for a server's hiccups."""
_ANY_S, _PIECE_S, _PER_RUN_S = 5.0, 3.0, 0.02
"""A request may take the first, one that can be cut into smaller ones at once the second; the third is for each run."""


class Pages:
    """Asks for runs of one list after the other."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    async def whole(
        self, part: Partition, query: RunQuery, split: Split, behind: str | None, first: int, wait: Wait
    ) -> tuple[RunPage, list[Record]]:
        """Returns up to `first` runs behind a cursor."""
        listing = Listing(query.project, split.filters_text, split.order_text, first, behind)
        return await self._kept(part, listing, wait, _bounds(first))

    async def by_name(
        self,
        part: Partition,
        project: ProjectPath,
        run_ids: Sequence[str],
        wait: Wait,
        *,
        tries: int | None = None,
    ) -> tuple[RunPage, list[Record]]:
        """Returns these runs, as far as the server gives them. `tries` is for those who know better how often."""
        return await self._kept(part, _named(project, run_ids), wait, _bounds(len(run_ids), tries))

    async def _kept(
        self, part: Partition, listing: Listing, wait: Wait, bounds: Bounds
    ) -> tuple[RunPage, list[Record]]:
        sent_at, generation = self._clock(), part.cache.generation
        page = await part.upstream.runs(listing, wait, bounds)
        return page, await part.cache.absorb_page(page.runs, sent_at=sent_at, generation=generation)

    async def glance(
        self, part: Partition, query: RunQuery, split: Split, behind: str | None, first: int, wait: Wait
    ) -> GlancePage:
        """Returns a page without documents; nothing enters the cache by it."""
        listing = Listing(query.project, split.filters_text, split.order_text, first, behind)
        return await part.upstream.glance(listing, wait)

    async def glance_again(
        self, part: Partition, query: RunQuery, split: Split, comb: Comb, first: int, wait: Wait
    ) -> GlancePage:
        """Returns what follows in a second look."""
        bounded = split
        if comb.created_at:
            operator = "$lte" if split.sent_order.descending else "$gte"
            bound = parse_filter(json.dumps({"created_at": {operator: comb.created_at}}))
            bounded = replace(split, sent=And((split.sent, bound)) if split.sent != And(()) else bound)
        return await self.glance(part, query, bounded, comb.cursor, first, wait)

    async def glance_at_run(self, part: Partition, path: RunPath, wait: Wait) -> RunGlance | None:
        """Returns what a run looks like now; None when the server does not list it by its name."""
        listing = _named(ProjectPath(path.entity, path.project), [path.run_id])
        page = await part.upstream.glance(listing, wait)
        return next((glance for glance in page.runs if glance.run_id == path.run_id), None)

    async def well(self, part: Partition, query: RunQuery, wait: Wait) -> None:
        """Returns when the server answers for this project at all; raises what is wrong when it does not in time."""
        await part.upstream.glance(Listing(query.project, "", order_text(NEWEST_FIRST), 1), wait)

    async def again(
        self, part: Partition, project: ProjectPath, records: Sequence[Record], wait: Wait
    ) -> dict[str, Held]:
        """Reads runs anew that are known already; returns those that came, by storage id."""
        if part.by_name:
            _, found = await self.by_name(part, project, [record.run_id for record in records], wait)
        else:
            one_by_one = [await self.single(part, project, record.run_id, wait) for record in records]
            found = [record for record in one_by_one if record is not None]
        return {record.storage_id: Held(record) for record in found}

    async def single(self, part: Partition, project: ProjectPath, run_id: str, wait: Wait) -> Record | None:
        """Returns one run, asked for alone; None when it is gone."""
        sent_at, generation = self._clock(), part.cache.generation
        try:
            run = await part.upstream.run(project.entity, project.project, run_id, wait)
        except faults.NotFound:
            return None
        return (await part.cache.absorb_page([run], sent_at=sent_at, generation=generation))[0]


def sorts_by_creation(split: Split) -> bool:
    """Whether a second look can go on by the moment of creation."""
    return split.sent_order.column.root == "created_at" and split.trust is not Trust.NOTHING


def _named(project: ProjectPath, run_ids: Sequence[str]) -> Listing:
    filters = filter_text(parse_filter(json.dumps({"name": {"$in": list(run_ids)}})))
    return Listing(project, filters, order_text(NEWEST_FIRST), len(run_ids))


def _bounds(runs: int, tries: int | None = None) -> Bounds:
    # One run alone may be as large as it is, and its line as slow; it cannot be asked for in smaller pieces.
    if runs == 1:
        return Bounds(None, tries or TRIES_ALONE, _ANY_S, lets_flow=True)
    return Bounds(MOST_BYTES, tries or TRIES, (_PIECE_S if tries == 1 else _ANY_S) + _PER_RUN_S * runs)
