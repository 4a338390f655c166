"""Consecutive rows of a history as Arrow columns, and what is done with them: cut, put together, choose from. Pure.

A cell that was not logged, one where null was logged and NaN are three different things: the first two are Arrow nulls,
and `Column.nulls` says which of them were logged. pyarrow is imported where it is used: the daemon starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtapd.model import jsontext

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Numbers = np.ndarray[Any, np.dtype[np.int64]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]

STEP = "_step"
CLOCK = ("_runtime", "_timestamp")
_EXACT_IN_DOUBLE = 2**53


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The cells of one key, one per row: int64, double, bool or string; or texts that are JSON."""

    values: pa.Array
    """Null where there is no value."""
    json: bool = False
    """Whether the texts are JSON: nested values, or values of several kinds."""
    nulls: Numbers | None = None
    """The rows in which null was logged, ascending; the other rows without a value lack the key."""

    def slice(self, begin: int, end: int) -> Column:
        """The cells of rows `begin` to before `end`."""
        nulls = self.nulls
        if nulls is not None:
            first, last = nulls.searchsorted((begin, end))
            nulls = nulls[first:last] - begin if last > first else None
        return Column(self.values.slice(begin, end - begin), self.json, nulls)

    def filter(self, mask: Mask) -> Column:
        """The cells of the rows whose mask is set."""
        import pyarrow as pa

        nulls = self.nulls
        if nulls is not None:
            kept = nulls[mask[nulls]]
            nulls = mask.cumsum()[kept] - 1 if len(kept) else None
        return Column(self.values.filter(pa.array(mask)), self.json, nulls)

    def present(self) -> Mask:
        """For each row, whether it logged the key, with a value or with null."""
        mask: Mask = self.values.is_valid().to_numpy(zero_copy_only=False)
        if self.nulls is not None:
            mask = mask.copy()
            mask[self.nulls] = True
        return mask

    @property
    def empty(self) -> bool:
        """Whether no row logged the key."""
        return self.nulls is None and self.values.null_count == len(self.values)

    def texts(self) -> Column:
        """The same cells as JSON texts."""
        import pyarrow as pa

        if self.json:
            return self
        return Column(pa.array(_json_cells(self.values.to_pylist()), pa.string()), True, self.nulls)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Consecutive rows. Columns in the order of the contract; system metrics have no `_step`."""

    length: int
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return self.length

    @property
    def steps(self) -> Numbers:
        """The step of each row; 0 for rows without one, which come first. Not for system metrics."""
        import numpy as np

        column = self.columns.get(STEP)
        return np.zeros(self.length, np.int64) if column is None else column.values.fill_null(0).to_numpy()

    def slice(self, begin: int, end: int) -> Rows:
        """Rows `begin` to before `end`; the same object for all of them."""
        begin, end = max(0, begin), min(end, self.length)
        if begin == 0 and end == self.length:
            return self
        end = max(begin, end)
        return Rows(end - begin, {key: column.slice(begin, end) for key, column in self.columns.items()})

    def filter(self, mask: Mask) -> Rows:
        """The rows whose mask is set; the same object for all of them."""
        if mask.all():
            return self
        columns = {key: column.filter(mask) for key, column in self.columns.items()}
        return Rows(int(mask.sum()), columns)

    def between(self, begin: int | None, end: int | None) -> Rows:
        """The rows with begin <= _step < end."""
        if begin is None and end is None:
            return self
        steps = self.steps
        first = 0 if begin is None else int(steps.searchsorted(begin))
        return self.slice(first, self.length if end is None else int(steps.searchsorted(end)))

    def only(self, keys: Iterable[str]) -> Rows:
        """The same rows with only these columns, as far as there are any, in this order."""
        return Rows(self.length, {key: self.columns[key] for key in keys if key in self.columns})

    def without_empty(self) -> Rows:
        """The same rows without columns in which nothing was logged."""
        if not any(column.empty for column in self.columns.values()):
            return self
        kept = {key: column for key, column in self.columns.items() if not column.empty}
        return Rows(self.length, kept)


NONE = Rows(0, {})


def together(masks: Sequence[Mask], *, every: bool) -> Mask | None:
    """For each row, whether every one of the masks is set, or any; None when there are no masks."""
    if not masks:
        return None
    found = masks[0]
    for mask in masks[1:]:
        found = found & mask if every else found | mask
    return found


def ordered(keys: Iterable[str]) -> list[str]:
    """The order of columns: `_step`, then as they come, at last `_runtime` and `_timestamp`."""
    listed = dict.fromkeys(keys)
    head = [STEP] if STEP in listed else []
    return [
        *head,
        *(key for key in listed if key != STEP and key not in CLOCK),
        *(key for key in CLOCK if key in listed),
    ]


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, one after the other. Where kinds differ, integers and numbers become numbers if that loses
    nothing; all else becomes JSON texts."""
    parts = [part for part in parts if part.length]
    if len(parts) < 2:
        return parts[0] if parts else NONE
    keys = ordered(key for part in parts for key in part.columns)
    lengths = [part.length for part in parts]
    columns = {key: _joined([part.columns.get(key) for part in parts], lengths) for key in keys}
    return Rows(sum(lengths), columns)


def _joined(cells: Sequence[Column | None], lengths: Sequence[int]) -> Column:
    import numpy as np
    import pyarrow as pa

    made_one = _of_one_kind(cells)
    kind = next((column.values.type for column in made_one if column is not None), pa.float64())
    arrays, nulls, begin = [], [], 0
    for column, length in zip(made_one, lengths, strict=True):
        arrays.append(column.values if column is not None else pa.nulls(length, kind))
        if column is not None and column.nulls is not None:
            nulls.append(column.nulls + begin)
        begin += length
    is_json = any(column is not None and column.json for column in made_one)
    return Column(pa.concat_arrays(arrays), is_json, np.concatenate(nulls) if nulls else None)


def _of_one_kind(cells: Sequence[Column | None]) -> Sequence[Column | None]:
    """The columns as columns of one kind. Those without a single value take the kind of the others."""
    import pyarrow as pa

    kinds = {(c.values.type, c.json) for c in cells if c is not None and c.values.null_count < len(c.values)}
    if not kinds:
        kinds = {(pa.float64(), False)}
    if len(kinds) == 1:
        ((kind, is_json),) = kinds
        same = [c is None or (c.values.type, c.json) == (kind, is_json) for c in cells]
        return [
            c if c is None or fits else _without_values(c, kind, is_json)
            for c, fits in zip(cells, same, strict=True)
        ]
    if kinds == {(pa.int64(), False), (pa.float64(), False)} and all(_exact_in_double(c) for c in cells):
        return [_as_double(c) for c in cells]
    return [None if c is None else c.texts() for c in cells]


def _without_values(column: Column, kind: pa.DataType, is_json: bool) -> Column:
    import pyarrow as pa

    return Column(pa.nulls(len(column.values), kind), is_json, column.nulls)


def _exact_in_double(column: Column | None) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column is None or column.values.type != pa.int64() or column.values.null_count == len(column.values):
        return True
    ends = pc.min_max(column.values)
    return bool(ends["min"].as_py() >= -_EXACT_IN_DOUBLE and ends["max"].as_py() <= _EXACT_IN_DOUBLE)


def _as_double(column: Column | None) -> Column | None:
    import pyarrow as pa

    if column is None or column.values.type == pa.float64():
        return column
    if column.values.null_count == len(column.values):
        return _without_values(column, pa.float64(), False)
    return Column(column.values.cast(pa.float64()), False, column.nulls)


def _json_cells(values: Iterable[Any]) -> list[str | None]:
    return [None if value is None else json_cell(value) for value in values]


def json_cell(value: Any) -> str:
    """A value as the JSON text of a cell, in the contract's spelling."""
    return jsontext.encodable(jsontext.dumps(jsontext.spelled_out(value)))


def parsed_cells(column: Column) -> list[Any]:
    """The values of a column of JSON texts; None where there is none."""
    texts = column.values.to_pylist()
    if not any(text is None for text in texts):
        return list(jsontext.loads("[" + ",".join(texts) + "]"))
    return [None if text is None else jsontext.loads(text) for text in texts]
