"""An example for every operator, every column and every spelling: whoever adds one without an example is told here."""

from __future__ import annotations

from typing import Any

import pytest

from runtap_query import COMBINING, OPERATORS, QueryError, compile_filter, parse_filter, sort_documents
from runtap_query.columns import COLUMNS, JSON_ROOTS, SPELLINGS
from runtap_query.patterns import OPTIONS
from tests.support.query_examples import (
    COLUMN_EXAMPLES,
    IMPLIED_EXAMPLES,
    JSON_EXAMPLES,
    OPERATOR_EXAMPLES,
    OPTION_EXAMPLES,
    RUNS,
)


def found(filters: dict[str, Any]) -> str:
    """The runs that a filter finds."""
    matches = compile_filter(parse_filter(filters))
    return " ".join(run["name"] for run in RUNS if matches(run))


def test_everything_has_an_example() -> None:
    assert {operator for operator, _, _ in OPERATOR_EXAMPLES} == {*OPERATORS, *COMBINING}
    assert set(OPTION_EXAMPLES) == set(OPTIONS)
    assert set(COLUMN_EXAMPLES) == set(COLUMNS)
    assert {
        (spelling, column)
        for column, (spellings, _) in COLUMN_EXAMPLES.items()
        for spelling in spellings.split()
    } == set(SPELLINGS.items())
    assert set(JSON_EXAMPLES) == {*JSON_ROOTS, "tags"}


@pytest.mark.parametrize(("operator", "filters", "expected"), OPERATOR_EXAMPLES)
def test_operators(operator: str, filters: dict[str, Any], expected: str) -> None:
    assert operator in str(filters)
    assert found(filters) == expected


@pytest.mark.parametrize(("filters", "expected"), IMPLIED_EXAMPLES)
def test_implied_operators(filters: dict[str, Any], expected: str) -> None:
    assert found(filters) == expected


@pytest.mark.parametrize("letter", OPTION_EXAMPLES)
def test_options_of_patterns(letter: str) -> None:
    filters: dict[str, dict[str, str]] = OPTION_EXAMPLES[letter]
    assert found(filters) == "one"
    assert found({column: {"$regex": operand["$regex"]} for column, operand in filters.items()}) == ""


@pytest.mark.parametrize(
    ("spelling", "operand"),
    [
        (spelling, operand)
        for spellings, operand in (*COLUMN_EXAMPLES.values(), *JSON_EXAMPLES.values())
        for spelling in spellings.split()
    ],
)
def test_columns(spelling: str, operand: Any) -> None:
    assert found({spelling: operand}) == "one"
    assert found({"$nor": [{spelling: operand}]}) == "two"
    # Every column orders, too: a value stands before none, and lists have no order.
    for sign in "+-":
        assert {run["name"] for run in sort_documents(RUNS, sign + spelling)} == {"one", "two"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stat", "'state'"),
        ("createAt", "'createdAt'"),
        ("confg.lr", "'config.<key>'"),
        ("summry_metrics.loss", "'summary_metrics.<key>'"),
        ("id", "'name'"),
        ("run_id", "'name'"),
        # The names of the web pages, which the SDK's reports turn into those above before they send them.
        ("ID", "'name'"),
        ("Name", "'displayName'"),
        ("CreatedTimestamp", "'createdAt'"),
        ("Runtime", "'runtime'"),
        ("User", "'user'"),
        ("Hostname", "'host'"),
        ("JobType", "'jobType'"),
        ("UsingArtifact", "'inputArtifacts'"),
        ("OutputtingArtifact", "'outputArtifacts'"),
        ("metrics.loss", "'summary_metrics.<key>'"),
    ],
)
def test_names_that_are_nearly_right(name: str, expected: str) -> None:
    with pytest.raises(QueryError, match=f"unknown column '{name}'; did you mean {expected}"):
        parse_filter({name: 1})
