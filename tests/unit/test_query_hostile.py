"""Filters and orders from people who mean no good, or whose program went wrong: understood or refused, never worse."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtap_query import (
    COMBINING,
    OPERATORS,
    And,
    Compare,
    Not,
    Or,
    Pattern,
    QueryError,
    compile_filter,
    parse_filter,
    parse_order,
    resolve_column,
    sort_documents,
)
from runtap_query.columns import COLUMNS, SPELLINGS
from runtap_query.limits import MAX_CLAUSES, MAX_PATTERNS, MAX_VALUES

ROOTS = (*COLUMNS, "config", "summary_metrics", "system_metrics", "history_keys")
NAMES = (
    *OPERATORS,
    *COMBINING,
    *SPELLINGS,
    "config.a",
    "config.a.b",
    "config.a.value.0",
    "summary.a",
    "keys_info.keys.a",
    "tags.a",
    "",
    ".",
    "a",
    "config.",
    "config..",
    "$",
    "order",
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([10**30, -(2**53) - 1, 10**400, -(10**4000)])
    | st.floats()
    | st.sampled_from(
        ["", "a", "2022-02-08", "2022-02-08T10", "NaN", "(", "i", "\x00", "\ud800", "é" * 80, "a" * 5000]
    )
    | st.text(max_size=4)
)
keys = st.sampled_from(NAMES) | st.text("ab.$0", max_size=5)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)
# Half of them begin well, so that what is parsed is not refused at its first letter.
clauses = st.dictionaries(
    st.sampled_from(sorted(SPELLINGS))
    | st.sampled_from(["config.a", "config.a.b", "summary.a.0.b", "tags.a"]),
    json_values | st.dictionaries(st.sampled_from(OPERATORS), json_values, max_size=2),
    max_size=3,
)
filters = (
    json_values
    | clauses
    | st.dictionaries(st.sampled_from(COMBINING), st.lists(clauses, max_size=3), max_size=2)
)
documents = st.dictionaries(st.sampled_from(ROOTS), json_values, max_size=8)


@settings(max_examples=400)
@given(filters, documents)
def test_any_json_is_understood_or_refused(wanted: Any, document: dict[str, Any]) -> None:
    try:
        node = parse_filter(wanted)
    except QueryError as error:
        assert str(error) and len(str(error)) < 2000
        return
    assert isinstance(node, And | Or | Not | Compare)
    assert compile_filter(node)(document) in (True, False)


@given(clauses)
def test_text_and_object_mean_the_same(wanted: Any) -> None:
    def outcome(given_filter: Any) -> Any:
        try:
            return str(parse_filter(given_filter))  # by text, since NaN is not equal to itself
        except QueryError as error:
            return str(error)

    try:
        text = json.dumps(wanted)
    except ValueError:  # a number that Python does not write out
        return
    if "Infinity" not in text:  # which 10**400 does not become
        assert outcome(text) == outcome(wanted)


@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        parse_filter(text)
    except QueryError as error:
        assert "not valid JSON" in str(error) or "must be an object" in str(error)


@given(keys | scalars, st.lists(documents, max_size=6))
def test_any_order_sorts_or_is_refused(order: Any, found: list[dict[str, Any]]) -> None:
    try:
        parsed = parse_order(order)
    except QueryError as error:
        assert str(error) and len(str(error)) < 2000
        return
    in_order = sort_documents(found, parsed)
    assert sorted(map(id, in_order)) == sorted(map(id, found))


def nested(levels: int, wrap: Any, inner: Any) -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


def in_and(inner: Any) -> Any:
    return {"$and": [inner]}


def in_not(inner: Any) -> Any:
    return {"$not": inner}


def in_list(inner: Any) -> Any:
    return [inner]


def in_object(inner: Any) -> Any:
    return {"x": inner}


@pytest.mark.parametrize("levels", [60, 400, 20_000])
@pytest.mark.parametrize(
    ("wrap", "inner", "outer"),
    [
        (in_and, {"state": "x"}, None),
        (in_not, {"state": "x"}, None),
        (in_not, {"$eq": 1}, "config.a"),
        (in_list, 1, "config.a"),
        (in_object, 1, "config.a"),
        (in_list, 1, "$and"),
    ],
)
def test_nesting_is_bounded(levels: int, wrap: Any, inner: Any, outer: str | None) -> None:
    wanted = nested(levels, wrap, inner)
    if outer is not None:
        wanted = {outer: wanted}
    with pytest.raises(QueryError, match=r"nested deeper than 50|must be an object, not a list"):
        parse_filter(wanted)
    if levels < 1000:
        with pytest.raises(QueryError, match=r"nested deeper than 50|must be an object, not a list"):
            parse_filter(json.dumps(wanted))


def test_nesting_within_the_bound_is_fine() -> None:
    assert parse_filter(nested(20, in_and, {"state": "x"})) == parse_filter({"state": "x"})
    assert compile_filter(parse_filter({"config.a": nested(40, in_list, 1)}))(
        {"config": {"a": nested(40, in_list, 1)}}
    )


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (
            {"$or": [{"name": str(n)} for n in range(MAX_CLAUSES + 1)]},
            "1000 comparisons; many texts .* one \\$in",
        ),
        (
            {"$and": [{"name": {"$in": ["x"] * MAX_VALUES}}, {"name": {"$nin": ["x"]}}]},
            "10000 values in lists",
        ),
        ({"$or": [{"name": {"$regex": f"^{n}"}} for n in range(MAX_PATTERNS + 1)]}, "50 patterns"),
        ({"tags": {"$all": ["x"] * (MAX_CLAUSES + 1)}}, "1000 comparisons"),
        ({"config.a": {"$in": [{"x": 1}] * MAX_CLAUSES}}, "1000 comparisons"),
        ({"created_at": {"$nin": ["2022-01-01"] * (MAX_CLAUSES + 1)}}, "1000 comparisons"),
        ({"created_at": "2" * 500_000}, "needs a date"),
        ({"config." + "a" * 1000: 1}, "longer than 1000 characters"),
        ({"x" * 1_000_000: 1}, "longer than 1000 characters"),
        ({"config." + "a." * 31 + "a": 1}, "more than 30 dots"),
        ({"config.a": {"$" + "x" * 5000: 1}}, "unknown operator"),
        ({"$" + "x" * 5000: []}, "cannot stand here"),
        ({"config.a": {"$size": -(10**5000)}}, "not a whole number of 16610 bits"),
        ({"created_at": {"$gt": 10**400}}, "needs a date"),
        ({"created_at": {"$gt": math.inf}}, "needs a date"),
        ('{"state": "' + "x" * 1_000_000 + '"}', "longer than 1000000 characters"),
        ('{"config.a": ' + "1" * 5000 + "}", "not valid JSON"),
        ('{"state": "a", "state": "b"}', "'state' stands twice"),
        ('{"config.a": {"$gt": 1, "$gt": 2}}', "'\\$gt' stands twice"),
    ],
)
def test_too_much_is_refused(wanted: Any, expected: str) -> None:
    with pytest.raises(QueryError, match=expected) as caught:
        parse_filter(wanted)
    assert len(str(caught.value)) < 1000


def test_just_enough_is_fine() -> None:
    parse_filter({"$or": [{"name": str(n)} for n in range(MAX_CLAUSES)]})
    matches = compile_filter(parse_filter({"config.a": {"$in": list(range(MAX_VALUES))}}))
    assert matches({"config": {"a": 9_999.0}}) and not matches({"config": {"a": 10_000}})
    assert matches({"config": {"a": ["x", 7]}}) and not matches({"config": {"a": True}})
    assert compile_filter(parse_filter({"config." + "a" * 990: 1}))({"config": {"a" * 990: 1}})
    assert compile_filter(parse_filter({"config." + ".".join("a" * 31): {"$ne": 1}}))(
        {"config": {"a": {"a": 1}}}
    )


def test_large_numbers_compare_exactly() -> None:
    big = 2**53
    for value, operator, operand, expected in (
        (big + 1, "$eq", big, False),
        (big + 1, "$gt", big, True),
        (big + 1, "$eq", float(big), False),
        (big, "$eq", float(big), True),
        (10**400, "$gt", math.inf, False),
        (10**400, "$gt", 1e308, True),
        (2**63, "$in", [2**63], True),
    ):
        assert (
            compile_filter(parse_filter({"config.a": {operator: operand}}))({"config": {"a": value}})
            is expected
        )


# Patterns.


def search(pattern: str, text: str, options: str | None = None) -> bool:
    operand = {"$regex": pattern} if options is None else {"$regex": pattern, "$options": options}
    return compile_filter(parse_filter({"notes": operand}))({"notes": text})


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)*c", "(.*a){20}", "^(([a-z])+.)+[A-Z]([a-z])+$", "(x+x+)+y"]
)
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    # Python's own patterns need longer than the universe has been there for these.
    assert not search(pattern, "a" * 20_000 + "b" if "20" not in pattern else "b" * 20_000)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(", r"missing \): \("),
        ("[z-a]", "invalid character class range: z-a"),
        ("*", "no argument for repetition operator"),
        ("a{1001}", "invalid repetition size"),
        ("(?<=x)y", "RE2 has no look-around and no back-references"),
        (r"(a)\1", "RE2 has no look-around and no back-references"),
        ("((a{100}){100}){100}", "invalid repetition size"),
        (r"\pL{1,200}", "pattern too large - compile failed"),
        (r"\pL{1,40}", "too large; use fewer or smaller repetitions"),
        ("é(", r"missing \): é\("),
        ("(" * 4000, "missing|nested"),
        ("x" * 4001, "longer than 4000 characters"),
    ],
)
def test_patterns_that_are_none(pattern: str, expected: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(QueryError, match=f"^\\$regex on notes is not a valid pattern: .*({expected})"):
        parse_filter({"notes": {"$regex": pattern}})
    assert capfd.readouterr() == ("", "")  # RE2 would complain to our standard error, too


@pytest.mark.parametrize(
    ("pattern", "options", "text", "expected"),
    [
        ("b.*", None, "foo bar", True),
        ("^foo.*", None, "a foo", False),
        ("^bar", "m", "foo\nbar", True),
        ("^bar", None, "foo\nbar", False),
        ("o.b", "s", "foo\nbar", True),
        ("o.b", None, "foo\nbar", False),
        ("FOO|x.", "i", "foo", True),
        ("A|B$", "im", "b\nx", True),
        ("É", "i", "café", True),
        ("^.{4}$", None, "caf\U0001f600", True),
        (r"\p{Greek}", None, "λ", True),
        ("a\x00b", None, "xa\x00b", True),
        (r"\x00", None, "\x00", True),
        ("^a.b$", None, "a\ud800b", True),
        ("b", None, "\ud800b", True),
        ("\ud800", None, "x\ud800", True),
        ("", None, "", True),
        ("", "i", "x", True),
        (r"\Qa.b\E", None, "a.b", True),
    ],
)
def test_patterns(pattern: str, options: str | None, text: str, expected: bool) -> None:
    assert search(pattern, text, options) is expected
    assert search(pattern, "", options) is (pattern == "")


def test_options_of_patterns_are_checked() -> None:
    with pytest.raises(QueryError, match="unknown letter 'x' in \\$options; there are i \\(upper"):
        search("a", "a", "ix")
    with pytest.raises(QueryError, match="\\$options on notes needs a text such as 'i', not 5"):
        parse_filter({"notes": {"$regex": "a", "$options": 5}})


def test_patterns_are_compared_by_what_was_asked() -> None:
    """So that trees can be compared and shown; what RE2 made of it does not count."""
    one, other = (
        parse_filter({"notes": {"$regex": "a", "$options": "mi"}}),
        parse_filter({"notes": {"$options": "imm", "$regex": "a"}}),
    )
    assert one == other and one != parse_filter({"notes": {"$regex": "a"}})
    assert isinstance(one, Compare) and isinstance(one.operand, Pattern)
    assert repr(one.operand) == "Pattern(text='a', options='im')"


def test_the_package_is_light() -> None:
    """Daemon and local server import it at their start: RE2 is all it brings along."""
    script = """
import sys
before = set(sys.modules)
import runtap_query
heavy = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(heavy - set(sys.stdlib_module_names)))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["re2", "runtap_query"]


def test_columns_resolve_or_are_refused_whatever_their_name() -> None:
    for name in ("config.a.", "config..a", "config. ", "summary_metrics.\x00", "config.\ud800"):
        column = resolve_column(name)
        assert compile_filter(parse_filter({name: 1}))({column.root: {column.path: 1}})
