"""Orders: signs, columns, ties by id, and the missing last whichever way one sorts."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtap_query import Order, QueryError, parse_order, resolve_column, sort_documents


def names(documents: list[dict[str, Any]], order: str | None) -> str:
    """The names in order, joined."""
    return "".join(document["name"] for document in sort_documents(documents, order))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, "-created_at"),
        ("", "-created_at"),
        ("  ", "-created_at"),
        ("created_at", "-created_at"),  # without a sign downwards, as the docs say
        ("+createdAt", "+created_at"),
        ("+created_at", "+created_at"),
        (" -heartbeatAt ", "-heartbeat_at"),
        ("- heartbeat_at", "-heartbeat_at"),
        ("updatedAt", "-updated_at"),
        ("+displayName", "+display_name"),
        ("+display_name", "+display_name"),
        ("-duration", "-duration"),
        ("-summary.loss", "-summary_metrics.loss"),
        ("-summary_metrics.loss", "-summary_metrics.loss"),
        ("summaryMetrics.loss", "-summary_metrics.loss"),
        ("-summary.val/loss.min", "-summary_metrics.val/loss.min"),
        ("+summary_metrics.gpu 0: temp (C)", "+summary_metrics.gpu 0: temp (C)"),
        ("+config.lr", "+config.lr"),
        ("+config.lr.value", "+config.lr.value"),
        ("-config.opt.value.name", "-config.opt.value.name"),
        ("+tags.base", "+tags.base"),
    ],
)
def test_orders_are_read(text: str | None, shown: str) -> None:
    assert str(parse_order(text)) == shown


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("+", "order '\\+' names no column; write it as '-created_at'"),
        ("-", "names no column"),
        ("+nothing", "order: unknown column 'nothing'; what a run logged is 'summary_metrics.nothing'"),
        ("-createAt", "order: unknown column 'createAt'; did you mean 'createdAt'?"),
        ("loss", "order: unknown column 'loss'"),
        ("-sumary.loss", "did you mean 'summary.<key>'?"),
        ("config", "order: column 'config' needs a key after it"),
        ("++name", "order '\\+\\+name' begins with .*; did you mean '\\+name'?"),
        ("created_at desc", "has its direction behind the column; .* did you mean '-created_at'?"),
        ("state,name", "names several columns; .* did you mean 'state'?"),
        ("~nothing", "order: unknown column '~nothing'"),
        (",", "order: unknown column ','"),
        ("nothing desc", "order: unknown column 'nothing desc'"),
        ("id", "did you mean 'name'?"),
        (["-created_at"], "an order must be a text such as '-created_at' .*, not a list of 1"),
        ({"created_at": -1}, "an order must be a text .*, not an object"),
        ("-" + "x" * 5000, "longer than 1000 characters"),
    ],
)
def test_orders_that_make_no_sense_are_refused(order: Any, expected: str) -> None:
    with pytest.raises(QueryError, match=expected):
        parse_order(order)


def test_an_order_says_which_fields_it_reads() -> None:
    assert parse_order("-summary.loss").roots == {"summary_metrics"}
    assert parse_order("duration").roots == {"duration", "created_at", "heartbeat_at"}
    assert Order(resolve_column("name"), descending=False).roots == {"name"}


def test_spelled_numbers_are_numbers_and_nan_is_last() -> None:
    """The run whose loss became NaN never is the best one, whichever way a server writes NaN."""
    values = {"a": 1.5, "b": "NaN", "c": "Infinity", "d": math.nan, "e": "-Infinity", "f": math.inf}
    documents = [{"name": name, "summary_metrics": {"x": value}} for name, value in values.items()]
    assert names(documents, "+summary.x") == "eacf" + "bd"
    assert names(documents, "-summary.x") == "cfae" + "bd"
    texts = [{"name": "a", "group": "NaN"}, {"name": "b", "group": "A"}]  # a name is a name
    assert names(texts, "-group") == "ab" and names(texts, "+group") == "ba"


def test_values_in_lists_and_nested() -> None:
    documents: list[dict[str, Any]] = [
        {"name": "a", "config": {"opt": {"lr": 2}, "layers": [3, 4]}},
        {"name": "b", "config": {"opt.lr": 1, "layers": [1]}},
        {"name": "c", "config": {"opt": [{"lr": 0}], "layers": 9}},
    ]
    assert names(documents, "+config.opt.lr") == "bac"  # several values at once are no value to order by
    assert names(documents, "-config.layers.0") == "abc"
    assert names(documents, "+config.layers") == "cab"


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


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**53 + 1, float(2**53), 10**400, -0.0]),
    st.floats(),
    st.sampled_from(["", "a", "B", "b", "é", "10", "9"]),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.just("a"), st.integers(), max_size=1),
)
missing = st.just("missing")
documents = st.dictionaries(st.text("abc", min_size=1, max_size=3), values | missing, max_size=12).map(
    lambda found: [
        {"name": name, "config": {} if value == "missing" else {"x": value}} for name, value in found.items()
    ]
)


def modelled(found: list[dict[str, Any]], descending: bool) -> list[str]:
    """The order by a slow and obvious way: all values of a kind one after the other, and who has each."""
    kinds: list[tuple[type, ...]] = [(int, float), (str,), (bool,)]
    holders: dict[str, Any] = {document["name"]: document["config"].get("x") for document in found}
    # How servers spell a number that JSON lacks; no longer text has room in the values above.
    holders = {name: math.nan if value == "NaN" else value for name, value in holders.items()}
    in_order: list[str] = []
    for kind in reversed(kinds) if descending else kinds:
        of_kind: dict[str, Any] = {
            name: value
            for name, value in holders.items()
            if isinstance(value, kind) and (bool in kind or not isinstance(value, bool)) and value == value
        }
        for wanted in sorted(set(of_kind.values()), reverse=descending):
            in_order += sorted(name for name, value in of_kind.items() if value == wanted)
    return in_order + sorted(set(holders) - set(in_order))


@settings(max_examples=400)
@given(documents, st.booleans(), st.randoms(use_true_random=False))
def test_sorting_agrees_with_the_model(found: list[dict[str, Any]], descending: bool, random: Random) -> None:
    random.shuffle(found)
    order = ("-" if descending else "+") + "config.x"
    assert [document["name"] for document in sort_documents(found, order)] == modelled(found, descending)
