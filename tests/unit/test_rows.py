"""Choosing rows by keys."""

from __future__ import annotations

from typing import Any

from runtapd.history.choose import Choice
from runtapd.history.columns import rows_of
from tests.support.history_rows import plain_rows

ROWS: list[dict[str, Any]] = [
    {"_step": 0, "_timestamp": 10.0, "loss": 1},
    {"_step": 1, "_timestamp": 11.0, "acc": None},
    {"_step": 2, "_timestamp": 12.0, "deep": {"x": {"y": 3}}},
]
MIXED: list[dict[str, Any]] = [
    {"_step": 0, "a": 1, "b": None},
    {"_step": 1, "a": {"x": 1}, "a.x": 2},
    {"_step": 2, "a": {"x": "three"}},
    {"_step": 3, "c": 1},
]


def chosen(*keys: str, inner: bool = False, rows: list[dict[str, Any]] = ROWS) -> list[dict[str, Any]]:
    return plain_rows(Choice(keys, inner).of(rows_of(rows)).rows)


def test_outer_takes_rows_with_any_key_and_null_counts() -> None:
    assert chosen("loss", "acc") == [{"_step": 0, "loss": 1}, {"_step": 1, "acc": None}]
    assert chosen("b", "c", rows=MIXED) == [{"_step": 0, "b": None}, {"_step": 3, "c": 1}]


def test_inner_takes_rows_with_all_keys() -> None:
    assert chosen("loss", "acc", inner=True) == []
    assert chosen("loss", "_timestamp", inner=True) == [{"_step": 0, "loss": 1, "_timestamp": 10.0}]
    assert chosen("a", "b", inner=True, rows=MIXED) == [{"_step": 0, "a": 1, "b": None}]


def test_the_clock_comes_along_and_decides_nothing() -> None:
    assert chosen("loss", "_timestamp") == [{"_step": 0, "loss": 1, "_timestamp": 10.0}]
    assert [row["_timestamp"] for row in chosen("_timestamp")] == [10.0, 11.0, 12.0]


def test_a_dotted_key_reaches_into_nested_values() -> None:
    assert chosen("deep.x.y") == [{"_step": 2, "deep.x.y": 3}]
    assert chosen("deep.nothing") == []
    assert chosen("a.x", rows=MIXED) == [{"_step": 1, "a.x": 2}, {"_step": 2, "a.x": "three"}]


def test_what_the_rows_had_is_told_whatever_was_chosen() -> None:
    for inner in (False, True):
        picked = Choice(("loss", "acc", "never"), inner).of(rows_of(ROWS))
        assert picked.had == {"loss", "acc"}
    assert Choice(("a.x", "c.x"), inner=True).of(rows_of(MIXED)).had == {"a.x"}


def test_columns_come_in_the_order_they_were_asked_for() -> None:
    rows = rows_of([{"_timestamp": 1.0, "b": 1, "a": 2, "_step": 0}])
    assert list(Choice(("a", "_timestamp", "b")).of(rows).rows.columns) == ["_step", "a", "b", "_timestamp"]
