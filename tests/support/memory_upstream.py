"""A server in memory that fails where a test tells it to: the `Upstream` of tests that need no HTTP."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from runtapd.faults import NeedsLogin, NotFound
from runtapd.model.project import ProjectData
from runtapd.model.run import RunData
from runtapd.model.sweep import SweepData
from runtapd.upstream.api import Exports, GlancePage, Page, RunChange, RunPage, Upstream, ViewerData, Wait


class Point(Enum):
    """Where a request fails."""

    READ = "before the run is read"
    BEFORE_CHANGE = "before the change is made"
    AFTER_CHANGE = "after the change is made: the answer is lost"


class MemoryUpstream:
    """Runs by path."""

    def __init__(self, *runs: RunData) -> None:
        self.runs_by_path = {run.path: run for run in runs}
        self.requests: list[str] = []
        """`read PATH` and `change PATH`, in order of arrival."""
        self.changes: list[RunChange] = []
        self.keeps: Callable[[RunData], RunData] = lambda run: run
        """What the server makes of a run that was changed."""
        self.gate = asyncio.Event()
        """Changes wait here before they are made; open unless a test clears it."""
        self.gate.set()
        self.most_at_once = 0
        self._at_once = 0
        self._faults: dict[Point, deque[BaseException]] = {point: deque() for point in Point}

    def fail(self, point: Point, *faults: BaseException) -> None:
        """The next requests that get there fail with these, one each."""
        self._faults[point].extend(faults)

    def heal(self) -> None:
        """Nothing fails any more."""
        for faults in self._faults.values():
            faults.clear()

    async def run(self, entity: str, project: str, run_id: str, wait: Wait) -> RunData:
        path = f"{entity}/{project}/{run_id}"
        self.requests.append(f"read {path}")
        await asyncio.sleep(0)
        self._pass(Point.READ)
        if path not in self.runs_by_path:
            raise NotFound(f"no run {path}")
        return self.runs_by_path[path]

    async def change_run(self, storage_id: str, before: RunData, change: RunChange, wait: Wait) -> RunData:
        self.requests.append(f"change {before.path}")
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self.gate.wait()
            self._pass(Point.BEFORE_CHANGE)
            return self._change(before.path, storage_id, change)
        finally:
            self._at_once -= 1

    async def viewer(self, wait: Wait) -> ViewerData:
        raise AssertionError("a write has no reason to ask this")

    async def runs(self, *args: Any, **options: Any) -> RunPage:
        raise AssertionError("a write has no reason to ask this")

    async def glance(self, *args: Any, **options: Any) -> GlancePage:
        raise AssertionError("a write has no reason to ask this")

    async def project(self, *args: Any, **options: Any) -> ProjectData:
        raise AssertionError("a write has no reason to ask this")

    async def projects(self, *args: Any, **options: Any) -> Page[ProjectData]:
        raise AssertionError("a write has no reason to ask this")

    async def sweep(self, *args: Any, **options: Any) -> SweepData:
        raise AssertionError("a write has no reason to ask this")

    async def sweeps(self, *args: Any, **options: Any) -> Page[SweepData]:
        raise AssertionError("a write has no reason to ask this")

    async def history(self, *args: Any, **options: Any) -> Sequence[str]:
        raise AssertionError("a write has no reason to ask this")

    async def events(self, *args: Any, **options: Any) -> Sequence[str]:
        raise AssertionError("a write has no reason to ask this")

    async def exports(self, *args: Any, **options: Any) -> Exports:
        raise AssertionError("a write has no reason to ask this")

    async def download(self, *args: Any, **options: Any) -> None:
        raise AssertionError("a write has no reason to ask this")

    def _change(self, path: str, storage_id: str, change: RunChange) -> RunData:
        run = self.runs_by_path[path]
        assert run.storage_id == storage_id
        self.changes.append(change)
        sent = {name: getattr(change, name) for name in change.__slots__}
        run = self.keeps(replace(run, **{name: value for name, value in sent.items() if value is not None}))
        self.runs_by_path[path] = run
        self._pass(Point.AFTER_CHANGE)
        return run

    def _pass(self, point: Point) -> None:
        if self._faults[point]:
            raise self._faults[point].popleft()


class MemoryAccounts:
    """Accounts whose keys can be found without a caller, or not."""

    def __init__(self, **upstreams: Upstream) -> None:
        self.upstreams = upstreams
        self.keyless: set[str] = set()

    async def for_account(self, account_id: str) -> Upstream:
        if account_id in self.keyless:
            raise NeedsLogin("the key came with a call to an earlier daemon", reason="ACCOUNT_UNKNOWN")
        return self.upstreams[account_id]


class SeenByCache:
    """What the cache is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.absorbed: list[RunData] = []

    def now(self) -> float:
        return 0.0

    def sending(self, account_id: str, path: str) -> float:
        self.told.append(("sending", account_id, path))
        return 0.0

    def sent(self, account_id: str, path: str) -> None:
        self.told.append(("sent", account_id, path))

    def absorb_written(self, account_id: str, run: RunData, sent_at: float) -> None:
        self.told.append(("absorb", account_id, run.path))
        self.absorbed.append(run)
