"""The reading and writing half of a daemon on paper: real parts around a server that remembers and a clock that is set.

Reads and writes come back as values that `freshness_verdicts` judges. Knows nothing of what is right.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import cast

from runtap_query import normalised as normal
from runtap_query import parse_filter, parse_order
from runtapd.cache.policy import SoftLimits, Wishes
from runtapd.journal import Journal, NewWrite
from runtapd.model import encode
from runtapd.model.freshness import Freshness
from runtapd.model.patch import Patch
from runtapd.model.paths import ProjectPath, RunPath
from runtapd.model.run import RunData
from runtapd.reads.growing import Sizes
from runtapd.reads.lists import RunLists
from runtapd.reads.overlay import Overlay, ShownRun
from runtapd.reads.partitions import Partitions
from runtapd.reads.query import RunQuery
from runtapd.reads.runs import RunReads
from runtapd.upstream.accounts import Account, Accounts
from runtapd.upstream.api import Upstream, ViewerData, Wait
from runtapd.upstream.credentials import KeySource
from runtapd.upstream.features import ServerFeatures
from runtapd.upstream.pushdown import Servers
from runtapd.writes import Writes
from tests.support.remembering_server import ENTITY, PROJECT, Kind, RememberingServer, WritersView
from tests.support.virtual_time import WallClock

ACCOUNT = "acct-00000000000000aa"
LIMITS = SoftLimits(running_s=5.0, list_s=10.0, finished_s=300.0)
PATIENCE_S = 60.0
MEMORY_BYTES = 2**20
"""All runs fit in."""


@dataclass(frozen=True, slots=True)
class Query:
    """A list that clients ask for."""

    name: str
    filters: str = "{}"
    order: str = "-created_at"

    @property
    def of_documents(self) -> bool:
        """Whether what is in a run's documents decides about it."""
        return "config" in self.filters or "summary" in self.filters + self.order

    def query(self) -> RunQuery:
        node = normal(parse_filter(self.filters))
        return RunQuery.of(ProjectPath(ENTITY, PROJECT), node, parse_order(self.order))


@dataclass(frozen=True, slots=True)
class Asked:
    """A read as it began, and how it ended, in true time and by the daemon's clock."""

    wishes: Wishes
    floor: float
    """Nothing older may be used without asking the server: the latest flush, of everybody or of this client."""
    begun: float
    begun_at: float
    ended: float
    ended_at: float
    acknowledged: frozenset[str]
    """Own writes that were acknowledged before it began."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One run of an answer."""

    run: RunData
    freshness: Freshness


@dataclass(frozen=True, slots=True)
class Answer:
    """What a read brought."""

    asked: Asked
    runs: tuple[Shown, ...]
    freshness: Freshness
    complete: bool = False
    """Of a list: that it has come to its end, and says of no run that it is missing."""
    unread: frozenset[str] = frozenset()
    """Paths of runs that it says could not be read."""


@dataclass(slots=True)
class OwnWrite:
    """A write of ours."""

    write_id: str
    path: str
    patch: Patch
    applied_at: float | None = None
    """True time at which the server held it; None while it is not settled, or failed."""
    storage_id: str = ""
    """Of the run that it was then; the path may have been another one's before."""


@dataclass
class World:
    """One daemon after another over the same folder, and everybody around them."""

    folder: Path
    kind: Kind
    seed: str
    knows_server: bool = True
    """The server is the local one, which is given whole queries."""
    said: list[str] = field(default_factory=list)
    writes_made: dict[str, OwnWrite] = field(default_factory=dict)
    overlaid: list[tuple[float, str, tuple[Patch, ...]]] = field(default_factory=list)
    """When which own writes were laid over which run."""
    """When own writes of which run were sent, and when they were answered."""

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self.clock = WallClock(self._loop.time)
        chance = random.Random(f"server {self.seed}")
        self.server = RememberingServer(self.kind, self._loop.time, self.clock, chance, self.tell)

    def moment(self) -> float:
        """True time."""
        return self._loop.time()

    def tell(self, what: str) -> None:
        """Adds a line to the story."""
        self.said.append(f"{self.clock():9.2f} {what}")

    # The daemon

    async def start(self) -> None:
        """Makes the parts as `runtapd.parts` does."""
        self.journal = Journal(
            self.folder / "journal.db", clock=self.clock, new_id=lambda: f"w{next(self._numbers)}"
        )
        await self.journal.open()
        self.partitions = Partitions(
            cast(Accounts, _OneAccount(self.server)),
            self.folder / "cache",
            memory_bytes=MEMORY_BYTES,
            limits=LIMITS,
            clock=self.clock,
            last_settled_at=self.journal.last_settled_at,
        )
        self.writes = Writes(
            self.journal, _Writer(self.server), _Sink(self), chance=random.Random(self.seed).random
        )
        overlay = Overlay(self._open_patches)
        self.reads = RunReads(self.partitions, overlay)
        servers = Servers(lambda url: self.knows_server, ServerFeatures(clock=self.clock))
        self.lists = RunLists(self.partitions, overlay, servers)
        self.writes.start()

    async def stop(self) -> None:
        """Ends the daemon in good order; what is on disk stays."""
        await self.writes.close(1.0)
        await self.journal.close()
        await self.partitions.close()

    def _open_patches(self, account_id: str, path: str) -> Sequence[Patch]:
        patches = self.journal.open_patches(account_id, path)
        self.overlaid.append((self._loop.time(), path, tuple(patches)))
        return patches

    # What clients do

    async def read(self, run_id: str, wishes: Wishes) -> Answer:
        """Reads one run."""
        part, begun = self.partitions.get(ACCOUNT), self.begin(wishes)
        path = RunPath(ENTITY, PROJECT, run_id)
        shown = await self.reads.run(part, path, wishes, self._wait())
        return Answer(self.end(begun), (_shown(shown),), shown.freshness, complete=True)

    async def list(self, query: Query, wishes: Wishes, most: int | None) -> Answer:
        """Reads a list to its end, or its first `most` runs, as StreamRuns does."""
        part, begun = self.partitions.get(ACCOUNT), self.begin(wishes)
        asked = query.query()
        answer = await self.lists.answer(part, asked, wishes, None)
        shown: list[ShownRun] = []
        parts: list[Freshness] = []
        errors: list[str] = []
        offset, complete = 0, False
        while True:
            stretch, answer = await self.lists.part(
                part, asked, answer, offset=offset, count=most or 4, sizes=Sizes(most or 50), wishes=wishes,
                waits=self._wait,
            )  # fmt: skip
            shown += stretch.runs
            parts.append(stretch.freshness)
            errors += [unread.path for _, unread in stretch.errors]
            if stretch.next is None:
                complete = not stretch.incomplete and not errors
                if not complete:
                    self.tell(f"  incomplete: {stretch.incomplete} {errors}")
                break
            if most is not None:
                break
            offset = stretch.next.offset
        return Answer(self.end(begun), tuple(map(_shown, shown)), _oldest(parts), complete, frozenset(errors))

    async def write(self, run_id: str, patch: Patch) -> str:
        """Writes; returns the write's id once it is acknowledged."""
        new = NewWrite(
            account_id=ACCOUNT,
            request_id=f"q{next(self._numbers)}",
            entity=ENTITY,
            project=PROJECT,
            run_id=run_id,
            patch=patch,
        )
        self.partitions.get(ACCOUNT)
        entry = await self.writes.submit(new)
        # It may have been settled meanwhile, and then is there already.
        self.writes_made.setdefault(entry.write_id, OwnWrite(entry.write_id, entry.path, patch))
        return entry.write_id

    def begin(self, wishes: Wishes) -> Asked:
        """A read that begins now."""
        moment, at = self._loop.time(), self.clock()
        floor = max(self.partitions.get(ACCOUNT).cache.floor, wishes.not_before)
        return Asked(wishes, floor, moment, at, moment, at, frozenset(self.writes_made))

    def end(self, asked: Asked) -> Asked:
        """The same read, ended now."""
        return Asked(
            asked.wishes, asked.floor, asked.begun, asked.begun_at, self._loop.time(), self.clock(),
            asked.acknowledged,
        )  # fmt: skip

    def _wait(self) -> Wait:
        return Wait(self._loop.time() + PATIENCE_S)

    def settled(self, run: RunData) -> None:
        """Write-back has settled the first open write of this run."""
        entry = self.journal.head(ACCOUNT, run.path)
        if entry is not None:
            made = OwnWrite(entry.write_id, entry.path, entry.patch)
            made = self.writes_made.setdefault(entry.write_id, made)
            made.applied_at, made.storage_id = self.server.answered_writer[run.path], run.storage_id
            self.tell(f"  write {entry.write_id} of {run.run_id} is settled")

    def is_open(self, write_id: str) -> bool:
        """Whether a write is not settled yet."""
        return self.journal.open_entry(write_id) is not None


class _OneAccount:
    """The only account there is."""

    def __init__(self, server: RememberingServer) -> None:
        viewer = ViewerData("u1", "ada", ENTITY)
        url = "http://server"
        self._account = Account(ACCOUNT, url, url, viewer, KeySource.ARGUMENT, upstream=server)

    def get(self, account_id: str) -> Account:
        return self._account


class _Writer:
    """Where write-back finds the server."""

    def __init__(self, server: RememberingServer) -> None:
        self._view = cast(Upstream, WritersView(server))

    async def for_account(self, account_id: str) -> Upstream:
        return self._view


class _Sink:
    """The cache as write-back is given it, listened to."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> float:
        return self._world.partitions.now()

    def sending(self, account_id: str, path: str) -> float:
        return self._world.partitions.sending(account_id, path)

    def sent(self, account_id: str, path: str) -> None:
        self._world.partitions.sent(account_id, path)

    def absorb_written(self, account_id: str, run: RunData, sent_at: float) -> None:
        self._world.partitions.absorb_written(account_id, run, sent_at)
        self._world.settled(run)


def _shown(shown: ShownRun) -> Shown:
    return Shown(encode.run_of(encode.parse(shown.record.body), shown.documents), shown.freshness)


def _oldest(parts: Sequence[Freshness]) -> Freshness:
    """Of a list that came in parts: as old as its oldest one."""
    oldest = min(parts, key=lambda part: part.fetched_at)
    return Freshness(
        oldest.fetched_at,
        max(part.source for part in parts),
        any(part.stale for part in parts),
        sum(part.pending_writes for part in parts),
        frozenset().union(*(part.revalidated for part in parts)),
    )
