"""One key over all rows of a history: groups of rows put together as an Arrow column or a pandas one. No I/O.

A key may have had values of several kinds while it was logged, and each group of rows has the kind that fits it. Here
they become one: integers and doubles are doubles where that loses nothing, anything else is JSON texts (Arrow) or
Python values (pandas).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from runtap.row_groups import RowGroup
from runtap.values import json_text

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

EVERYWHERE = ("_step", "_runtime", "_timestamp")
"""The keys that the SDK adds to every row."""
JSON = "json"
EXACT_IN_DOUBLE = 2**53
"""Up to here every integer is a double, too."""


def ordered(groups: Sequence[RowGroup]) -> list[str]:
    """All columns: `_step`, metrics as first seen, `_runtime`, `_timestamp`."""
    seen = dict.fromkeys(name for group in groups for name in group.columns)
    first, *last = EVERYWHERE
    metrics = [name for name in seen if name not in EVERYWHERE]
    return [*(name for name in [first] if name in seen), *metrics, *(name for name in last if name in seen)]


def asked_for(keys: Sequence[str], x_axis: str, beside: Sequence[str], *, stepped: bool) -> list[str]:
    """The columns where keys were asked for: the x axis, the keys, and what comes beside them at the end.

    `stepped` says whether rows have a `_step`; system metrics have none.
    """
    listed = dict.fromkeys([x_axis, *(key for key in keys if key not in beside), *beside])
    return [key for key in listed if key != "_step" or stepped]


def arrow_table(groups: Sequence[RowGroup], names: Sequence[str]) -> pa.Table:
    """These columns, a chunk for each group; with the field metadata of `HISTORY_FORMAT_ARROW`."""
    import pyarrow as pa

    fields, columns = [], []
    for name in names:
        column, is_json = _arrow_column(groups, name)
        metadata = {"runtap.json": "1"} if is_json else {}
        nulls = null_rows(groups, name)
        if nulls:
            metadata["runtap.nulls"] = ",".join(map(str, nulls))
        fields.append(pa.field(name, column.type, metadata=metadata or None))
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def pandas_frame(pandas: ModuleType, groups: Sequence[RowGroup], names: Sequence[str]) -> pd.DataFrame:
    """These columns, with NaN for what is missing or null."""
    length = sum(group.length for group in groups)
    cells = {name: _pandas_column(pandas, groups, name) for name in names}
    # Not copied: each column is this frame's own.
    frame: pd.DataFrame = pandas.DataFrame(
        cells, columns=list(names), index=pandas.RangeIndex(length), copy=False
    )
    return frame


def null_rows(groups: Sequence[RowGroup], name: str) -> list[int]:
    """The numbers of the rows in which null was logged."""
    rows, begin = [], 0
    for group in groups:
        rows += [begin + row for row in sorted(group.nulls.get(name, ()))]
        begin += group.length
    return rows


def missing_rows(groups: Sequence[RowGroup], name: str) -> list[int]:
    """The numbers of the rows that did not log the key."""
    rows, begin = [], 0
    for group in groups:
        rows += [begin + row for row, logged in enumerate(group.logged(name)) if not logged]
        begin += group.length
    return rows


def _kind(groups: Sequence[RowGroup], name: str) -> str:
    """`int64`, `double`, `bool`, `string` or `json`."""
    filled = [group for group in groups if _is_filled(group, name)]
    kinds = {JSON if name in group.json_columns else str(group.columns[name].type) for group in filled}
    if len(kinds) < 2:
        return kinds.pop() if kinds else "double"
    if kinds == {"int64", "double"} and all(_is_exact_in_double(group.columns[name]) for group in filled):
        return "double"
    return JSON


def _is_filled(group: RowGroup, name: str) -> bool:
    column = group.columns.get(name)
    return column is not None and column.null_count < len(column)


def _is_exact_in_double(numbers: pa.Array | pa.ChunkedArray) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if numbers.type != pa.int64():
        return True
    ends = pc.min_max(numbers).as_py()
    least, most = ends["min"], ends["max"]
    return least is None or (least >= -EXACT_IN_DOUBLE and most <= EXACT_IN_DOUBLE)


def _arrow_column(groups: Sequence[RowGroup], name: str) -> tuple[pa.ChunkedArray, bool]:
    """The column, and whether it is JSON texts."""
    import pyarrow as pa

    kind = _kind(groups, name)
    wanted = {"int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}.get(kind, pa.string())
    parts = []
    for group in groups:
        if not _is_filled(group, name):
            part = pa.nulls(group.length, wanted)
        elif kind == JSON and name not in group.json_columns:
            cells = group.columns[name].to_pylist()
            part = pa.array([None if cell is None else json_text(cell) for cell in cells], wanted)
        else:
            part = group.columns[name]
        parts.append(part if part.type == wanted else part.cast(wanted))
    return pa.chunked_array(parts, wanted), kind == JSON


def _pandas_column(pandas: ModuleType, groups: Sequence[RowGroup], name: str) -> Any:
    kind = _kind(groups, name)
    if kind == JSON:
        return _objects(pandas, (value for group in groups for value in group.values(name, math.nan)))
    column, _ = _arrow_column(groups, name)
    if kind == "bool" and column.null_count:
        return _objects(pandas, column.to_pylist())
    if kind == "int64" and column.null_count and not _is_exact_in_double(column):
        # As doubles they would be other numbers.
        return pandas.arrays.IntegerArray(column.fill_null(0).to_numpy(), column.is_null().to_numpy())
    series = column.to_pandas()
    if kind == "string" and series.dtype == object:  # before pandas 3
        return _objects(pandas, series)
    # A single chunk may have come without being copied, and then nobody could write into the frame.
    return series.copy() if column.num_chunks == 1 else series


def _objects(pandas: ModuleType, values: Any) -> Any:
    """Python values as they are: pandas would make floats of integers and NaN."""
    return pandas.Series([math.nan if value is None else value for value in values], dtype=object)
