"""Columns become the rows that were logged, whatever was logged in them."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runtap.history_columns import arrow_table, missing_rows, null_rows, ordered
from runtap.row_groups import BLOCK_ROWS, HistoryRow, RowGroup
from tests.support.scripted_rows import ipc

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=5).filter(lambda text: text not in ("NaN", "Infinity", "-Infinity")),
    st.lists(st.integers(-5, 5), max_size=2),
    st.fixed_dictionaries({"a": st.integers(-(2**70), 2**70)}),
)
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "b/ü", "c.d", "e\nf"]), CELLS), max_size=12)


def group_of(rows: list[dict[str, Any]]) -> RowGroup:
    group = RowGroup(len(rows))
    group.add(ipc(rows, list(dict.fromkeys(name for row in rows for name in row))))
    return group


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Equal, and of the same kinds: 1, 1.0 and True are three values. Integers among doubles are doubles."""
    return one == other and [
        [(name, isinstance(cell, bool), isinstance(cell, str)) for name, cell in sorted(row.items())]
        for row in one
    ] == [
        [(name, isinstance(cell, bool), isinstance(cell, str)) for name, cell in sorted(row.items())]
        for row in other
    ]


def exact(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without what the test's own encoder would round: integers among doubles."""
    names = {
        name for row in rows for name in row if {type(other.get(name)) for other in rows} >= {int, float}
    }
    return [{name: cell for name, cell in row.items() if name not in names} for row in rows]


@settings(deadline=None)
@given(ROWS)
def test_rows_come_back_as_they_were(logged: list[dict[str, Any]]) -> None:
    rows = exact(logged)
    assert same(list(group_of(rows).rows()), rows)


@settings(deadline=None)
@given(ROWS, st.integers(1, 5))
def test_columns_of_many_groups_tell_what_is_missing_and_what_is_null(
    logged: list[dict[str, Any]], size: int
) -> None:
    rows = exact(logged)
    groups = [group_of(rows[begin : begin + size]) for begin in range(0, len(rows), size)]
    names = ordered(groups)
    table = arrow_table(groups, names)
    table.validate(full=True)
    assert set(names) == {name for row in rows for name in row}
    assert [row for group in groups for row in group.rows()] == rows
    for name in names:
        missing = [index for index, row in enumerate(rows) if name not in row]
        nulls = [index for index, row in enumerate(rows) if name in row and row[name] is None]
        assert (missing_rows(groups, name), null_rows(groups, name)) == (missing, nulls)
        valid = table[name].is_valid().to_pylist()
        assert [index for index, is_valid in enumerate(valid) if not is_valid] == sorted(missing + nulls)


def test_many_rows_with_gaps_in_the_order_of_their_columns() -> None:
    rows: list[dict[str, Any]] = []
    for step in range(2 * BLOCK_ROWS + 7):
        row: dict[str, Any] = {"_step": step}
        if step % 3 == 0:
            row["a"] = None if step % 2 else step / 2
        if step % 5:
            row["b"] = {"deep": step}
        rows.append({**row, "_timestamp": float(step)})
    group = RowGroup(len(rows))
    group.add(ipc(rows, ["_step", "a", "b", "_timestamp"]))
    read = list(group.rows())
    assert read == rows
    assert [list(row) for row in read] == [list(row) for row in rows]
    assert type(read[0]) is HistoryRow


def test_a_group_without_columns_has_rows_without_keys() -> None:
    assert list(RowGroup(2).rows()) == [{}, {}]


def test_numbers_that_json_lacks_are_numbers_inside_of_columns_of_several_kinds() -> None:
    rows: list[dict[str, Any]] = [{"x": "NaN"}, {"x": 2}, {"x": ["-Infinity"]}, {"x": 2**70}, {}]
    read = list(group_of(rows).rows())
    assert math.isnan(read[0]["x"])
    assert read[1:] == [{"x": 2}, {"x": [-math.inf]}, {"x": 2**70}, {}]
