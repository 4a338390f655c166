"""Orders: signs, columns, ties by id, and the missing last whichever way one sorts."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtap_query import QueryError, parse_order, sort_documents


def names(documents: list[dict[str, Any]], order: str | None) -> str:
    """The names in order, joined."""
    return "".join(document["name"] for document in sort_documents(documents, order))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, "-created_at"),
        ("", "-created_at"),
        ("created_at", "-created_at"),  # without a sign downwards, as the docs say
        ("+createdAt", "+created_at"),
        ("-summary.val/loss.min", "-summary_metrics.val/loss.min"),
        ("+config.lr.value", "+config.lr.value"),
        (" -heartbeatAt ", "-heartbeat_at"),
    ],
)
def test_orders_are_read(text: str | None, shown: str) -> None:
    assert str(parse_order(text)) == shown


@pytest.mark.parametrize("text", ["+", "-", "+nothing", "config", "++name"])
def test_orders_that_name_no_column_are_refused(text: str) -> None:
    with pytest.raises(QueryError):
        parse_order(text)


def test_values_then_missing_then_ties_by_name() -> None:
    values = {"a": 2, "b": None, "c": 1, "d": math.nan, "e": 2, "f": "text", "g": True, "h": [1], "i": 1.5}
    documents = [{"name": name, "summary_metrics": {"x": value}} for name, value in reversed(values.items())]
    documents.append({"name": "j", "summary_metrics": {}})
    assert names(documents, "+summary_metrics.x") == "ciaefg" + "bdhj"
    assert names(documents, "-summary_metrics.x") == "gfaeic" + "bdhj"


def test_moments_compare_as_moments() -> None:
    documents: list[dict[str, Any]] = [
        {"name": "a", "created_at": "2022-01-01T00:00:00Z"},
        {"name": "b", "created_at": "2022-01-01T00:00:00.5"},
        {"name": "c", "created_at": 1640995200.25},
        {"name": "d", "created_at": None},
    ]
    assert names(documents, "+created_at") == "acbd"
    assert names(documents, None) == "bcad"


def test_config_values_by_either_spelling() -> None:
    documents: list[dict[str, Any]] = [{"name": "a", "config": {"lr": 2}}, {"name": "b", "config": {"lr": 1}}]
    assert names(documents, "+config.lr.value") == names(documents, "+config.lr") == "ba"


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers())
)
documents = st.dictionaries(st.text("abc", min_size=1, max_size=3), values, max_size=12).map(
    lambda found: [{"name": name, "group": value} for name, value in found.items()]
)


@given(documents, st.sampled_from(["+group", "-group"]))
def test_sorting_keeps_everything_and_is_stable_under_shuffling(
    found: list[dict[str, Any]], order: str
) -> None:
    one = sort_documents(found, order)
    assert sorted(map(id, one)) == sorted(map(id, found))
    other = sort_documents(found[::-1], order)
    assert [document["name"] for document in one] == [document["name"] for document in other]


@given(st.lists(st.integers(-3, 3) | st.none(), max_size=12))
def test_the_missing_are_last_both_ways(found: list[int | None]) -> None:
    made: list[dict[str, Any]] = [
        {"name": str(index), "summary_metrics": {"x": value}} for index, value in enumerate(found)
    ]
    for sign, reverse in (("+", False), ("-", True)):
        got = [document["summary_metrics"]["x"] for document in sort_documents(made, sign + "summary.x")]
        present = sorted((value for value in found if value is not None), reverse=reverse)
        assert got == [*present, *[None] * (len(found) - len(present))]
