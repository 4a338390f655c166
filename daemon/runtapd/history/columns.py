"""From rows to typed columns. Pure. Missing, null and NaN stay three different things.

A column is integers, numbers, truth values or texts when all its values are; anything else (nested values, mixtures)
becomes JSON texts, so that every value is kept exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from runtapd.history.rows import Row
from runtapd.model import jsontext

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_INT64 = range(-(2**63), 2**63)
_EXACT_IN_DOUBLE = 2**53
_LAST = ("_runtime", "_timestamp")


class Kind(Enum):
    """What the values of a column are."""

    INT64 = "int64"
    DOUBLE = "double"
    BOOL = "bool"
    STRING = "string"
    JSON = "json"


@dataclass(slots=True)
class ColumnData:
    """The cells of one key: one entry per row, None where there is no value."""

    key: str
    kind: Kind
    values: list[Any]
    nulls: list[int] = field(default_factory=list)
    """Rows where null was logged; the other rows without a value lack the key."""

    def missing(self) -> list[int]:
        """Rows that lack the key."""
        nulls = set(self.nulls)
        return [i for i, value in enumerate(self.values) if value is None and i not in nulls]


def columns_of(rows: Sequence[Row], order: Iterable[str] = ()) -> list[ColumnData]:
    """Returns the columns: `_step`, then `order`, then keys as first seen, at last `_runtime` and `_timestamp`."""
    keys = dict.fromkeys(("_step", *order))
    for row in rows:
        keys.update(dict.fromkeys(row))
    for key in _LAST:
        if key in keys:
            del keys[key]
            keys[key] = None
    return [column for key in keys if (column := _column(key, rows)) is not None]


def _column(key: str, rows: Sequence[Row]) -> ColumnData | None:
    values: list[Any] = []
    nulls: list[int] = []
    seen: set[type] = set()
    for i, row in enumerate(rows):
        value = row.get(key)
        if value is None and key in row:
            nulls.append(i)
        elif value is not None:
            seen.add(type(value))
        values.append(value)
    if not seen and not nulls:
        return None
    kind, values = _typed(seen, values)
    return ColumnData(jsontext.encodable(key), kind, values, nulls)


def _typed(seen: set[type], values: list[Any]) -> tuple[Kind, list[Any]]:
    if str in seen and seen <= {str, float, int} and _only_non_finite(values):
        values = [_NON_FINITE[v] if isinstance(v, str) else v for v in values]
        seen = (seen - {str}) | {float}
    if seen == {bool}:
        return Kind.BOOL, values
    if seen == {int} and all(v is None or v in _INT64 for v in values):
        return Kind.INT64, values
    if seen <= {int, float} and all(not isinstance(v, int) or abs(v) <= _EXACT_IN_DOUBLE for v in values):
        return Kind.DOUBLE, [None if v is None else float(v) for v in values]
    if seen == {str}:
        return Kind.STRING, [None if v is None else jsontext.encodable(v) for v in values]
    return Kind.JSON, [None if v is None else _json(v) for v in values]


def _json(value: Any) -> str:
    return jsontext.encodable(jsontext.dumps(jsontext.spelled_out(value)))


def _only_non_finite(values: list[Any]) -> bool:
    """Servers write NaN and infinities as texts; a column with any other text is a column of texts."""
    return all(v in _NON_FINITE for v in values if isinstance(v, str))
