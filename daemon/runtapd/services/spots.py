"""Pages of small things (projects, sweeps): where a list goes on, and how much of it fits one message.

Their lists are not kept whole, so a token holds the server's own cursor; `places.py` does the same for lists of runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from runtapd.cache.policy import Wishes
from runtapd.faults import InvalidRequest
from runtapd.model.freshness import Freshness
from runtapd.paging import Sealer
from runtapd.reads.small import Found
from runtapd.upstream.api import Page

T = TypeVar("T")
M = TypeVar("M", bound=Message)
LARGEST_MESSAGE = 7 * 2**18
"""Bytes of items in one message, so that it stays below 2 MiB."""
_KIND = "list_token"
_FIELD = "page_token"
_REASON = "INVALID_PAGE_TOKEN"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a list goes on."""

    first: int
    """How many items the server's page was asked for; what is skipped is counted in that page."""
    cursor: str = ""
    skip: int = 0
    """Items of that page which the caller has already: they filled a message."""
    not_before: float = 0.0
    """When the list's first page was fetched: an older second page might not go with it."""

    def wishes(self, wishes: Wishes) -> Wishes:
        """Returns what the caller wishes, for the rest of a list that it has begun."""
        return replace(wishes, not_before=max(wishes.not_before, self.not_before))


@dataclass(frozen=True, slots=True)
class Given(Generic[M]):
    """What of a list one message gives."""

    messages: Sequence[M]
    next_page_token: str
    freshness: Freshness


async def given(
    sealer: Sealer,
    token: str,
    purpose: str,
    size: int,
    read: Callable[[Spot], Awaitable[Found[Page[T]]]],
    message: Callable[[T], M],
) -> Given[M]:
    """Goes on with the list of a token: reads the server's page there, and gives of it what fits."""
    spot = opened(sealer, token, purpose, size)
    found = await read(spot)
    messages = [message(item) for item in found.value.items[spot.skip :]]
    count = fitting(messages)
    return Given(messages[:count], sealed(sealer, behind(spot, found, count), purpose), found.freshness)


def opened(sealer: Sealer, token: str, purpose: str, size: int) -> Spot:
    """Reads a token, the empty one as the beginning; raises InvalidRequest for one of another list."""
    if not token:
        return Spot(size)
    content = sealer.open(_KIND, token, field=_FIELD, reason=_REASON)
    if content["for"] != purpose:
        raise InvalidRequest(
            f"{_FIELD} belongs to another list; begin this one without it", reason=_REASON, field=_FIELD
        )
    spot = Spot(**content["spot"])
    return spot if spot.skip else replace(spot, first=size)


def fitting(messages: Sequence[Message]) -> int:
    """Returns how many of these fit one message; at least one, if there is any."""
    size = 0
    for i, message in enumerate(messages):
        size += message.ByteSize() + 8
        if i and size > LARGEST_MESSAGE:
            return i
    return len(messages)


def behind(spot: Spot, found: Found[Page[Any]], given: int) -> Spot | None:
    """Returns where the list goes on when `given` items from `spot` on have been given; None at its end."""
    not_before = spot.not_before or found.freshness.fetched_at
    if spot.skip + given < len(found.value.items):
        return replace(spot, skip=spot.skip + given, not_before=not_before)
    if not found.value.next_cursor:
        return None
    return Spot(spot.first, found.value.next_cursor, 0, not_before)


def sealed(sealer: Sealer, spot: Spot | None, purpose: str) -> str:
    """Returns the token of a spot; the empty one at the end."""
    return "" if spot is None else sealer.seal(_KIND, {"for": purpose, "spot": asdict(spot)})
