"""Edits: what leads from one document to another, whatever the documents are."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtap.edits import ABSENT, apply, apply_tags, changes, replace, tag_changes
from runtap.values import json_text, plain, same

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["NaN", "Infinity"])
)
keys = st.text(max_size=2)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(keys, values, max_size=5)
tag_lists = st.lists(st.sampled_from("abcd"), max_size=5)


@given(documents, documents)
def test_edits_lead_from_one_document_to_the_other(base: dict[str, Any], edited: dict[str, Any]) -> None:
    reached = copy.deepcopy(base)
    apply(changes(base, edited, "config"), reached)
    assert same(reached, edited)


@given(documents)
def test_a_document_does_not_differ_from_itself_as_json(document: dict[str, Any]) -> None:
    assert changes(document, document, "config") == []
    assert changes(json.loads(json_text(document)), document, "config") == []


@given(documents, documents)
def test_edits_of_different_keys_do_not_touch_each_other(
    base: dict[str, Any], theirs: dict[str, Any]
) -> None:
    mine = {**copy.deepcopy(base), "mine": {"x": 1}}
    found = copy.deepcopy(theirs)
    apply(changes(base, mine, "config"), found)
    assert same({key: value for key, value in found.items() if key != "mine"}, _without(theirs, "mine"))


@given(documents, documents)
def test_replacing_keeps_the_dicts(target: dict[str, Any], source: dict[str, Any]) -> None:
    inner = {key: value for key, value in target.items() if isinstance(value, dict)}
    replace(target, copy.deepcopy(source))
    assert same(target, source)
    for key, held in inner.items():
        if isinstance(source.get(key), dict):
            assert target[key] is held


@given(tag_lists, tag_lists)
def test_tag_edits_lead_to_the_tags(base: list[str], edited: list[str]) -> None:
    assert apply_tags(tag_changes(base, edited), base) == edited


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (math.nan, math.nan, True),
        (math.nan, "NaN", True),
        (-math.inf, "-Infinity", True),
        ([1, {"a": math.nan}], [1.0, {"a": "NaN"}], True),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ("1", 1, False),
        (None, 0, False),
    ],
)
def test_what_is_one_value_in_json(one: Any, other: Any, is_same: bool) -> None:
    assert same(one, other) is is_same
    assert same(other, one) is is_same


def test_absent_stays_itself_when_pickled() -> None:
    assert pickle.loads(pickle.dumps(ABSENT)) is ABSENT


def test_plain_values_are_built_of_json_types() -> None:
    class Text(str):
        """A subclass, as enums of strings are."""

    assert type(plain(Text("a"))) is str
    assert plain({1: "a", None: "b", False: "c"}) == {"1": "a", "null": "b", "false": "c"}
    assert plain((1, [2, (3,)])) == [1, [2, [3]]]


def _without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != key}
