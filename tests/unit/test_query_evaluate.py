"""Filters on documents: MongoDB's rules, our columns in every spelling, and properties that hold for all documents."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtap_query import MISSING, compile_filter, parse_filter, resolve_column, value_getter

DOCUMENT: dict[str, Any] = {
    "name": "abc123",
    "display_name": "brave-river-7",
    "state": "finished",
    "tags": ["base", "v2"],
    "created_at": "2022-02-08T10:30:00.500000Z",
    "heartbeat_at": "2022-02-08T11:30:00.500000Z",
    "updated_at": 1644320000.25,
    "group": "g1",
    "job_type": None,
    "sweep": "sw1",
    "username": "ann",
    "config": {
        "lr": 0.1,
        "layers": [64, 32],
        "flag": True,
        "zero": 0,
        "none": None,
        "optimizer": {"name": "adam", "beta": {"one": 0.9}},
        "a.b": "literal",
        "a": {"b": "nested", "c": 5},
        "wrapped": {"value": 3},
    },
    "summary_metrics": {"loss": 0.25, "val/acc.top1": 0.9, "nan": math.nan, "text": "12", "deep": {"x": 1}},
    "history_keys": {"keys": {"loss": {"typeCounts": []}, "train/loss.min": {"typeCounts": []}}},
}


def matches(filters: dict[str, Any], **changes: Any) -> bool:
    """Whether the filter matches the document, changed a little."""
    return compile_filter(parse_filter(filters))({**DOCUMENT, **changes})


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"state": "finished"},
        {"state": {"$eq": "finished"}},
        {"state": {"$ne": "running"}},
        {"state": {"$in": ["running", "finished"]}},
        {"state": {"$nin": ["running"]}},
        {"state": {"$regex": "^fin"}},
        {"state": {"$regex": "NISH", "$options": "i"}},
        {"state": {"$not": {"$eq": "running"}}},
        {"state": {"$not": {"$regex": "runn"}}},
        {"display_name": {"$regex": "b.*r"}},
        {"displayName": {"$regex": "river"}},
        {"displayName": {"$contains": "river"}},
        {"name": "abc123"},
        {"user": "ann"},
        {"username": "ann"},
        {"sweep": "sw1"},
        {"jobType": None},
        {"job_type": {"$exists": False}},
        {"host": {"$exists": False}},
        {"host": None},
        {"host": {"$ne": "x"}},
        {"host": {"$nin": ["x", "y"]}},
        {"host": {"$in": [None, "x"]}},
        {"tags": "base"},
        {"tags": ["base", "v2"]},
        {"tags": {"$in": ["v2", "v3"]}},
        {"tags": {"$nin": ["v3"]}},
        {"tags": {"$ne": "v3"}},
        {"tags": {"$all": ["v2", "base"]}},
        {"tags": {"$size": 2}},
        {"tags": {"$contains": "v2"}},
        {"tags": {"$regex": "^v"}},
        {"tags.v2": True},
        {"tags.v3": {"$exists": False}},
        {"$or": [{"tags": None}, {"tags": {"$ne": "x"}}]},
        {"config.lr": 0.1},
        {"config.lr.value": 0.1},
        {"config.lr": {"$gt": 0.05, "$lte": 0.1}},
        {"config.zero": {"$gte": 0, "$lt": 1}},
        {"config.layers": 64},
        {"config.layers": [64, 32]},
        {"config.layers.0": 64},
        {"config.layers": {"$gt": 60}},
        {"config.flag": True},
        {"config.none": None},
        {"config.none": {"$exists": True}},
        {"config.gone": None},
        {"config.gone": {"$exists": False}},
        {"config.optimizer.name": "adam"},
        {"config.optimizer.value.name": "adam"},
        {"config.optimizer.beta.one": {"$gte": 0.9}},
        {"config.optimizer": {"name": "adam", "beta": {"one": 0.9}}},
        {"config.a.b": "literal"},
        {"config.a.c": 5},
        {"config.a.value.c": 5},
        {"config.wrapped.value": 3},
        {"config.wrapped": {"value": 3}},
        {"summary.loss": 0.25},
        {"summary_metrics.loss": {"$lt": 1}},
        {"summaryMetrics.val/acc.top1": {"$gte": 0.9}},
        {"summary_metrics.deep.x": 1},
        {"summary_metrics.nan": {"$exists": True}},
        {"keys_info.keys.loss": {"$exists": True}},
        {"keys_info.keys.train/loss.min": {"$exists": True}},
        {"keys_info.keys.gone": {"$exists": False}},
        {"createdAt": {"$gt": "2022-02-08"}},
        {"created_at": {"$gt": "2022-02-08T10", "$lt": "2022-02-08T11"}},
        {"created_at": {"$gte": "2022-02-08T10:30:00.5Z", "$lte": "2022-02-08T10:30:00.5"}},
        {"created_at": {"$lt": "2022-02-08T12:00:00+01:00"}},
        {"created_at": "2022-02-08"},
        {"created_at": {"$in": ["2022-02", "2023"[:4] + "-01"]}},
        {"created_at": {"$ne": "2022-02-09"}},
        {"createdAt": {"$gt": 1644316200, "$lt": 1644316201}},
        {"updatedAt": {"$eq": 1644320000.25}},
        {"duration": 3600},
        {"duration": {"$gt": 3599}},
        {"$and": [{"state": "finished"}, {"$or": [{"config.lr": 5}, {"group": "g1"}]}]},
        {"$nor": [{"state": "running"}, {"state": "failed"}]},
        {"$not": {"state": "running"}},
        {"state": "finished", "group": "g1", "tags": "base"},
        {"$or": [{"state": "a"}, {"state": "b"}, {"state": "finished"}]},
    ],
)
def test_filters_that_match(filters: dict[str, Any]) -> None:
    assert matches(filters)
    assert matches({"$and": [filters]}) and matches({"$or": [filters]})
    assert not matches({"$nor": [filters]}) and not matches({"$not": filters})


@pytest.mark.parametrize(
    "filters",
    [
        {"state": "running"},
        {"state": {"$regex": "^nish"}},
        {"state": {"$contains": 1}},
        {"tags": "bas"},
        {"tags": ["base"]},
        {"tags": {"$all": ["base", "v3"]}},
        {"tags": {"$all": []}},
        {"tags": {"$size": 1}},
        {"tags": {"$in": []}},
        {"tags": {"$ne": "base"}},
        {"config.flag": 1},
        {"config.flag": {"$gt": 0}},
        {"config.zero": False},
        {"config.lr": {"$gt": "0"}},
        {"config.gone": {"$lt": 5}},
        {"config.gone": {"$ne": None}},
        {"config.none": {"$lt": 5}},
        {"config.layers": {"$gt": 70}},
        {"config.optimizer": {"name": "adam"}},
        {"summary_metrics.text": {"$gt": 1}},
        {"summary_metrics.text": 12},
        {"summary_metrics.nan": {"$gt": 0}},
        {"summary_metrics.nan": {"$lte": 0}},
        {"created_at": {"$gt": "2022-02-09"}},
        {"created_at": "2022-02-07"},
        {"created_at": None},
        {"$or": []},
        {"keys_info.keys.gone": {"$exists": True}},
    ],
)
def test_filters_that_do_not_match(filters: dict[str, Any]) -> None:
    assert not matches(filters)


def test_moments_may_be_missing() -> None:
    for operator in ("$gt", "$lt", "$gte", "$lte"):
        assert not matches({"created_at": {operator: "2022-01-01"}}, created_at=None)
    assert matches({"created_at": None}, created_at=None)
    assert matches({"created_at": {"$ne": "2022-01-01"}}, created_at=None)
    assert not matches({"duration": {"$gt": 0}}, created_at=None)
    assert matches({"duration": {"$gt": 4}}, duration=5, created_at=None)
    assert matches({"duration": 0}, heartbeat_at="2022-01-01")  # a clock that was set back


def test_a_filter_says_which_fields_it_reads() -> None:
    compiled = compile_filter(
        parse_filter('{"$and": [{"config.a": 1}, {"$or": [{"duration": 1}, {"user": "x"}]}]}')
    )
    assert compiled.roots == {"config", "duration", "created_at", "heartbeat_at", "username"}
    assert not compiled.matches_all
    assert compile_filter(parse_filter("{}")).matches_all and compile_filter(parse_filter(None)).matches_all


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.just(10**400)
    | st.floats(allow_nan=True)
    | st.text("ab1.", max_size=3),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text("ab.", max_size=3), children, max_size=3)
    ),
    max_leaves=6,
)
configs = st.dictionaries(st.text("ab.", min_size=1, max_size=3), json_values, max_size=4)
columns = st.sampled_from(
    ["config.a", "config.b", "config.a.b", "config.a.b.a", "state", "tags", "created_at"]
)
scalars = st.integers(-5, 5) | st.text("ab1", max_size=2)


@given(configs, columns, scalars)
def test_a_comparison_and_its_opposite_never_agree(config: dict[str, Any], column: str, operand: Any) -> None:
    if column == "created_at":
        operand = 1644316200
    for positive, negative in (("$eq", "$ne"), ("$in", "$nin")):
        value = [operand] if positive == "$in" else operand
        both = [matches({column: {operator: value}}, config=config) for operator in (positive, negative)]
        assert sorted(both) == [False, True]
    for operator in (
        ("$gt", "$lte", "$exists") if column == "created_at" else ("$gt", "$lte", "$exists", "$size")
    ):
        value = 1 if operator in ("$exists", "$size") else operand
        one = matches({column: {operator: value}}, config=config)
        assert matches({column: {"$not": {operator: value}}}, config=config) is not one


@given(configs, st.text("ab.", min_size=1, max_size=3).filter(lambda key: key.strip(".")))
def test_every_key_can_be_asked_for(config: dict[str, Any], key: str) -> None:
    assert matches({f"config.{key}": {"$exists": True}}, config={**config, key: 1})
    assert matches({f"config.{key}": 1}, config={key: 1})


def test_missing_is_a_value_of_its_own() -> None:
    found = value_getter(resolve_column("config.gone"))(DOCUMENT)
    assert found is MISSING and not found and repr(found) == "MISSING"
    assert value_getter(resolve_column("config.none"))(DOCUMENT) is None
