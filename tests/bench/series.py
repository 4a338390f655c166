"""The histories that the bench logs, as numbers: the same ones each time, in every process. Pure.

Two keys are in every row, the others in three of four. Every other key has values of full entropy; those between are
single-precision numbers written out as doubles, which is what a logged loss of a neural network is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[np.float64]]
"""The values of each key; NaN where a row lacks it."""

DENSE = 2
LOGGED = 0.75
BEGUN = 1.79e9
AT_ONCE = 8192


@dataclass(frozen=True)
class Series:
    """A history to log: so many rows, so many keys besides the three that the SDK adds."""

    rows: int
    keys: int
    stride: int = 1
    """How many steps lie between two rows."""
    number: int = 0
    """Tells series of one size apart."""

    def columns(self, first: int = 0, last: int | None = None) -> Columns:
        """Some of the rows as columns, all where no bounds are given; `first` is a multiple of AT_ONCE."""
        last = self.rows if last is None else min(last, self.rows)
        parts = [self._part(start, min(start + AT_ONCE, last)) for start in range(first, last, AT_ONCE)]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def parts(self) -> Iterator[Columns]:
        """All rows, some at a time."""
        return (self._part(start, min(start + AT_ONCE, self.rows)) for start in range(0, self.rows, AT_ONCE))

    @property
    def last_step(self) -> int:
        """The step of the last row."""
        return (self.rows - 1) * self.stride

    @property
    def bytes(self) -> int:
        """What the values take in memory at the least."""
        return 8 * self.rows * (self.keys + 3)

    def _part(self, first: int, last: int) -> Columns:
        draw = np.random.default_rng((self.number, first))
        rows = last - first
        columns: Columns = {}
        for key in range(self.keys):
            values = draw.normal(1, 0.1, AT_ONCE)
            if key % 2:
                values = values.astype(np.float32).astype(np.float64)
            if key >= DENSE:
                values[draw.random(AT_ONCE) > LOGGED] = np.nan
            columns[f"metric_{key}"] = values[:rows]
        steps = np.arange(first, last, dtype=np.float64) * self.stride
        runtime = (
            steps * 0.37 + 0.0625
        )  # never a whole number, of which one cannot tell whether it was a float
        return columns | {"_step": steps, "_timestamp": BEGUN + runtime, "_runtime": runtime}
