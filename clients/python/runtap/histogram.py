"""Histograms as values of a summary or a config."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from runtap.errors import InvalidRequestError
from runtap.values import histogram_json

MOST_BINS = 512


class Histogram:
    """Counts of numbers in bins, as servers draw them.

    Arguments:
        sequence: the numbers; a list or an array of any shape.
        np_histogram: ready counts and edges instead, as `numpy.histogram` returns them.
        num_bins: how many bins to make of `sequence`; at most 512.

    Raises:
        InvalidRequestError: (a ValueError) for over 512 bins, for edges that do not fit the counts, or for numbers
            that are NaN or infinite.
    """

    def __init__(
        self,
        sequence: Iterable[Any] | None = None,
        np_histogram: tuple[Any, Any] | None = None,
        num_bins: int = 64,
    ) -> None:
        if np_histogram is not None:
            if len(np_histogram) != 2:
                raise _refused("np_histogram is a pair of counts and edges, as numpy.histogram returns it")
            counts, edges = np_histogram
        elif sequence is not None:
            counts, edges = _count(sequence, num_bins)
        else:
            raise _refused("a Histogram needs a sequence of numbers, or np_histogram=(counts, edges)")
        self.histogram: list[int | float] = _flat(counts)
        """How many numbers lie in each bin."""
        self.bins: list[float] = _flat(edges)
        """The edges of the bins, one more than there are bins."""
        if len(self.histogram) > MOST_BINS:
            raise _refused(f"a Histogram has at most {MOST_BINS} bins, this one has {len(self.histogram)}")
        if len(self.bins) != len(self.histogram) + 1:
            raise _refused(
                f"{len(self.histogram)} bins need {len(self.histogram) + 1} edges, not {len(self.bins)}"
            )

    def to_json(self) -> dict[str, Any]:
        """The typed dict that is stored."""
        return histogram_json(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Histogram of {len(self.histogram)} bins from {self.bins[0]:g} to {self.bins[-1]:g}>"


def _count(sequence: Iterable[Any], num_bins: int) -> tuple[Sequence[int], Sequence[float]]:
    """Sorts numbers into bins of equal width, with numpy where it is installed."""
    if not 1 <= num_bins <= MOST_BINS:
        raise _refused(f"num_bins is between 1 and {MOST_BINS}, not {num_bins}")
    try:
        import numpy
    except ImportError:
        return _count_slowly(_flat(sequence), num_bins)
    numbers = numpy.asarray(sequence if hasattr(sequence, "shape") else list(sequence), dtype=float)
    if not numpy.isfinite(numbers).all():
        raise _refused("a Histogram counts finite numbers only; drop NaN and infinities first")
    counts, edges = numpy.histogram(numbers, bins=num_bins)
    return counts.tolist(), edges.tolist()


def _count_slowly(numbers: list[Any], num_bins: int) -> tuple[list[int], list[float]]:
    if not all(map(math.isfinite, numbers)):
        raise _refused("a Histogram counts finite numbers only; drop NaN and infinities first")
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    width = (high - low) / num_bins
    counts = [0] * num_bins
    for number in numbers:
        counts[min(int((number - low) / width), num_bins - 1)] += 1
    return counts, [low + width * index for index in range(num_bins)] + [float(high)]


def _flat(values: Any) -> list[Any]:
    """A list of scalars out of lists or arrays of any shape."""
    as_list = getattr(values, "tolist", None)
    listed = as_list() if callable(as_list) else list(values)
    if any(isinstance(item, list | tuple) for item in listed):
        return [
            scalar
            for item in listed
            for scalar in (_flat(item) if isinstance(item, list | tuple) else [item])
        ]
    return list(listed)


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, reason="INVALID_FIELD")
