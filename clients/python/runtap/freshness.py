"""How fresh an answer is, as people read it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from runtap.v1 import common_pb2


@dataclass(frozen=True)
class Freshness:
    """Where an answer comes from and how old it is."""

    fetched_at: datetime.datetime | None
    """When the oldest part of it left the server, in UTC; None when nobody said."""
    source: str
    """`upstream`, `memory` or `disk`; empty when nobody said."""
    stale: bool = False
    """True when the server could not be asked and this is older than was wanted."""
    revalidated: tuple[str, ...] = ()
    """What was compared with the server without fetching it whole."""
    pending_writes: int = 0
    """Own writes that the answer shows and the server has not confirmed yet."""

    @property
    def age_s(self) -> float | None:
        """Seconds since it left the server; None when nobody said when that was."""
        if self.fetched_at is None:
            return None
        return (datetime.datetime.now(datetime.UTC) - self.fetched_at).total_seconds()


def from_message(message: common_pb2.Freshness) -> Freshness:
    """Reads the contract's message."""
    when = message.fetched_at.ToDatetime(datetime.UTC) if message.HasField("fetched_at") else None
    return Freshness(
        fetched_at=when,
        source=_SOURCES.get(message.source, ""),
        stale=message.stale,
        revalidated=tuple(message.revalidated),
        pending_writes=message.pending_writes,
    )


def older(one: Freshness | None, other: Freshness) -> Freshness:
    """The freshness of two parts together: that of the older one."""
    if one is None or one.fetched_at is None:
        return other
    return other if other.fetched_at is not None and other.fetched_at < one.fetched_at else one


_SOURCES: dict[int, str] = {1: "upstream", 2: "memory", 3: "disk"}
"""`FreshnessSource` of common.proto by number; written out so that this module needs no stub."""
