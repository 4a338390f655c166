"""Which runs are asked for and in which order, whichever server answers it, and a stretch of what comes. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from runtap_query import Node, Order, filter_text, order_text
from runtapd.cache import keys
from runtapd.faults import NotInCache
from runtapd.model.freshness import Freshness
from runtapd.model.paths import ProjectPath
from runtapd.reads.answers import Place
from runtapd.reads.overlay import ShownRun
from runtapd.reads.stretches import Unread
from runtapd.upstream.pushdown import NEWEST_FIRST, Split


@dataclass(frozen=True, slots=True)
class RunQuery:
    """A query of runs: equal ones have equal texts."""

    project: ProjectPath
    filters: str
    """The filter in its canonical form."""
    order: str
    """The order in its canonical form."""
    node: Node = field(compare=False, repr=False)
    ordering: Order = field(compare=False, repr=False)
    as_it_comes: bool = False
    """True for what a server is asked so that we can judge and sort it: its order is nobody's business."""

    @classmethod
    def of(cls, project: ProjectPath, node: Node, ordering: Order) -> RunQuery:
        """Makes the query of a normalised filter."""
        return cls(project, filter_text(node), order_text(ordering), node, ordering)

    def base(self, split: Split) -> RunQuery:
        """The query whose answer holds every run that can be in the answer of this one."""
        sent = filter_text(split.sent)
        order = order_text(NEWEST_FIRST)
        return RunQuery(self.project, sent, order, split.sent, NEWEST_FIRST, as_it_comes=True)

    @property
    def key(self) -> str:
        """Names the answer."""
        operation = "runs as they come" if self.as_it_comes else "runs"
        return keys.answer_key(operation, project=str(self.project), filters=self.filters, order=self.order)

    def continued(self, fetched_at: float) -> str:
        """Names an answer that is kept for its reader although a newer one may have taken its place."""
        return f"{self.key}@{fetched_at!r}"

    def not_cached(self) -> NotInCache:
        """What is said to those who did not want the server to be asked."""
        return NotInCache(
            f"the runs of {self.project} are not in the cache, and the server was not to be asked"
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a list."""

    runs: list[ShownRun]
    ends: list[int]
    """The offset behind each run."""
    place: Callable[[int], Place]
    """Gives the place at one of these."""
    next: Place | None
    """Where the list goes on; None at its end."""
    total: int | None
    incomplete: str
    freshness: Freshness
    errors: list[tuple[int, Unread]]
    """Runs of this stretch that could not be read, each with the offset behind it."""
