"""SQL's LIKE over file names, held against a regular expression that says the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtap_local.graphql.like import parse_like


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("%", ["", "a", "media/x\ny"], []),
        ("", [""], ["a"]),
        ("%.json", ["a.json", ".json", "media/table/x.table.json"], ["a.json.gz", "ajson", "a.JSON"]),
        ("media/%", ["media/", "media/a/b"], ["media", "xmedia/a", "Media/a"]),
        ("_.txt", ["a.txt", "ü.txt", "\U0001f40c.txt"], [".txt", "ab.txt"]),
        ("a%b%c", ["abc", "a-b-bb-c"], ["acb", "abcd"]),
        ("%%_%", ["a", "ab"], [""]),
        (r"100\%", ["100%"], ["100", "1000", r"100\%"]),
        (r"a\_b", ["a_b"], ["a-b", r"a\_b"]),
        (r"a\\%", ["a\\", "a\\b"], ["ab"]),
        ("a\\", ["a\\"], ["a"]),
        ("[a-z]*.+", ["[a-z]*.+"], ["b.+", "abc"]),
        ("any", ["any"], ["", "x"]),
    ],
)
def test_what_patterns_match(pattern: str, matching: list[str], others: list[str]) -> None:
    like = parse_like(pattern)
    assert all(like.matches(name) and name.startswith(like.prefix) for name in matching)
    assert not any(like.matches(name) for name in others)


def as_expression(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression, from its definition."""
    parts, escaped = [], False
    for letter in pattern:
        if escaped:
            parts.append(re.escape(letter))
            escaped = False
        elif letter == "\\":
            escaped = True
        else:
            parts.append({"%": ".*", "_": "."}.get(letter) or re.escape(letter))
    return re.compile("".join(parts) + ("\\\\" if escaped else ""), re.DOTALL)


@given(st.text("ab%_\\", max_size=8), st.text("ab%_\\", max_size=8))
def test_it_says_what_a_regular_expression_says(pattern: str, name: str) -> None:
    like = parse_like(pattern)
    assert like.matches(name) == bool(as_expression(pattern).fullmatch(name))
    if like.matches(name):
        assert name.startswith(like.prefix)


def test_many_wildcards_do_not_run_away() -> None:
    assert not parse_like("%a" * 200 + "b").matches("a" * 1000)
