"""Rows of a history as a Parquet file: what type each key's column has. Pure; when files are made, exports.py decides.

A key that a row lacks is null in its column. Every value keeps its type where all values of a key have one; the values
of other keys are written as JSON texts, and the column says so: its metadata has encoding=json.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from .. import jsontext

_STEP: Final = "_step"
_MAX_COLUMNS: Final = 10_000
_MAX_CELLS: Final = 20_000_000
_DEEPEST: Final = 16
_EXACT: Final = 2**53
_LONE: Final = "\\ud"  # how texts begin to be spelled that are no texts
_SPELLED: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class TooWide(ValueError):
    """Rows of more keys than files have any use for: each column of a file costs several kilobytes of memory."""


class TooSparse(ValueError):
    """Rows that must be divided among several files: most of what columns they have would be empty."""


def write(made: Any, target: BinaryIO) -> None:
    """Write a table."""
    pq.write_table(made, target)


def table(steps: Sequence[int], texts: Sequence[str]) -> Any:
    """Rows in the order of their steps as columns; ``_step`` is a whole number in each, written or not."""
    columns: dict[str, list[Any]] = {_STEP: list(steps)}
    for place, text in enumerate(texts):
        row = jsontext.loads(text)
        if _LONE in text:
            row = jsontext.storable(row)
        for key, value in row.items():
            if key == _STEP:
                continue
            column = columns.get(key)
            if column is None:
                _check_width(len(columns) + 1, len(steps))
                column = columns[key] = [None] * len(steps)
            column[place] = value
    arrays = {key: _array(values) for key, values in columns.items()}
    fields = [pa.field(key, array.type, metadata=meta) for key, (array, meta) in arrays.items()]
    return pa.Table.from_arrays([array for array, _ in arrays.values()], schema=pa.schema(fields))


def _check_width(columns: int, rows: int) -> None:
    if columns > _MAX_COLUMNS:
        raise TooWide(f"it has more than {_MAX_COLUMNS} keys")
    if columns * rows > _MAX_CELLS:
        raise TooSparse(f"{columns} columns of {rows} rows")


def _array(values: list[Any]) -> tuple[Any, dict[str, str] | None]:
    kind = type_of(values)
    if kind is None:
        numbers = [_SPELLED.get(value, value) if isinstance(value, str) else value for value in values]
        kind = type_of(numbers)
        if kind is None or not pa.types.is_floating(kind):
            texts = [None if value is None else jsontext.dumps(value) for value in values]
            return pa.array(texts, pa.string()), {"encoding": "json"}
        values = numbers  # some writers spell what JSON does not have
    return pa.array(values, kind), None


def type_of(values: Iterable[Any], depth: int = 0) -> Any:
    """The type that holds all the values as they are; None where none does."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if not kinds:
        return pa.null()
    if kinds <= {int, float}:
        return _number_type(present, kinds)
    if len(kinds) > 1 or depth == _DEEPEST:
        return None
    if kinds == {list}:
        inner = type_of(chain.from_iterable(present), depth + 1)
        return None if inner is None else pa.list_(inner)
    if kinds == {dict}:
        return _object_type(present, depth + 1)
    return pa.bool_() if kinds == {bool} else pa.string()


def _number_type(present: list[Any], kinds: set[type]) -> Any:
    if float in kinds:
        exact = all(isinstance(value, float) or abs(value) <= _EXACT for value in present)
        return pa.float64() if exact else None
    return pa.int64() if all(-(2**63) <= value < 2**63 for value in present) else None


def _object_type(present: list[dict[str, Any]], depth: int) -> Any:
    """A struct for objects that are all alike, a map for others with values of one type, else a struct with nulls."""
    keys = dict.fromkeys(chain.from_iterable(present))
    if not all(len(value) == len(keys) for value in present) or not keys:
        inner = type_of(chain.from_iterable(value.values() for value in present), depth)
        if inner is not None:
            return pa.map_(pa.string(), inner)
    fields = [(key, type_of((value.get(key) for value in present), depth)) for key in keys]
    return None if any(kind is None for _, kind in fields) else pa.struct(fields)
