"""How fresh an answer is, put together from its parts. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from runtapd.model.run import Record


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


_NOTHING: frozenset[str] = frozenset()
UPDATED_AT = frozenset({"updated_at"})
LIGHT_FIELDS = frozenset(
    (
        *("state", "tags", "display_name", "notes", "description", "group", "job_type", "heartbeat_at"),
        *("history_line_count", "sweep_name"),
    )
)
"""What a glance compares on servers that do not tell when a run was last changed."""


def of_record(record: Record, source: Source, *, stale: bool = False) -> Freshness:
    """Returns how fresh one run is."""
    fetched_at, checked_at = record.fetched_at, record.checked_at
    if checked_at <= fetched_at:
        return _told(fetched_at, source, stale, _NOTHING)
    if record.updated_at is None:
        return _told(fetched_at, source, stale, LIGHT_FIELDS)
    return _told(checked_at, source, stale, UPDATED_AT)


@lru_cache(maxsize=1024)
def _told(fetched_at: float, source: Source, stale: bool, revalidated: frozenset[str]) -> Freshness:
    """One object for the many runs that came with one page."""
    return Freshness(fetched_at, source, stale, revalidated=revalidated)


_SLOWNESS = {Source.MEMORY: 0, Source.DISK: 1, Source.UPSTREAM: 2}


def merged(parts: Iterable[Freshness], otherwise: Freshness) -> Freshness:
    """Returns the freshness of an answer made of these parts: its oldest moment and its slowest source."""
    listed = list(parts) or [otherwise]
    distinct = {id(part): part for part in listed}.values()
    pending = any(part.pending_writes for part in distinct)
    return Freshness(
        fetched_at=min(part.fetched_at for part in distinct),
        source=max((part.source for part in distinct), key=_SLOWNESS.__getitem__),
        stale=any(part.stale for part in distinct),
        pending_writes=sum(part.pending_writes for part in listed) if pending else 0,
        revalidated=frozenset().union(*(part.revalidated for part in distinct)),
    )
