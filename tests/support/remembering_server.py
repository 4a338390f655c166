"""A server in memory that remembers: what every run was like at every moment, and which requests were under way when.

The `Upstream` of tests that ask whether an answer was true. Requests take time before and after their answer is made,
so that runs change meanwhile; a page is made at one moment, and the next one at another.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runtap_query import Document, compile_filter, parse_filter, parse_order, sort_values, value_getter
from runtapd.faults import NotFound, UpstreamUnavailable
from runtapd.model.project import ProjectData
from runtapd.model.run import RunData
from runtapd.model.sweep import SweepData
from runtapd.upstream.api import (
    UNBOUNDED,
    Bounds,
    Exports,
    GlancePage,
    Listed,
    Listing,
    Page,
    RunChange,
    RunGlance,
    RunPage,
    ViewerData,
    Wait,
)

FOREVER = float("inf")
ENTITY, PROJECT = "team", "vision"


@dataclass(frozen=True, slots=True)
class Stay:
    """A state that a run was in for a while, in true time."""

    run: RunData
    since: float
    until: float = FOREVER

    def within(self, stretches: Sequence[tuple[float, float]]) -> bool:
        """Whether it was so at some moment of these."""
        return any(self.since <= end and self.until >= begin for begin, end in stretches)

    def throughout(self, stretches: Sequence[tuple[float, float]]) -> bool:
        """Whether it was so all the time."""
        return all(self.since <= begin and self.until >= end for begin, end in stretches)


@dataclass(frozen=True, slots=True)
class Kind:
    """What kind of server it is."""

    tells_updates: bool = True
    """It says of every run when it was last changed,"""
    in_seconds: bool = False
    """in whole seconds; then the clocks of both sides agree."""
    cursors: str = "keyset"
    """`keyset`: behind a run; `offset`: behind a number of runs; `snapshot`: of the list as it was at its beginning."""
    page_cap: int = 1000
    slow: float = 0.3
    """Seconds a request takes at most on its way there, and as much on its way back; now and then ten times that."""


@dataclass(eq=False)
class Sent:
    """A request under way."""

    sent_at: float
    """By the daemon's clock."""
    begun: float
    ended: float = FOREVER
    failed: bool = False
    brought: tuple[str, ...] = ()
    """The runs that came with their documents."""


@dataclass
class RememberingServer:
    """Runs of one project, changed by the test at any moment."""

    kind: Kind
    moment: Callable[[], float]
    clock: Callable[[], float]
    chance: random.Random
    tell: Callable[[str], None]
    stays: dict[str, list[Stay]] = field(default_factory=dict)
    """By storage id, oldest first; the last one of a run that is gone has an end."""
    sent: list[Sent] = field(default_factory=list)
    failing: int = 0
    """So many of the next requests fail, before or after they were worked off."""
    answered_writer: dict[str, float] = field(default_factory=dict)
    """By path: the true time at which write-back was last told how a run is."""
    _made: int = 0
    _changes: int = 0
    _snapshots: list[list[str]] = field(default_factory=list)

    # What it holds

    def now(self) -> dict[str, RunData]:
        """The runs there are, by path."""
        last = (stays[-1] for stays in self.stays.values())
        return {stay.run.path: stay.run for stay in last if stay.until == FOREVER}

    def past(self, path: str) -> list[Stay]:
        """All states of all runs that ever had this path."""
        return [stay for stays in self.stays.values() for stay in stays if stay.run.path == path]

    def create(self, run_id: str, **fields: Any) -> None:
        """Makes a run; one that is made again is another run."""
        self._made += 1
        self._begin(
            RunData(
                storage_id=f"s{self._made}",
                entity=ENTITY,
                project=PROJECT,
                run_id=run_id,
                display_name=run_id,
                created_at=f"2026-01-01T{self._made // 60:02}:{self._made % 60:02}:00Z",
                **{"state": "running"} | fields,
            )
        )

    def change(self, run: RunData, **fields: Any) -> RunData:
        """Changes a run."""
        return self._begin(replace(run, **fields))

    def delete(self, run: RunData) -> None:
        """Removes a run."""
        self._end(run.storage_id)

    def _begin(self, run: RunData) -> RunData:
        self._changes += 1
        if self.kind.tells_updates and self.kind.in_seconds:
            run = replace(run, updated_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.clock())))
        elif self.kind.tells_updates:
            run = replace(run, updated_at=f"2026-01-02T00:00:00.{self._changes:06}Z")
        if run.storage_id in self.stays:
            self._end(run.storage_id)
        self.stays.setdefault(run.storage_id, []).append(Stay(run, self.moment()))
        return run

    def _end(self, storage_id: str) -> None:
        self.stays[storage_id][-1] = replace(self.stays[storage_id][-1], until=self.moment())

    # Requests

    async def _under_way(self, what: str, answer: Callable[[], Any]) -> Any:
        request = Sent(self.clock(), self.moment())
        self.sent.append(request)
        fails, lost = self.failing > 0, self.chance.random() < 0.5
        self.failing -= fails
        try:
            await asyncio.sleep(self._pause())
            if fails and not lost:
                raise UpstreamUnavailable("the server is away")
            self.tell(f"    server: {what}")
            made = answer()
            runs = made.runs if isinstance(made, Listed) else (made,)
            request.brought = tuple(run.run_id for run in runs if isinstance(run, RunData))
            await asyncio.sleep(self._pause())
            if fails:
                raise UpstreamUnavailable("the answer got lost")
            return made
        finally:
            request.ended, request.failed = self.moment(), fails

    def _pause(self) -> float:
        longest = self.kind.slow * (10 if self.chance.random() < 0.1 else 1)
        return self.chance.uniform(0.01, longest)

    async def run(self, entity: str, project: str, run_id: str, wait: Wait) -> RunData:
        """See Upstream."""
        found: RunData = await self._under_way(
            f"reads {run_id}", lambda: self._one(f"{entity}/{project}/{run_id}")
        )
        return found

    async def run_for_writer(self, path: str) -> RunData:
        """The same for write-back, which settles by it."""

        def made() -> RunData:
            self.answered_writer[path] = self.moment()
            return self._one(path)

        found: RunData = await self._under_way(f"reads {path} for write-back", made)
        return found

    async def change_run(self, storage_id: str, before: RunData, change: RunChange, wait: Wait) -> RunData:
        """See Upstream."""
        sent = {name: getattr(change, name) for name in change.__slots__ if getattr(change, name) is not None}

        def made() -> RunData:
            run = self._one(before.path)
            if run.storage_id != storage_id:
                raise NotFound(f"no run {before.path}")
            self.answered_writer[run.path] = self.moment()
            return self.change(run, **sent)

        changed: RunData = await self._under_way(f"changes {before.run_id}: {sent}", made)
        return changed

    async def runs(self, listing: Listing, wait: Wait, bounds: Bounds = UNBOUNDED) -> RunPage:
        """See Upstream."""
        page: RunPage = await self._under_way(f"lists {_told(listing)}", lambda: self._page(listing))
        return page

    async def glance(self, listing: Listing, wait: Wait, bounds: Bounds = UNBOUNDED) -> GlancePage:
        """See Upstream."""

        def made() -> GlancePage:
            page = self._page(listing)
            glances = tuple(RunGlance(r.storage_id, r.run_id, r.created_at, r.sign()) for r in page.runs)
            return Listed(glances, page.cursors, page.has_next, page.total)

        page: GlancePage = await self._under_way(f"glances at {_told(listing)}", made)
        return page

    def _one(self, path: str) -> RunData:
        if path not in self.now():
            raise NotFound(f"no run {path}")
        return self.now()[path]

    def _page(self, listing: Listing) -> RunPage:
        matches = compile_filter(parse_filter(listing.filters or "{}"))
        found = [run for run in self.now().values() if matches(document(run))]
        by = parse_order(listing.order)
        value = value_getter(by.column)
        listed = sort_values(((run.run_id, value(document(run)), run) for run in found), by)
        rest, cursors = self._behind(listed, listing.cursor, descending=by.descending)
        size = min(listing.first, self.kind.page_cap)
        return Listed(tuple(rest[:size]), tuple(cursors[:size]), len(rest) > size, len(found))

    def _behind(
        self, listed: list[RunData], cursor: str | None, *, descending: bool
    ) -> tuple[list[RunData], list[str]]:
        """The runs behind a cursor, and the cursor behind each of them."""
        if self.kind.cursors == "offset":
            start = int(cursor or 0)
            return listed[start:], [str(i + 1) for i in range(start, len(listed))]
        if self.kind.cursors == "keyset":
            if cursor:
                listed = [
                    r for r in listed if (r.created_at < cursor if descending else r.created_at > cursor)
                ]
            return listed, [run.created_at for run in listed]
        if not cursor:
            self._snapshots.append([run.storage_id for run in listed])
            cursor = f"{len(self._snapshots) - 1}:0"
        number, start = (int(part) for part in cursor.split(":"))
        there = {run.storage_id: run for run in self.now().values()}
        kept = [(i, there[s]) for i, s in enumerate(self._snapshots[number]) if i >= start and s in there]
        return [run for _, run in kept], [f"{number}:{i + 1}" for i, _ in kept]

    # What nobody asks here

    async def viewer(self, wait: Wait) -> ViewerData:
        raise AssertionError("not asked in these stories")

    async def project(self, *args: Any, **options: Any) -> ProjectData:
        raise AssertionError("not asked in these stories")

    async def projects(self, *args: Any, **options: Any) -> Page[ProjectData]:
        raise AssertionError("not asked in these stories")

    async def sweep(self, *args: Any, **options: Any) -> SweepData:
        raise AssertionError("not asked in these stories")

    async def sweeps(self, *args: Any, **options: Any) -> Page[SweepData]:
        raise AssertionError("not asked in these stories")

    async def history(self, *args: Any, **options: Any) -> Sequence[str]:
        raise AssertionError("not asked in these stories")

    async def events(self, *args: Any, **options: Any) -> Sequence[str]:
        raise AssertionError("not asked in these stories")

    async def exports(self, *args: Any, **options: Any) -> Exports:
        raise AssertionError("not asked in these stories")

    async def download(self, *args: Any, **options: Any) -> None:
        raise AssertionError("not asked in these stories")


class WritersView:
    """The same server as write-back is given it: as far as it asks."""

    def __init__(self, server: RememberingServer) -> None:
        self._server = server

    async def run(self, entity: str, project: str, run_id: str, wait: Wait) -> RunData:
        return await self._server.run_for_writer(f"{entity}/{project}/{run_id}")

    async def change_run(self, storage_id: str, before: RunData, change: RunChange, wait: Wait) -> RunData:
        return await self._server.change_run(storage_id, before, change, wait)


def _told(listing: Listing) -> str:
    return f"{listing.first} runs behind {listing.cursor}, {listing.filters or '{}'} by {listing.order}"


def document(run: RunData) -> Document:
    """A run as filters and orders read it."""
    config = {key: entry["value"] for key, entry in json.loads(run.config).items()}
    return {
        "name": run.run_id,
        "display_name": run.display_name,
        "state": run.state,
        "tags": list(run.tags),
        "created_at": run.created_at,
        "config": config,
        "summary_metrics": json.loads(run.summary),
    }
