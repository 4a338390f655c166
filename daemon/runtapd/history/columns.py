"""From rows to typed columns. Pure, but for the thread that does it. Missing, null and NaN stay three different things.

A column is integers, numbers, truth values or texts when all its values are; anything else (nested values, mixtures)
becomes JSON texts, so that every value is kept exactly.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from runtapd.history.rows import ABSENT, Row, parsed
from runtapd.history.table import NONE, Column, Rows, json_cell, ordered
from runtapd.model import jsontext

if TYPE_CHECKING:
    import pyarrow as pa

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_EXACT_IN_DOUBLE = 2**53
_NUMBERS = {int, float}
_NOTHING = {type(None), type(ABSENT)}


async def parse_rows(texts: Sequence[str]) -> Rows:
    """Returns rows from their JSON texts, in step order, made in a thread: a page of 1,000 is milliseconds."""
    return await asyncio.to_thread(lambda: rows_of(parsed(texts))) if texts else NONE


def rows_of(rows: Sequence[Row]) -> Rows:
    """Returns rows as columns: `_step`, then keys as first seen, at last `_runtime` and `_timestamp`."""
    if not rows:
        return NONE
    keys: dict[str, None] = {}
    for row in rows:
        if not keys.keys() >= row.keys():  # nearly all rows have keys that were seen before
            keys.update(dict.fromkeys(row))
    columns = {jsontext.encodable(key): column_of(_cells(rows, key)) for key in ordered(keys)}
    return Rows(len(rows), columns)


def _cells(rows: Sequence[Row], key: str) -> list[Any]:
    try:
        return list(map(itemgetter(key), rows))  # several times faster, where all rows have it
    except KeyError:
        return [row.get(key, ABSENT) for row in rows]


def column_of(cells: list[Any]) -> Column:
    """Returns values as a column; ABSENT stands for a cell that was not logged, None for a logged null."""
    import numpy as np

    seen = set(map(type, cells))
    kinds = seen - _NOTHING
    nulls = None
    if type(None) in seen:
        nulls = np.array([i for i, cell in enumerate(cells) if cell is None], np.int64)
    if type(ABSENT) in seen:
        cells = [None if cell is ABSENT else cell for cell in cells]
    if str in kinds and kinds <= {str, *_NUMBERS} and _only_non_finite(cells):
        # Servers write NaN and infinities as texts; a column with any other text is a column of texts.
        cells = [_NON_FINITE[cell] if isinstance(cell, str) else cell for cell in cells]
        kinds = (kinds - {str}) | {float}
    values = _typed(kinds, cells)
    if values is not None:
        return Column(values, False, nulls)
    return Column(_texts(None if cell is None else json_cell(cell) for cell in cells), True, nulls)


def _typed(kinds: set[type], cells: list[Any]) -> pa.Array | None:
    """The values as an Arrow array of one of the plain kinds; None when they are of no such kind."""
    import pyarrow as pa

    # from_pandas=False: NaN is a value here, only None is missing.
    if kinds <= {float}:
        return pa.array(cells, pa.float64(), from_pandas=False)
    if kinds == {int}:
        try:
            return pa.array(cells, pa.int64(), from_pandas=False)
        except OverflowError:
            return None
    if kinds == _NUMBERS:
        if any(type(cell) is int and abs(cell) > _EXACT_IN_DOUBLE for cell in cells):
            return None
        numbers = [None if cell is None else float(cell) for cell in cells]
        return pa.array(numbers, pa.float64(), from_pandas=False)
    if kinds == {bool}:
        return pa.array(cells, pa.bool_(), from_pandas=False)
    return _texts(cells) if kinds == {str} else None


def _texts(cells: Iterable[str | None]) -> pa.Array:
    import pyarrow as pa

    texts = list(cells)
    try:
        return pa.array(texts, pa.string(), from_pandas=False)
    except UnicodeEncodeError:
        encodable = [None if text is None else jsontext.encodable(text) for text in texts]
        return pa.array(encodable, pa.string(), from_pandas=False)


def _only_non_finite(cells: Iterable[Any]) -> bool:
    return all(cell in _NON_FINITE for cell in cells if isinstance(cell, str))
