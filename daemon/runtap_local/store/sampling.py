"""Which of many rows stand for all of them; pure, and the same answer every time."""

from bisect import bisect_left
from collections.abc import Sequence


def evenly(steps: Sequence[int], samples: int) -> Sequence[int]:
    """The places of at most ``samples`` rows, the first and the last among them; all where they are few enough.

    ``steps`` ascend. The rows lie evenly by step; where steps are so uneven that this takes fewer rows than asked for,
    the rest is taken evenly from those left over.
    """
    count = len(steps)
    if samples >= count:
        return range(count)
    if samples <= 1:
        return range(count - 1, count)[: max(0, samples)]
    low, span, last = steps[0], steps[-1] - steps[0], samples - 1
    chosen = {bisect_left(steps, low + (span * index) // last) for index in range(last)}
    chosen.add(count - 1)
    left = samples - len(chosen)
    if left:
        rest = [place for place in range(count) if place not in chosen]
        chosen.update(rest[(2 * index + 1) * len(rest) // (2 * left)] for index in range(left))
    return sorted(chosen)
