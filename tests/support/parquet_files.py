"""Rows of a history as the bytes of a Parquet file, typed as servers type their exports."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SPELLED = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def parquet(texts: Sequence[str]) -> bytes:
    """Rows as one Parquet file. What a row lacks is null there; keys whose values have no common type are JSON texts,
    and their columns say so."""
    rows = [exported(text) for text in texts]
    columns = {key: _array([row.get(key) for row in rows]) for key in dict.fromkeys(itertools.chain(*rows))}
    fields = [pa.field(key, array.type, metadata=more) for key, (array, more) in columns.items()]
    table = pa.Table.from_arrays([array for array, _ in columns.values()], schema=pa.schema(fields))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def exported(text: str) -> dict[str, Any]:
    """A row as it can be in a file, which has no nulls besides what is missing, and no text that is none."""
    row = json.loads(text)
    if "\\ud" in text:
        row = json.loads(_LONE_SURROGATE.sub("\ufffd", json.dumps(row, ensure_ascii=False)))
    row["_step"] = int(row["_step"])
    return {key: value for key, value in row.items() if value is not None}


def _array(values: list[Any]) -> tuple[Any, dict[str, str] | None]:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float, str} and kinds & {int, float}:
        numbers = [_SPELLED.get(value, value) if isinstance(value, str) else value for value in values]
        if not any(isinstance(value, str) for value in numbers):
            kinds, values = {type(value) for value in numbers if value is not None}, numbers
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pa.array(values, pa.int64()), None
    if kinds <= {int, float} and all(not isinstance(value, int) or abs(value) <= 2**53 for value in values):
        return pa.array(values, pa.float64(), from_pandas=False), None
    if kinds in ({bool}, {str}):
        return pa.array(values), None
    texts = [None if value is None else json.dumps(value) for value in values]
    return pa.array(texts, pa.string()), {"encoding": "json"}
