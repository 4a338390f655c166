"""One text for each meaning: what is written down again matches the same runs, and is its own canonical form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtap_query import (
    compile_filter,
    filter_text,
    normalised,
    order_text,
    parse_filter,
    parse_order,
    sort_documents,
)
from tests.support.query_examples import IMPLIED_EXAMPLES, OPERATOR_EXAMPLES, RUNS
from tests.unit.test_query_oracle import documents, filters


def canonical(wanted: Any) -> str:
    return filter_text(normalised(parse_filter(wanted)))


dates = st.sampled_from(["2024-05", "2024-05-31T12", "2024-06-01T00:00:00Z", 1717200000, 1717200000.0])
moments = st.sampled_from(["created_at", "createdAt", "heartbeatAt"])
on_moments = st.builds(
    lambda column, operator, date: {column: date if operator is None else {operator: date}},
    moments,
    st.sampled_from([None, "$eq", "$ne", "$gt", "$lte"]),
    dates,
)
times = st.fixed_dictionaries(
    {}, optional={"created_at": dates, "heartbeat_at": dates, "history_keys": st.just({"keys": {"a": 1}})}
)
lists = st.builds(
    lambda operator, values: {"tags": {operator: values}},
    st.sampled_from(["$in", "$nin", "$all"]),
    st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3),
)
wholes = st.recursive(
    filters | on_moments | lists | st.just({"keys_info.keys.a": {"$exists": True}}),
    lambda inner: st.one_of(
        st.builds(
            lambda operator, items: {operator: items},
            st.sampled_from(["$and", "$or", "$nor"]),
            st.lists(inner, max_size=3),
        ),
        inner.map(lambda item: {"$not": item}),
    ),
    max_leaves=4,
)


@settings(max_examples=400)
@given(wholes, st.lists(st.builds(lambda one, other: one | other, documents, times), min_size=4, max_size=4))
def test_the_canonical_form_matches_the_same_runs(wanted: dict[str, Any], found: list[Any]) -> None:
    before = compile_filter(parse_filter(wanted))
    text = canonical(wanted)
    after = compile_filter(parse_filter(text))
    assert [after(document) for document in found] == [before(document) for document in found], text
    assert canonical(text) == text


@pytest.mark.parametrize(
    "wanted", [*(f for _, f, _ in OPERATOR_EXAMPLES), *(f for f, _ in IMPLIED_EXAMPLES)], ids=json.dumps
)
def test_every_example_keeps_its_meaning(wanted: Any) -> None:
    before, after = compile_filter(parse_filter(wanted)), compile_filter(parse_filter(canonical(wanted)))
    assert [after(run) for run in RUNS] == [before(run) for run in RUNS]
    assert canonical(canonical(wanted)) == canonical(wanted)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", [{"$and": []}, {"$nor": []}, {"$or": [{}]}, None, "", {"$not": {"$or": []}}]),
        ('{"$or":[]}', [{"$not": {}}, {"$nor": [{}]}]),
        (
            '{"display_name":"x","state":"finished"}',
            [
                {"state": "finished", "displayName": "x"},
                {"$and": [{"state": {"$eq": "finished"}}, {"display_name": {"$in": ["x"]}}]},
                {"$and": [{"state": "finished"}, {"$and": [{"displayName": "x"}, {"state": "finished"}]}]},
                {"$nor": [{"state": {"$ne": "finished"}}, {"display_name": {"$nin": ["x", "x"]}}]},
            ],
        ),
        (
            '{"summary_metrics.loss":{"$gt":1,"$lt":2}}',
            [
                {"summary.loss": {"$lt": 2, "$gt": 1}},
                {"$and": [{"summaryMetrics.loss": {"$gt": 1.0}}, {"summary_metrics.loss": {"$lt": 2}}]},
            ],
        ),
        (
            '{"state":{"$in":["crashed","failed"]}}',
            [{"state": {"$in": ["failed", "crashed", "failed"]}}],
        ),
        (
            '{"$or":[{"config.a":1},{"config.b":2}]}',
            [{"$or": [{"config.b": 2}, {"$or": [{"config.a": 1}, {"config.b": 2}]}]}],
        ),
        (
            '{"$and":[{"config.a":2}],"config.a":1}',
            [{"$and": [{"config.a": 2}, {"config.a": 1}]}],
        ),
        (
            '{"$nor":[{"notes":{"$options":"im","$regex":"x"}}]}',
            [{"notes": {"$not": {"$regex": "x", "$options": "mi"}}}],
        ),
        ('{"keys_info.keys.loss":{"$exists":true}}', [{"historyKeys.loss": {"$exists": 1}}]),
        ('{"config.n":12345678901234567890123}', [{"config.n": 12345678901234567890123}]),
        ('{"state":{"$in":["aborted","killed"]}}', [{"state": "aborted"}, {"state": {"$in": ["aborted"]}}]),
        ('{"state":{"$nin":["aborted","killed"]}}', [{"state": {"$ne": "aborted"}}]),
        ('{"created_at":{"$gt":"2024-05-31T12"}}', [{"createdAt": {"$gt": "2024-05-31T12"}}]),
    ],
)
def test_one_text_for_one_meaning(written: str, expected: list[Any]) -> None:
    assert [canonical(one) for one in expected] == [written] * len(expected)


def test_orders_have_one_text_too() -> None:
    for text in ("summary.loss", "-summary_metrics.loss", "- summaryMetrics.loss"):
        assert order_text(parse_order(text)) == "-summary_metrics.loss"
    assert order_text(parse_order("+historyKeys.keys.a")) == "+keys_info.keys.a"
    for text in ("-created_at", "+config.lr.value", "+keys_info.keys.keys.a", "+tags.x"):
        assert order_text(parse_order(text)) == text
        assert sort_documents(RUNS, text) == sort_documents(RUNS, order_text(parse_order(text)))
