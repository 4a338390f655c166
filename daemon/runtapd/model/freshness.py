"""How fresh an answer is, put together from its parts. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Source(IntEnum):
    """Where an answer comes from; the numbers are those of `runtap.v1.FreshnessSource`."""

    UPSTREAM = 1
    MEMORY = 2
    DISK = 3


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh an answer is."""

    fetched_at: float
    source: Source
    stale: bool = False
    pending_writes: int = 0
    revalidated: frozenset[str] = frozenset()
    """What was compared with the server without fetching it whole."""


_SLOWNESS = {Source.MEMORY: 0, Source.DISK: 1, Source.UPSTREAM: 2}


def merged(parts: Iterable[Freshness], otherwise: Freshness) -> Freshness:
    """Returns the freshness of an answer made of these parts: its oldest moment and its slowest source."""
    listed = list(parts) or [otherwise]
    return Freshness(
        fetched_at=min(part.fetched_at for part in listed),
        source=max((part.source for part in listed), key=_SLOWNESS.__getitem__),
        stale=any(part.stale for part in listed),
        pending_writes=sum(part.pending_writes for part in listed),
        revalidated=frozenset().union(*(part.revalidated for part in listed)),
    )
