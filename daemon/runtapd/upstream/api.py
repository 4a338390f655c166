"""What the daemon needs from a server; everything above talks to this and has not heard of GraphQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from runtapd.model.paths import ProjectPath, RunPath, SweepPath
from runtapd.model.project import ProjectData
from runtapd.model.run import RunData
from runtapd.model.sweep import SweepData

T = TypeVar("T")


class Urgency(Enum):
    """Who waits for a request: a person, or a bulk job that can give way."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(slots=True)
class Wait:
    """How long a request may take in all, retries included, and how urgent it is.

    Shared by everybody who waits for the same request: it lasts as long as the most patient of them, and is as urgent
    as the most urgent one.
    """

    deadline: float
    """In the running loop's time (`loop.time()`)."""
    urgency: Urgency = Urgency.INTERACTIVE
    once: bool = False
    """True for those who try again by themselves, and would rather hear at once what went wrong."""
    on_join: list[Callable[[], None]] = field(default_factory=list, repr=False, compare=False)
    """Called when another waiter has joined: a request that waits for its turn may be more urgent now."""

    def no_later_than(self, deadline: float) -> Wait:
        """Returns the same wait with an earlier end: for those who have something to fall back on."""
        return Wait(min(self.deadline, deadline), self.urgency, self.once)

    def join(self, other: Wait) -> None:
        """Takes in another waiter."""
        self.deadline = max(self.deadline, other.deadline)
        if other.urgency is Urgency.INTERACTIVE:
            self.urgency = Urgency.INTERACTIVE
        for joined in list(self.on_join):
            joined()


Waits = Callable[[], Wait]
"""Says anew before each request of a long stream how long it may take."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What to list of a project's runs."""

    project: ProjectPath
    filters: str
    """In the server's spelling; empty: all."""
    order: str
    first: int
    """How many at most."""
    cursor: str | None = None
    """Behind which; None: from the beginning."""


@dataclass(frozen=True, slots=True)
class RunGlance:
    """What a light page tells of a run: enough to know whether a record of it is still right."""

    storage_id: str
    run_id: str
    created_at: str
    sign: str
    """See RunData.sign."""


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """One page of a listing."""

    runs: tuple[T, ...]
    cursors: tuple[str, ...]
    """The cursor behind each run, so that a list can go on after any of them."""
    has_next: bool
    total: int | None
    unread: int = 0
    """Runs of this page that the server could not give, though it gave the others."""
    end: str = ""
    """The cursor behind the whole page, also where its last run was not given; may be empty."""


RunPage = Listed[RunData]
GlancePage = Listed[RunGlance]


@dataclass(frozen=True, slots=True)
class Bounds:
    """When to give a page up rather than wait for it: what is in it can be asked for in smaller pieces."""

    most_bytes: int | None = None
    """AnswerTooLarge when a body grows beyond this, decompressed."""
    tries: int | None = None
    """How often a failing request is sent in all; None: until the deadline. What a rate limit sends back, or a server
    that asks for a pause, has not failed."""
    within_s: float | None = None
    """How long it may take in all, tries included; never longer than the Wait's deadline. Waiting for the request's
    turn and pauses the server asks for do not count: they say nothing of the page."""
    lets_flow: bool = False
    """Whether an answer whose bytes keep coming may take longer than that: for what cannot be had in smaller pieces."""


UNBOUNDED = Bounds()


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list that goes on behind its last item only."""

    items: tuple[T, ...]
    next_cursor: str
    """Where the list goes on; empty at its end."""


@dataclass(frozen=True, slots=True)
class RunChange:
    """What a mutation sends; None leaves a field as it is. Documents replace the server's whole document."""

    display_name: str | None = None
    notes: str | None = None
    description: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] | None = None
    config: str | None = None
    summary: str | None = None


@dataclass(frozen=True, slots=True)
class ViewerData:
    """The user behind a key."""

    id: str
    username: str
    entity: str
    email: str = ""
    teams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exports:
    """The Parquet files in which a server offers the history of a run."""

    urls: tuple[str, ...] = field(default=(), repr=False)
    """Where they are, in no order; absolute, or as the server abbreviates them. Secrets: they let anybody in."""
    live_from: int | None = None
    """The first step of rows that are in no file yet; None when the server tells of none."""
    offered: bool = True
    """False of a server that exports no histories at all."""


NO_EXPORTS = Exports(offered=False)


class Upstream(Protocol):
    """One server as one account sees it. Every method raises a Fault of `runtapd.faults` when it fails."""

    async def viewer(self, wait: Wait) -> ViewerData:
        """Returns the user behind the key; NeedsLogin when the key is refused."""

    async def run(self, entity: str, project: str, run_id: str, wait: Wait) -> RunData:
        """Returns one run in full; NotFound when there is none."""

    async def runs(self, listing: Listing, wait: Wait, bounds: Bounds = UNBOUNDED) -> RunPage:
        """Returns full runs; NotFound when there is no such project."""

    async def glance(self, listing: Listing, wait: Wait, bounds: Bounds = UNBOUNDED) -> GlancePage:
        """The same without documents: cheap for the server, and never too large."""

    async def project(self, path: ProjectPath, wait: Wait) -> ProjectData:
        """Returns one project; NotFound when there is none."""

    async def projects(self, entity: str, *, cursor: str, first: int, wait: Wait) -> Page[ProjectData]:
        """Returns up to `first` projects of an entity behind the cursor (empty: from the first on)."""

    async def sweep(self, path: SweepPath, wait: Wait) -> SweepData:
        """Returns one sweep; NotFound when there is none."""

    async def sweeps(self, project: ProjectPath, *, cursor: str, first: int, wait: Wait) -> Page[SweepData]:
        """Returns up to `first` sweeps of a project behind the cursor (empty: from the first on)."""

    async def change_run(self, storage_id: str, before: RunData, change: RunChange, wait: Wait) -> RunData:
        """Changes a run and returns it as the server holds it afterwards. Sent once: an unknown outcome is
        UpstreamUnavailable, UpstreamTimeout or InvalidAnswer, and the caller reads before sending again."""

    async def history(
        self,
        path: RunPath,
        *,
        min_step: int,
        max_step: int,
        samples: int,
        wait: Wait,
        bounds: Bounds = UNBOUNDED,
    ) -> Sequence[str]:
        """Returns rows with min_step <= _step < max_step as JSON texts, at most about `samples`."""

    async def events(
        self, path: RunPath, *, samples: int, wait: Wait, bounds: Bounds = UNBOUNDED
    ) -> Sequence[str]:
        """Returns rows of system metrics as JSON texts, at most about `samples`."""

    async def exports(self, path: RunPath, wait: Wait) -> Exports:
        """Returns where the run's history is as Parquet files; without any while the server has none."""

    async def download(self, url: str, file: Path, wait: Wait, *, most_bytes: int) -> None:
        """Writes what is at an address of `Exports` into a file of mode 0600, anew if there is one. No credentials are
        sent. Raises UpstreamRefused when the address is not good (any more), AnswerTooLarge beyond `most_bytes`, and
        DiskFull when the file cannot be written; what is in it then is of no use."""
