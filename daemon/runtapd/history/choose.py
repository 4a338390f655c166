"""Which rows and columns of a history are wanted, and cutting what is sent into portions that fit a message. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtapd.history.columns import column_of
from runtapd.history.rows import ABSENT
from runtapd.history.table import CLOCK, NONE, STEP, Column, Rows, joined, ordered, parsed_cells, together

if TYPE_CHECKING:
    from runtapd.history.table import Mask, Numbers

LARGEST_BATCH = 3 * 2**19
"""Bytes of cells, roughly, that one message may carry."""


@dataclass(frozen=True, slots=True)
class Picked:
    """What a choice makes of some rows."""

    rows: Rows
    """The chosen rows with the chosen columns, as far as there are any."""
    places: Numbers | None = None
    """Where they are among all; None when all were chosen."""
    had: frozenset[str] = frozenset()
    """The keys of the choice that any of the rows has, chosen or not."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The keys that are wanted and the rows they stand for."""

    keys: tuple[str, ...] = ()
    """Empty: all keys and all rows. A dotted key that a row did not log as such reaches into its nested values."""
    inner: bool = False
    """Whether a row needs all of the keys, or any of them."""
    always: tuple[str, ...] = (STEP,)
    """What comes along where rows have it."""

    @property
    def deciding(self) -> tuple[str, ...]:
        """The keys of which a row needs one: those of the clock, which every row has, only where nothing else is."""
        return tuple(key for key in self.keys if key not in CLOCK) or self.keys

    def of(self, rows: Rows) -> Picked:
        """Chooses."""
        if not self.keys or not rows.length:
            return Picked(rows)
        found = {key: column for key in self.keys if (column := reached(rows, key)) is not None}
        always = {key: rows.columns[key] for key in self.always if key in rows.columns}
        both = found | always
        had = frozenset(key for key, column in found.items() if not column.empty)
        mask = self._mask(found)
        if mask is None:
            return Picked(NONE, had=had)
        chosen = Rows(rows.length, {key: both[key] for key in ordered(both)}).filter(mask).without_empty()
        return Picked(chosen, None if mask.all() else mask.nonzero()[0], had)

    def _mask(self, found: dict[str, Column]) -> Mask | None:
        """Of each row, whether it is chosen; None when none is."""
        wanted = self.keys if self.inner else self.deciding
        if self.inner and len(found) < len(wanted):
            return None
        masks = [found[key].present() for key in wanted if key in found]
        chosen = together(masks, every=self.inner)
        return chosen if chosen is not None and chosen.any() else None


def reached(rows: Rows, key: str) -> Column | None:
    """The cells of a key; where a row did not log a dotted key, what lies there in its nested values."""
    direct = rows.columns.get(key)
    outer, dot, _ = key.partition(".")
    around = rows.columns.get(outer) if dot else None
    if around is None or not around.json or (direct is not None and bool(direct.present().all())):
        return direct
    path = key.split(".")[1:]
    nested = column_of([_inside(value, path) for value in parsed_cells(around)])
    if nested.empty:
        return direct
    return nested if direct is None else _either(direct, nested)


def _inside(value: Any, path: Sequence[str]) -> Any:
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return ABSENT
        value = value[part]
    return value


def _either(first: Column, second: Column) -> Column:
    """The cells of the first column, and of the second where the first has none."""
    import numpy as np

    has = first.present()
    parts, begin = [], 0
    # Stretches of one source at a time: such mixtures are rare, and rows of one kind come together.
    ends = [*(np.flatnonzero(np.diff(has)) + 1).tolist(), len(has)]
    for end in ends:
        source = first if has[begin] else second
        parts.append(Rows(end - begin, {"": source.slice(begin, end)}))
        begin = end
    return joined(parts).columns[""]


def portions(rows: Rows) -> list[list[Rows]]:
    """Cuts rows into row groups, and each group into sets of columns, so that every set fits a message.

    One set per group, but for single rows that are too large; `_step` leads each set.
    """
    rows = rows.without_empty()
    if not rows.length or not rows.columns:
        return []  # rows without a single key
    overhead = sum(512 + 2 * len(key) for key in rows.columns)
    ends = _running_bytes(rows)
    room = max(LARGEST_BATCH - overhead, LARGEST_BATCH // 4)
    groups, begin, sent = [], 0, 0
    while begin < rows.length:
        end = max(begin + 1, int(ends.searchsorted(sent + room, side="right")))
        part = rows.slice(begin, end).without_empty()
        too_large = end - begin == 1 and int(ends[begin]) - sent + overhead > LARGEST_BATCH
        groups.append(_sets(part) if too_large else [part])
        begin, sent = end, int(ends[end - 1])
    return groups


def _sets(row: Rows) -> list[Rows]:
    """Cuts one row into sets of columns."""
    head = {STEP: row.columns[STEP]} if STEP in row.columns else {}
    sets: list[dict[str, Column]] = [dict(head)]
    size = 0
    for key, column in row.columns.items():
        if key in head:
            continue
        needed = int(_cell_bytes([column])[-1]) + 512 + 2 * len(key)
        if size and size + needed > LARGEST_BATCH:
            sets.append(dict(head))
            size = 0
        sets[-1][key] = column
        size += needed
    return [Rows(1, columns) for columns in sets]


def _running_bytes(rows: Rows) -> Numbers:
    """About how many bytes the rows up to each one, itself included, take in the larger of the two formats."""
    running: Numbers = _cell_bytes(rows.columns.values()).cumsum()
    return running


def _cell_bytes(columns: Iterable[Column]) -> Numbers:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = list(columns)
    sizes = np.zeros(len(columns[0].values), np.int64)
    for column in columns:
        if pa.types.is_string(column.values.type):
            sizes += 5 + pc.binary_length(column.values).fill_null(0).to_numpy(zero_copy_only=False)
        else:
            sizes += 10  # a varint of a negative number is the longest
        if column.nulls is not None:
            sizes[column.nulls] += 7  # its place in a list
    return sizes
