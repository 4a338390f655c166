"""Which of many rows stand for all of them; pure, and the same answer every time."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(items: Sequence[T], samples: int) -> Sequence[T]:
    """At most ``samples`` items, evenly spread, the first and the last among them; all where they are few enough."""
    count = len(items)
    if samples >= count:
        return items
    if samples <= 0:
        return items[:0]
    if samples == 1:
        return items[-1:]
    return [items[(index * (count - 1)) // (samples - 1)] for index in range(samples)]
