"""Which few rows stand for a long history. Pure, deterministic: the same rows give the same sample.

`sample` returns at most so many rows, and exactly so many where there are more, in their order. It promises, in this
order and as far as the number goes:

1. the first and the last row (of a single row: the last);
2. for each numeric key, a row with its least and one with its greatest value, NaN aside;
3. for each other key, the first row that logged it;
4. what is left over (with many rows per key) is half extremes of stretches of the x axis, half rows spread evenly over
   it, so that neither spikes nor quiet stretches vanish.

Several keys share the rows: a row has all its cells. With at least 2 + 2 * keys rows, 1 to 3 hold whole.

By numpy, not by tsdownsample: that needs an ascending x axis, gives 2 rows of 500 when one step lies far off, and
samples each key for itself. There are at most as many stretches as rows are wanted, which a loop does as fast.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtapd.history.table import CLOCK, STEP, Column, Rows, joined, ordered

if TYPE_CHECKING:
    import numpy as np

    from runtapd.history.table import Numbers

    Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """The numbers of one key: NaN and what is not a number left out."""

    rows: Numbers
    values: np.ndarray[Any, Any]


def sample(parts: Sequence[Rows], count: int, x_axis: str = STEP) -> Rows:
    """Returns at most `count` rows of all parts, which follow one another. All columns but those of the clock decide.

    `x_axis` is the key the rows are spread over; where it is not numeric they are spread by number.
    """
    import numpy as np

    parts = [part for part in parts if part.length]
    keys = ordered(key for part in parts for key in part.columns)
    if sum(part.length for part in parts) <= count:
        return joined(parts)
    kept = np.zeros(sum(part.length for part in parts), np.bool_)
    kept[_Choosing(parts, keys, count, x_axis).rows()] = True
    chosen, begin = [], 0
    for part in parts:
        chosen.append(part.filter(kept[begin : begin + part.length]))
        begin += part.length
    return joined(chosen).only(keys)


class _Choosing:
    """One choice of rows."""

    def __init__(self, parts: Sequence[Rows], keys: Sequence[str], count: int, x_axis: str) -> None:
        self.parts, self.count, self.x_axis = parts, count, x_axis
        self.total = sum(part.length for part in parts)
        deciding = dict.fromkeys(key for key in keys if key != STEP and key not in CLOCK)
        if x_axis in deciding:  # its ends come first
            deciding = {x_axis: None} | deciding
        self.numeric = [key for key in deciding if _is_numeric(parts, key)]
        self.others = [key for key in deciding if key not in set(self.numeric)]
        self.kept: dict[int, None] = {}

    def rows(self) -> list[int]:
        """The numbers of the rows."""
        self._keep(self.total - 1)
        self._keep(0)
        spots = self._spots()
        stretches = self.count // (4 * max(1, len(self.numeric)))
        local = [row for key in self.numeric for row in self._extremes(key, spots, stretches)]
        for key in self.others:
            if not self.full:
                self._keep(*self._first(key))
        self._keep(*local)
        self._keep(*_nearest(spots, self.count - len(self.kept)))
        self._fill()
        return list(self.kept)

    @property
    def full(self) -> bool:
        return len(self.kept) >= self.count

    def _keep(self, *rows: int) -> None:
        for row in rows:
            if not self.full:
                self.kept[row] = None

    def _extremes(self, key: str, spots: Floats, stretches: int) -> Iterator[int]:
        """Keeps the rows with the least and the greatest value; yields those of each stretch of the x axis."""
        if self.full:
            return
        series = self._series(key)
        if not len(series.rows):  # nothing but NaN and nulls
            self._keep(*self._first(key))
            return
        self._keep(*_ends_of(series, 0, len(series.rows)))
        if stretches < 2:
            return
        along = spots[series.rows]
        if (order := _order(along)) is not None:
            along, series = along[order], _Series(series.rows[order], series.values[order])
        inner = along.searchsorted([number / stretches for number in range(1, stretches)])
        for begin, end in itertools.pairwise([0, *inner.tolist(), len(along)]):
            if begin < end:
                yield from _ends_of(series, begin, end)

    def _first(self, key: str) -> list[int]:
        """The first row that logged a key."""
        begin = 0
        for part in self.parts:
            if key in part.columns:
                present = part.columns[key].present()
                if present.any():
                    return [begin + int(present.argmax())]
            begin += part.length
        return []

    def _fill(self) -> None:
        """Keeps more rows, evenly by number, until there are enough."""
        import numpy as np

        missing = self.count - len(self.kept)
        if missing > 0:
            free = np.ones(self.total, np.bool_)
            free[list(self.kept)] = False
            rest = np.flatnonzero(free)
            self._keep(*(int(rest[(2 * i + 1) * len(rest) // (2 * missing)]) for i in range(missing)))

    def _spots(self) -> Floats:
        """Where each row lies on the x axis, from 0 to 1. Rows without a value there stay with the row before."""
        import numpy as np

        series = self._series(self.x_axis)
        rows, values = series.rows, series.values.astype(np.float64)
        if not (finite := np.isfinite(values)).all():
            rows, values = rows[finite], values[finite]
        if not len(rows) or values.min() == values.max():
            return np.arange(self.total) / max(1, self.total - 1)
        values /= np.abs(values).max()  # the span of large numbers may be more than a number can be
        spots: Floats = (values - values.min()) / (values.max() - values.min())
        if len(rows) < self.total:
            before = rows.searchsorted(np.arange(self.total), side="right") - 1
            spots = spots[np.maximum(before, 0)]
        return spots

    def _series(self, key: str) -> _Series:
        import numpy as np

        rows, values, begin = [np.empty(0, np.int64)], [], 0
        for part in self.parts:
            if key in part.columns and _numeric(part.columns[key]):
                series = _numbers(part.columns[key])
                rows.append(series.rows + begin)
                values.append(series.values)
            begin += part.length
        return _Series(np.concatenate(rows), np.concatenate(values) if values else np.empty(0))


def _ends_of(series: _Series, begin: int, end: int) -> tuple[int, int]:
    """The rows with the least and the greatest value of a piece."""
    values = series.values[begin:end]
    return int(series.rows[begin + values.argmin()]), int(series.rows[begin + values.argmax()])


def _nearest(spots: Floats, count: int) -> list[int]:
    """The rows nearest to so many points that are evenly spread between both ends; fewer where rows are sparse."""
    import numpy as np

    if count < 1:
        return []
    order = _order(spots)
    along = spots if order is None else spots[order]
    points = np.linspace(0, 1, count + 2)[1:-1]
    behind = np.minimum(along.searchsorted(points), len(along) - 1)
    before = np.maximum(behind - 1, 0)
    nearest = np.where(points - along[before] < along[behind] - points, before, behind)
    found: list[int] = (nearest if order is None else order[nearest]).tolist()
    return found


def _order(spots: Floats) -> Numbers | None:
    """How to sort the spots, keeping equal ones as they are; None when they are sorted, as steps always are."""
    return spots.argsort(kind="stable") if (spots[1:] < spots[:-1]).any() else None


def _is_numeric(parts: Sequence[Rows], key: str) -> bool:
    return any(key in part.columns and _numeric(part.columns[key]) for part in parts)


def _numeric(column: Column) -> bool:
    import pyarrow as pa

    return column.values.type in (pa.int64(), pa.float64())


def _numbers(column: Column) -> _Series:
    """The numbers of one part. Integers stay integers: as doubles, large ones would be the same."""
    import numpy as np
    import pyarrow as pa

    values = column.values
    rows = np.arange(len(values))
    if values.null_count:
        rows = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
        values = values.drop_null()
    numbers = values.to_numpy()
    if values.type == pa.float64() and (nan := np.isnan(numbers)).any():
        rows, numbers = rows[~nan], numbers[~nan]
    return _Series(rows, numbers)
