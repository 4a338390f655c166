"""What has to go when the caches of all accounts together are too large: who gives way, and which of theirs. Pure.

The limit is shared. An account alone may have all of it; of n accounts each is sure of an n-th, and what some leave is
for the others, so the largest gives way first, until it is as small as the next. Of one account's runs and lists those
go that were last used longest ago; of its histories too, among them and whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

SLICE_BYTES = 2**20
SLICE_ROWS = 64
LARGEST_LIMIT = 5 * 2**30
_MINUTE_S = 60


class Kept(NamedTuple):
    """A run, a list or a history, as far as dropping it goes."""

    name: str
    """The run's storage id or the list's key."""
    what: str
    """`runs`, `lists` or `histories`: which it is one of."""
    size: int
    """About how many bytes it takes."""


def default_limit(disk_bytes: int) -> int:
    """Returns how much all caches may take of a disk of that size: 5 GiB or a tenth of it; 5 GiB if it tells none."""
    return min(LARGEST_LIMIT, disk_bytes // 10) or LARGEST_LIMIT


def after_sweep(limit: int) -> int:
    """Returns what is left to all when the limit was passed: less than it, so that it is not passed again at once."""
    return limit - limit // 10


def growth_worth_a_look(limit: int) -> int:
    """Returns by how many bytes one file may grow before all are looked at again."""
    return max(2**16, min(2**22, limit // 32))


def allowances(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    """Returns how many bytes each account may keep so that all keep no more than the limit."""
    allowed, left = {}, limit
    for i, (account, size) in enumerate(sorted(sizes.items(), key=lambda item: (item[1], item[0]))):
        allowed[account] = min(size, left // (len(sizes) - i))
        left -= allowed[account]
    return allowed


def victims(oldest: Iterable[Kept], enough: int, pinned: Collection[str]) -> list[Kept]:
    """Returns what to drop now, oldest first: enough bytes, but no more than a slice, and nothing that is pinned."""
    chosen: list[Kept] = []
    enough = min(enough, SLICE_BYTES)
    for one in oldest:
        if enough <= 0 or len(chosen) == SLICE_ROWS:
            break
        if one.name not in pinned:
            chosen.append(one)
            enough -= one.size
    return chosen


def minute_of(at: float) -> int:
    """Returns the minute of a moment: of a use, that is all that is kept."""
    return int(at // _MINUTE_S)
