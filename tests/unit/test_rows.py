"""Choosing rows by keys."""

from __future__ import annotations

from runtapd.history.rows import choose

ROWS: list[dict[str, object]] = [
    {"_step": 0, "_timestamp": 10.0, "loss": 1},
    {"_step": 1, "_timestamp": 11.0, "acc": None},
    {"_step": 2, "_timestamp": 12.0, "deep": {"x": {"y": 3}}},
]


def chosen(*keys: str, inner: bool = False) -> list[dict[str, object]]:
    return choose(ROWS, keys, inner=inner, always=("_step",))


def test_outer_takes_rows_with_any_key_and_null_counts() -> None:
    assert chosen("loss", "acc") == [{"_step": 0, "loss": 1}, {"_step": 1, "acc": None}]


def test_inner_takes_rows_with_all_keys() -> None:
    assert chosen("loss", "acc", inner=True) == []
    assert chosen("loss", "_timestamp", inner=True) == [{"_step": 0, "loss": 1, "_timestamp": 10.0}]


def test_the_clock_comes_along_and_decides_nothing() -> None:
    assert chosen("loss", "_timestamp") == [{"_step": 0, "loss": 1, "_timestamp": 10.0}]
    assert [row["_timestamp"] for row in chosen("_timestamp")] == [10.0, 11.0, 12.0]


def test_a_dotted_key_reaches_into_nested_values() -> None:
    assert chosen("deep.x.y") == [{"_step": 2, "deep.x.y": 3}]
    assert chosen("deep.nothing") == []
