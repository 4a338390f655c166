"""Filters against mongomock, an independent reading of MongoDB's rules, on documents and filters made up at random.

What is generated is what both can judge. The rest is named here, once each: where we differ from MongoDB on purpose,
and where mongomock differs from MongoDB's documentation (https://www.mongodb.com/docs/manual/reference/operator/query).
"""

from __future__ import annotations

import math
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mongomock.filtering import filter_applies

from runtap_query import QueryError, compile_filter, parse_filter

TRUTHS = {True: uuid.UUID(int=1), False: uuid.UUID(int=0)}


def encoded(value: Any) -> Any:
    """The value as mongomock gets it: it takes Python's ``True == 1``, which MongoDB does not, so truths are ids."""
    if isinstance(value, bool):
        return TRUTHS[value]
    if isinstance(value, list):
        return [encoded(item) for item in value]
    if isinstance(value, dict):
        return {key: item if key == "$exists" else encoded(item) for key, item in value.items()}
    return value


def judged(filters: dict[str, Any], document: dict[str, Any]) -> bool:
    """What mongomock says."""
    return bool(filter_applies(encoded(filters), encoded(document)))  # type: ignore[no-untyped-call]


def ours(filters: Any, document: dict[str, Any]) -> bool:
    """What we say."""
    return compile_filter(parse_filter(filters))(document)


texts = st.sampled_from(["", "a", "b", "ab", "ba", "abc", "1", "A", "é", "a\nb"])
numbers = st.integers(-2, 3) | st.sampled_from(
    [0.0, 0.5, 1.0, 2.5, -1e9, 2**53, 2**53 + 1, float(2**53), 10**30]
)
scalars = st.none() | st.booleans() | numbers | texts
keys = st.sampled_from("ab")
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=4,
)
flat = st.dictionaries(keys, values, max_size=2)
# `a` and `b` hold anything, `l` a list, `o` an object, `rows` objects and other things in a list.
free_form = st.fixed_dictionaries(
    {},
    optional={
        "a": values,
        "b": values,
        "l": st.lists(values, max_size=3),
        "o": flat,
        "rows": st.lists(flat | scalars, max_size=3),
    },
)
documents = st.fixed_dictionaries(
    {"config": free_form, "summary_metrics": free_form, "tags": st.lists(texts, min_size=1, max_size=3)},
    optional={"state": texts, "group": texts},
)
orderable = numbers | texts
patterns = st.sampled_from(["a", "^a", "b", "a.*b", "[ab]", "(a|1)c?", "é", "^", "A"])
comparisons: dict[str, st.SearchStrategy[Any]] = {
    "$eq": scalars | flat,
    "$ne": scalars | flat,
    "$gt": orderable,
    "$gte": orderable,
    "$lt": orderable,
    "$lte": orderable,
    "$in": st.lists(scalars | flat, max_size=3),
    "$nin": st.lists(scalars | flat, max_size=3),
    "$exists": st.booleans(),
    "$regex": patterns,
}
operands = st.dictionaries(st.sampled_from(sorted(comparisons)), st.none(), min_size=1, max_size=3).flatmap(
    lambda chosen: st.fixed_dictionaries({operator: comparisons[operator] for operator in chosen})
)
negated = st.recursive(operands, lambda inner: inner.map(lambda operand: {"$not": operand}), max_leaves=2)
insensitive = patterns.map(lambda pattern: {"$regex": pattern, "$options": "i"})
everything_of = st.lists(numbers | texts | st.booleans(), min_size=1, max_size=2).map(
    lambda all_of: {"$all": all_of}
)
roots = st.sampled_from(["config", "summary_metrics"])


def on(names: list[str], wanted: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Clauses about keys of a free-form field."""
    return st.builds(
        lambda root, name, operand: {f"{root}.{name}": operand}, roots, st.sampled_from(names), wanted
    )


single = st.one_of(
    [
        wanted.map(lambda value, operator=operator: {operator: value})  # type: ignore[misc]
        for operator, wanted in comparisons.items()
        if operator != "$exists"
    ]
)
clauses = st.one_of(
    on(
        ["a", "b", "l", "o", "o.a", "o.b", "gone", "gone.a"],
        values.filter(lambda value: value != {}) | negated | insensitive,
    ),
    on(["a", "b", "l", "o.a"], everything_of),
    on(["l"], st.integers(0, 3).map(lambda size: {"$size": size})),
    on(["l.0", "l.1", "rows.a", "rows.b"], single | st.just({"$exists": True})),
    st.builds(
        lambda name, operand: {name: operand}, st.sampled_from(["state", "group", "tags"]), texts | negated
    ),
    st.builds(lambda operand: {"tags": operand}, everything_of | st.lists(texts, min_size=1, max_size=2)),
)
filters = st.recursive(
    clauses
    | st.lists(clauses, max_size=3).map(lambda parts: {key: part[key] for part in parts for key in part}),
    lambda inner: st.builds(
        lambda operator, items: {operator: items},
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=4,
)


@settings(max_examples=300)  # of four documents each
@given(filters, st.lists(documents, min_size=4, max_size=4))
def test_we_agree_with_mongomock(wanted: dict[str, Any], found: list[dict[str, Any]]) -> None:
    matches = compile_filter(parse_filter(wanted))
    assert [matches(document) for document in found] == [judged(wanted, document) for document in found]


@given(documents, texts.filter(bool) | numbers | st.booleans())
def test_contains_is_a_text_in_a_text_or_a_value_in_a_list(document: dict[str, Any], wanted: Any) -> None:
    """MongoDB has no ``$contains``; W&B's helpers send it. In MongoDB's words it is one of two operators."""
    for key, value in document["config"].items():
        in_list = {f"config.{key}": {"$elemMatch": {"$eq": wanted}}}
        in_text = {f"config.{key}": {"$regex": str(wanted)}}  # none of the texts has a special letter
        expected = judged(in_list, document) or (
            isinstance(value, str) and isinstance(wanted, str) and judged(in_text, document)
        )
        assert ours({f"config.{key}": {"$contains": wanted}}, document) is expected


@given(filters, documents)
def test_a_not_of_its_own_is_a_nor_of_one(wanted: dict[str, Any], document: dict[str, Any]) -> None:
    """MongoDB has ``$not`` inside columns only; W&B's helpers write it around a filter as well."""
    assert ours({"$not": wanted}, document) is judged({"$nor": [wanted]}, document)


def config(**values: Any) -> dict[str, Any]:
    """A document with this config and nothing else."""
    return {"config": values}


# Where we differ from MongoDB, and why.


@pytest.mark.parametrize("asked", [None, [], {"$size": 0}, {"$exists": False}, {"$in": [None]}])
def test_without_tags_is_one_thing(asked: Any) -> None:
    """Servers store "no tags" as null or as []; who asks for it must not know which."""
    without: list[dict[str, Any]] = [{"tags": []}, {"tags": None}, {}]
    assert all(ours({"tags": asked}, document) for document in without)
    assert {judged({"tags": asked}, document) for document in without} == {True, False}
    assert not ours({"tags": asked}, {"tags": ["x"]})


def test_a_tag_can_be_asked_for_as_a_column() -> None:
    """The web pages' own names: tags.<tag> is true where the run has the tag."""
    assert ours({"tags.x": True}, {"tags": ["x"]}) and not judged({"tags.x": True}, {"tags": ["x"]})


def test_null_in_a_plain_column_is_nothing() -> None:
    """A run without a group has a null there on the wire; only in config and summary is null a value somebody gave."""
    assert not ours({"group": {"$exists": True}}, {"group": None})
    assert judged({"group": {"$exists": True}}, {"group": None})
    assert ours({"config.a": {"$exists": True}}, config(a=None))


def test_dates_are_moments_not_texts() -> None:
    """Nobody should have to know in which of many forms a server writes a moment."""
    document = {"created_at": "2022-02-08T10:30:00Z"}
    for asked in ("2022-02-08", "2022-02-08T10", "2022-02-08T11:30:00+01:00", 1644316200):
        assert ours({"createdAt": asked}, document) and not judged({"created_at": asked}, document)
    # As texts the one is before the other, as moments it is not.
    assert judged({"created_at": {"$lt": "2022-02-08T11:00:00+01:00"}}, document)
    assert not ours({"created_at": {"$lt": "2022-02-08T11:00:00+01:00"}}, document)


def test_keys_with_dots_and_the_value_of_the_web_pages() -> None:
    """A config key may hold dots, and config.<key>.value is how the web pages write config.<key>."""
    assert ours({"config.a.b": 1}, config(**{"a.b": 1})) and not judged(
        {"config.a.b": 1}, config(**{"a.b": 1})
    )
    two_ways = config(**{"a.b": {"x": 1}, "a": {"b": {"c": 5, "x": 2}}})
    assert ours({"config.a.b.c": 5}, two_ways) and ours({"config.a.b.x": 1}, two_ways)
    assert not ours({"config.a.b.x": 2}, two_ways)
    assert ours({"config.a.value": 1}, config(a=1)) and not judged({"config.a.value": 1}, config(a=1))
    assert ours({"summary.loss": 1}, {"summary_metrics": {"loss": 1}})


def test_nan_equals_itself_and_spelled_numbers_order() -> None:
    """MongoDB holds NaN equal to itself, mongomock as Python does not; strict JSON has only texts for the three."""
    nan = config(a=math.nan)
    assert ours({"config.a": math.nan}, nan) and not judged({"config.a": math.nan}, nan)
    assert ours({"config.a": {"$gte": math.nan}}, nan) and not ours({"config.a": {"$gt": math.nan}}, nan)
    assert not any(ours({"config.a": {operator: 0}}, nan) for operator in ("$gt", "$gte", "$lt", "$lte"))
    assert ours(
        {"config.a": {"$in": [float("nan"), 1]}}, config(a=float("nan"))
    )  # another object, the same value
    assert ours({"config.a": {"$gt": 5}}, config(a="Infinity"))
    assert not judged({"config.a": {"$gt": 5}}, config(a="Infinity"))
    assert not ours({"config.a": {"$gt": -math.inf}}, config(a="NaN"))


@pytest.mark.parametrize(
    ("text", "number"), [("NaN", math.nan), ("Infinity", math.inf), ("-Infinity", -math.inf)]
)
def test_a_number_that_json_does_not_have_is_found_by_either_spelling(text: str, number: float) -> None:
    """Clients that send strict JSON can only write the text, and runs hold what their SDK sent."""
    for value in (text, number, [1, number]):
        for operand in (text, number):
            assert ours({"config.a": operand}, config(a=value))
            assert ours({"config.a": {"$in": [1000, operand]}}, config(a=value))
            assert not ours({"config.a": {"$ne": operand}}, config(a=value))
    for operand in (text, number):
        assert not ours({"config.a": operand}, config(a=1)) and not ours({"config.a": operand}, {})
        assert ours({"config.a": {"$gt": operand}}, config(a=1)) is (number == -math.inf)
        assert ours({"config.a": {"$lt": operand}}, config(a=1)) is (number == math.inf)
    assert not ours({"group": text}, {"group": number}) and ours({"group": text}, {"group": text})


def test_patterns_are_re2() -> None:
    """The real servers use RE2. Where Python's patterns, which are mongomock's, mean something else:"""
    line = config(a="x\n")
    assert judged({"config.a": {"$regex": "x$"}}, line) and not ours({"config.a": {"$regex": "x$"}}, line)
    arabic = config(a="\u0663")
    assert judged({"config.a": {"$regex": r"\d"}}, arabic) and not ours(
        {"config.a": {"$regex": r"\d"}}, arabic
    )
    assert ours({"config.a": {"$regex": r"\pN"}}, arabic)
    assert judged({"config.a": {"$regex": "x(?!y)"}}, line)
    with pytest.raises(QueryError, match="RE2 has no look-around"):
        parse_filter({"config.a": {"$regex": "x(?!y)"}})


@pytest.mark.parametrize("operand", [None, True, [1], {"x": 1}])
def test_ordering_by_what_has_no_order_is_refused(operand: Any) -> None:
    """MongoDB orders these as well, which never is what was meant: null and bools are asked for by $eq and $ne."""
    judged({"config.a": {"$gt": operand}}, config(a=1))
    with pytest.raises(QueryError, match="needs a number, a text or a date"):
        parse_filter({"config.a": {"$gt": operand}})


def test_keys_of_objects_have_no_order() -> None:
    """MongoDB compares objects with their order of keys, which JSON does not have; so does mongomock not."""
    assert ours({"config.a": {"x": 1, "y": 2}}, config(a={"y": 2, "x": 1}))


def test_of_nothing() -> None:
    """MongoDB refuses empty lists of filters; the SDK's generator sends ``{"$or": [{"$and": []}]}`` for all runs."""
    assert ours({"$and": []}, {}) and ours({"$nor": []}, {}) and not ours({"$or": []}, {})
    with pytest.raises(Exception, match="nonempty array"):
        judged({"$and": []}, {})


# Where mongomock differs from MongoDB, and we do not. Each is left out of what is generated above.


@pytest.mark.parametrize(
    ("filters", "document", "by_mongodb"),
    [
        # $all of nothing matches nothing; $all of a null is equality with null, which holds for the missing.
        ({"config.a": {"$all": []}}, config(a=[1]), False),
        ({"config.a": {"$all": [None]}}, config(), True),
        # $size is about lists alone.
        ({"config.a": {"$size": 1}}, config(a=5), False),
        ({"config.a": {"$size": 1}}, config(a={"x": 1}), False),
        # A list equals as a whole or by an item, by every operator that equals.
        ({"config.a": {"$eq": [2]}}, config(a=[1, [2]]), True),
        ({"config.a": {"$ne": [2]}}, config(a=[1, [2]]), False),
        ({"config.a": {"$in": [[1, 2]]}}, config(a=[1, 2]), True),
        ({"config.a": {"$nin": [[]]}}, config(a=[]), False),
        # Below something that is no object nothing is found, and nothing equals null.
        ({"config.a.b": None}, config(a=None), True),
        ({"config.a.b": None}, config(a=4), True),
        ({"config.a.b": {"$not": {"$gt": 1}}}, config(a=4), True),
        ({"config.a.b": {"$not": {"$gt": 1}}}, config(a=[4]), True),
        # $exists: false denies $exists: true, in lists as well.
        ({"config.a.b": {"$exists": False}}, config(a=[{"b": 1}, {}]), False),
        # Several operators are judged each for itself: another item may satisfy each.
        ({"config.a.b": {"$ne": 5, "$gt": 2}}, config(a=[{"b": 1}, {"b": 3}]), True),
        # A number in a path is an index or a key of the objects in the list.
        ({"config.a.0": 7}, config(a=[{"0": 7}]), True),
    ],
)
def test_mongodb_is_right(filters: dict[str, Any], document: dict[str, Any], by_mongodb: bool) -> None:
    assert ours(filters, document) is by_mongodb
    assert judged(filters, document) is not by_mongodb


def test_paths_through_lists_as_mongodb_has_them() -> None:
    """The table of MongoDB's own tests of null: which values of ``a`` match ``a.b`` equal to null."""
    equal: list[Any] = [{}, {"b": None}, 4, None, "x", [{"b": 1}, {}], [{"b": None}]]
    for value in equal:
        assert ours({"config.a.b": None}, config(a=value)), value
    unequal: list[Any] = [{"b": 1}, {"b": []}, [], [4], [[]], [[{"b": None}]], [{"b": 1}]]
    for value in unequal:
        assert not ours({"config.a.b": None}, config(a=value)), value
    deep = config(a=[{"b": [{"c": 1}, {"c": [2, 3]}]}, {"b": {"c": 4}}, 5])
    assert all(ours({"config.a.b.c": number}, deep) for number in (1, 2, 3, 4))
    assert ours({"config.a.b.c": [2, 3]}, deep) and ours({"config.a.b.c": {"$all": [1, 4]}}, deep)
    assert ours({"config.a.value.b.c": 4}, deep) and ours({"config.a.0.b.1.c.0": 2}, deep)
    assert not ours({"config.a.b.c": {"$ne": 4}}, deep) and ours({"config.a.b.c": {"$ne": 5}}, deep)
    assert not ours({"config.a.9.b": None}, deep) and ours({"config.a.9.b": {"$exists": False}}, deep)
