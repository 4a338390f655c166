"""The keys of histories in any shape a server may give them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtap.v1 import history_pb2 as pb
from runtapd.model.history_keys import (
    LARGEST_COUNT,
    LONGEST_KEY,
    LONGEST_TYPE,
    MOST_TYPES,
    HistoryKey,
    history_keys,
)

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
COUNTED = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["number", "string"]) | ANYTHING,
        "count": st.integers() | st.sampled_from(["7", "-1", 1e300, 10**400, "9" * 5000]) | ANYTHING,
        "nested": st.dictionaries(st.text(), ANYTHING, max_size=2) | ANYTHING,
        "items": ANYTHING,
    },
)
TOLD = st.fixed_dictionaries({}, optional={"typeCounts": st.lists(COUNTED | ANYTHING, max_size=3) | ANYTHING})
DOCUMENTS = st.fixed_dictionaries(
    {"keys": st.dictionaries(st.text(), TOLD | ANYTHING, max_size=4) | ANYTHING}
)


def read(keys: Any, **more: Any) -> dict[str, dict[str, int]]:
    return {one.key: dict(one.type_counts) for one in history_keys(json.dumps({"keys": keys, **more}))}


def told(*counts: Any) -> dict[str, Any]:
    return {"typeCounts": [{"type": kind, "count": count} for kind, count in counts]}


def test_keys_are_ordered_and_types_counted() -> None:
    keys = {
        "z": told(("number", 3)),
        "a/b": told(("number", 2), ("string", 1)),
        "Ä\n.": told(("histogram", 9)),
    }
    assert history_keys(json.dumps({"keys": keys, "lastStep": 3, "sets": []})) == [
        HistoryKey("a/b", {"number": 2, "string": 1}),
        HistoryKey("z", {"number": 3}),
        HistoryKey("Ä\n.", {"histogram": 9}),
    ]


@pytest.mark.parametrize(
    "document",
    [
        "",
        "null",
        "[]",
        "7",
        '"keys"',
        "{}",
        '{"keys": null}',
        '{"keys": ["a"]}',
        "{",
        "\udcff",
        "[" * 100_000,
    ],
)
def test_a_document_without_keys_has_none(document: str) -> None:
    assert history_keys(document) == []


@pytest.mark.parametrize(
    "of_key", [None, 5, [], "text", {}, {"typeCounts": None}, {"typeCounts": [5, None, {}]}]
)
def test_a_key_in_an_odd_shape_is_still_a_key(of_key: Any) -> None:
    assert read({"a": of_key, "b": told(("number", 1))}) == {"a": {}, "b": {"number": 1}}


@pytest.mark.parametrize(
    ("count", "read_as"),
    [
        ("12", 12),
        (12.0, 12),
        (None, 0),
        (True, 0),
        (-3, 0),
        ("many", 0),
        ([1], 0),
        ("9" * 5000, 0),
        (float("nan"), 0),
        (float("inf"), 0),
        (2**63 - 1, LARGEST_COUNT),
        (2**63, LARGEST_COUNT),
        (10**400, LARGEST_COUNT),
    ],
)
def test_counts(count: Any, read_as: int) -> None:
    assert read({"a": told(("number", count))}) == {"a": {"number": read_as}}


def test_a_type_named_twice_is_counted_together() -> None:
    assert read({"a": told(("number", 2), ("number", 3))}) == {"a": {"number": 5}}
    assert read({"a": told(("number", 2**62), ("number", 2**62))}) == {"a": {"number": LARGEST_COUNT}}


def test_nested_keys_are_dotted_and_those_told_further_out_count() -> None:
    inner = {"x": told(("number", 1)), "y": {"typeCounts": [{"type": "map", "nested": {"z": None}}]}}
    keys = {"d": {"typeCounts": [{"type": "map", "count": 4, "nested": inner}]}, "d.x": told(("number", 4))}
    assert read(keys) == {"d": {"map": 4}, "d.x": {"number": 4}, "d.y": {"map": 0}, "d.y.z": {}}


def test_what_would_not_fit_a_message_is_left_out() -> None:
    longest, kinds = "k" * LONGEST_KEY, [(f"kind {number}", 1) for number in range(MOST_TYPES + 1)]
    found = read({longest: {}, f"{longest}k": {}, "é" * (LONGEST_KEY // 2 + 1): {}, "kinds": told(*kinds)})
    assert sorted(found) == ["kinds", longest]
    assert len(found["kinds"]) == MOST_TYPES
    assert read({"a": told(("t" * 999, 1))}) == {"a": {"t" * LONGEST_TYPE: 1}}


def test_names_without_utf_8_are_shown_all_the_same() -> None:
    assert read({"\ud800": told(("\udcff", 1))}) == {"\ufffd": {"\ufffd": 1}}


@given(DOCUMENTS | ANYTHING)
def test_any_document_is_read_and_fits_the_contract(document: Any) -> None:
    found = history_keys(json.dumps(document))
    names = [one.key for one in found]
    assert names == sorted(set(names))
    for one in found:
        pb.HistoryKey(key=one.key, type_counts=one.type_counts).SerializeToString()
    if isinstance(document, dict) and isinstance(document.get("keys"), dict):
        assert set(document["keys"]) <= set(names)


@given(st.text() | st.binary())
def test_any_text_is_read(text: str | bytes) -> None:
    assert isinstance(history_keys(text), list)
