"""Rows as typed columns, and columns as messages: nothing lost, nothing mixed up, nothing too large."""

from __future__ import annotations

import json
import math
from enum import Enum
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtap.v1 import history_pb2 as pb
from runtapd.history.choose import portions
from runtapd.history.columns import rows_of
from runtapd.history.encode import from_ipc, to_ipc
from runtapd.history.rows import Row
from runtapd.history.table import Column, joined
from runtapd.model import jsontext
from runtapd.services.typed_columns import column_batch
from tests.support.history_rows import plain_rows

MISSING = "missing"  # as a cell of the tests below; no value of theirs


class Kind(Enum):
    INT64 = "int64"
    DOUBLE = "double"
    BOOL = "bool"
    STRING = "string"
    JSON = "json"


def column(*values: Any) -> Column:
    rows = [{"_step": i} | ({} if value is MISSING else {"k": value}) for i, value in enumerate(values)]
    return rows_of(rows).columns["k"]


def kind_of(column: Column) -> Kind:
    return Kind.JSON if column.json else Kind(str(column.values.type))


@pytest.mark.parametrize(
    ("values", "kind", "cells"),
    [
        ([1, 2], Kind.INT64, [1, 2]),
        ([1, 2.5], Kind.DOUBLE, [1.0, 2.5]),
        ([1.0, None, MISSING], Kind.DOUBLE, [1.0, None, None]),
        ([True, False], Kind.BOOL, [True, False]),
        (["a", ""], Kind.STRING, ["a", ""]),
        ([None, None], Kind.DOUBLE, [None, None]),
        ([1, "NaN"], Kind.DOUBLE, [1.0, math.nan]),
        (["Infinity", "-Infinity", 2], Kind.DOUBLE, [math.inf, -math.inf, 2.0]),
        (["NaN", "text"], Kind.STRING, ["NaN", "text"]),
        ([1, "text"], Kind.JSON, ["1", '"text"']),
        ([1, True], Kind.JSON, ["1", "true"]),
        ([{"a": 1}, [1]], Kind.JSON, ['{"a":1}', "[1]"]),
        ([{"a": math.nan}], Kind.JSON, ['{"a":"NaN"}']),
        ([2**63], Kind.JSON, [str(2**63)]),
        ([2**63 - 1, -(2**63)], Kind.INT64, [2**63 - 1, -(2**63)]),
        ([2**53 + 1, 0.5], Kind.JSON, [str(2**53 + 1), "0.5"]),
        ([2**53, 0.5], Kind.DOUBLE, [2.0**53, 0.5]),
        (["a\ud800"], Kind.STRING, ["a\ufffd"]),
        ([["\ud800"]], Kind.JSON, ['["\ufffd"]']),
    ],
)
def test_types(values: list[Any], kind: Kind, cells: list[Any]) -> None:
    found = column(*values)
    assert (kind_of(found), repr(found.values.to_pylist())) == (kind, repr(cells))


def test_missing_null_and_nan_are_three_things() -> None:
    found = column(1.5, None, MISSING, math.nan, "NaN")
    assert found.nulls is not None and found.nulls.tolist() == [1]
    assert found.present().tolist() == [True, True, False, True, True]
    assert [
        i for i, value in enumerate(found.values.to_pylist()) if value is not None and math.isnan(value)
    ] == [3, 4]


def test_the_order_of_columns() -> None:
    rows: list[Row] = [{"b": 1, "_timestamp": 1, "_step": 0}, {"_runtime": 2, "a": 1, "_step": 1}]
    assert list(rows_of(rows).columns) == ["_step", "b", "a", "_runtime", "_timestamp"]
    assert rows_of([{}, {}]).columns == {}


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["NaN", "Infinity"])
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=2), st.floats(), max_size=2)
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "_runtime", "x.y"]), VALUES), min_size=1, max_size=8
)


def plain(value: Any) -> Any:
    """A cell as anybody may compare it: NaN by name, whole numbers as such."""
    spelled = jsontext.spelled_out(value)
    return int(spelled) if isinstance(spelled, float) and spelled.is_integer() else spelled


def expected(rows: list[Row]) -> list[dict[str, Any]]:
    return [{key: _compared(value) for key, value in row.items()} for row in rows]


def _compared(value: Any) -> Any:
    return json.loads(jsontext.encodable(jsontext.dumps(plain(value))))


def from_arrow(data: bytes) -> list[dict[str, Any]]:
    table = pa.ipc.open_stream(data).read_all()
    rows: list[dict[str, Any]] = [{} for _ in range(table.num_rows)]
    for field, cells in zip(table.schema, table.columns, strict=True):
        metadata = field.metadata or {}
        nulls = {int(i) for i in metadata.get(b"runtap.nulls", b"").decode().split(",") if i}
        for i, cell in enumerate(cells.to_pylist()):
            if cell is not None:
                rows[i][field.name] = json.loads(cell) if metadata.get(b"runtap.json") == b"1" else cell
            elif i in nulls:
                rows[i][field.name] = None
    return rows


def from_messages(batch: pb.ColumnBatch) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{} for _ in range(batch.row_count)]
    for column in batch.columns:
        kind = column.WhichOneof("values")
        assert kind is not None
        values = getattr(column, kind).values
        assert len(values) == batch.row_count
        for i, value in enumerate(values):
            if _bit(column.null, i, empty=False):
                rows[i][column.key] = None
            elif _bit(column.present, i, empty=True):
                rows[i][column.key] = json.loads(value) if kind == "jsons" else value
    return rows


def _bit(bits: bytes, i: int, *, empty: bool) -> bool:
    return bool(bits[i // 8] >> (i % 8) & 1) if bits else empty


@given(ROWS)
@settings(max_examples=150, deadline=None)
def test_every_cell_survives_both_formats(rows: list[Row]) -> None:
    rows = [row | {"_step": i} for i, row in enumerate(rows)]
    table = rows_of(rows)
    for read in (from_arrow(to_ipc(table)), from_messages(column_batch(table)), plain_rows(table)):
        assert expected(read) == expected(rows)


@given(ROWS, st.data())
@settings(max_examples=300, deadline=None)
def test_every_cell_survives_the_disk_and_being_cut_and_put_together(
    rows: list[Row], data: st.DataObject
) -> None:
    rows = [row | {"_step": i} for i, row in enumerate(rows)]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)))) | {0, len(rows)})
    pieces = [rows_of(rows[begin:end]) for begin, end in pairwise(cuts)]
    whole = joined([from_ipc(to_ipc(piece, compressed=True)) for piece in pieces])
    sliced = [from_ipc(to_ipc(whole.slice(begin, end), compressed=True)) for begin, end in pairwise(cuts)]
    assert expected([row for part in sliced for row in plain_rows(part)]) == expected(rows)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    kept = [row for row, keep in zip(rows, mask, strict=True) if keep]
    assert expected(plain_rows(whole.filter(mask))) == expected(kept)


def sizes(rows: list[Row]) -> list[int]:
    found = []
    for group in portions(rows_of(rows)):
        for part in group:
            assert next(iter(part.columns)) == "_step"
            found.append(max(len(to_ipc(part)), column_batch(part).ByteSize()))
    return found


@pytest.mark.parametrize(
    "rows",
    [
        [{"_step": i, "text": "x" * 9000} for i in range(1000)],
        [{"_step": i, "text": "语" * 3000} for i in range(1000)],
        [{"_step": i, "h": {"bins": list(range(900))}} for i in range(1000)],
        [{"_step": 1} | {f"layers/{i:05}/weight": i * 0.5 for i in range(12_000)}],
        [{"_step": 1} | {f"layers/{i:05}/weight": None for i in range(12_000)}],
        [{"_step": s} | {f"k{i}": -s for i in range(300)} for s in range(1000)],
        [{"_step": s, "n": None} for s in range(100_000)],
        [{"_step": s} | {f"t{i}": "" for i in range(30)} for s in range(4000)],
    ],
    ids=["ascii", "wide characters", "nested", "many columns", "many nulls", "both", "null rows", "empty texts"],
)  # fmt: skip
def test_no_message_passes_two_mebibytes(rows: list[Row]) -> None:
    assert max(sizes(rows)) < 2 * 2**20
    total = sum(group[0].length for group in portions(rows_of(rows)))
    assert total == len(rows)


def test_a_single_huge_value_goes_alone_with_its_step() -> None:
    rows: list[Row] = [
        {"_step": 0, "small": 1, "huge": "x" * 5_000_000, "other": 2},
        {"_step": 1, "small": 3},
    ]
    groups = portions(rows_of(rows))
    assert [[list(part.columns) for part in group] for group in groups] == [
        [["_step", "small"], ["_step", "huge"], ["_step", "other"]],
        [["_step", "small"]],
    ]


def test_rows_without_any_key_are_no_portion() -> None:
    assert portions(rows_of([])) == [] == portions(rows_of([{}, {}]))
