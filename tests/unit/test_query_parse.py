"""What is wrong with a filter is said by its name, with the nearest that would be right; and moments are read."""

from datetime import UTC, datetime
from typing import Any

import pytest

from runtap_query import And, Compare, QueryError, parse_filter, parse_moment, resolve_column


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested deeper than 50"),
        ("[]", "must be an object"),
        ("3", "must be an object"),
        ({"stat": "x"}, "unknown column 'stat'; did you mean 'state'?"),
        ({"confg.lr": 1}, "did you mean 'config.<key>'?"),
        ({"sumary_metrics.loss": 1}, "did you mean 'summary_metrics.<key>'?"),
        ({"zzz": 1}, "known columns are"),
        ({"config": 1}, "needs a key after it"),
        ({"config.": 1}, "needs a key after it"),
        ({"state": {"$eqq": 1}}, "unknown operator '$eqq' on state; did you mean $eq?"),
        ({"state": {"$zz": 1}}, "known are $eq"),
        ({"state": {"$eq": 1, "other": 2}}, "unknown operator 'other'"),
        ({"$eq": {"state": 1}}, "belongs inside a column"),
        ({"$andd": []}, "did you mean $and?"),
        ({"$and": {"state": 1}}, "$and needs a list"),
        ({"$or": [1]}, "must be an object"),
        ({"state": {"$in": "x"}}, "$in on state needs a list"),
        ({"state": {"$exists": "yes"}}, "needs true or false"),
        ({"tags": {"$size": -1}}, "whole number"),
        ({"tags": {"$size": True}}, "whole number"),
        ({"config.a": {"$gt": None}}, "needs a number, a text or a date"),
        ({"config.a": {"$gt": [1]}}, "needs a number, a text or a date"),
        ({"created_at": {"$gt": "yesterday"}}, "needs a date such as"),
        ({"created_at": {"$in": ["2022-01-01", "x"]}}, "needs a date such as"),
        ({"created_at": "2022-13-01"}, "needs a date such as"),
        ({"state": {"$regex": "("}}, "not a valid pattern"),
        ({"state": {"$regex": 5}}, "needs a text"),
        ({"state": {"$regex": "a" * 4001}}, "longer than"),
        ({"state": {"$regex": "a", "$options": "q"}}, "unknown letter 'q'"),
        ({"state": {"$options": "i"}}, "stands without $regex"),
        ({"order": "+summary.loss"}, "give it as the order argument"),
    ],
)
def test_what_is_wrong_is_named(filters: Any, expected: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_filter(filters)
    assert expected in str(caught.value)


def test_nesting_is_bounded() -> None:
    filters: dict[str, Any] = {"state": "x"}
    for _ in range(60):
        filters = {"$and": [filters]}
    with pytest.raises(QueryError, match="nested deeper"):
        parse_filter(filters)
    operand: dict[str, Any] = {"$eq": 1}
    for _ in range(60):
        operand = {"$not": operand}
    with pytest.raises(QueryError, match="nested deeper"):
        parse_filter({"config.a": operand})


def test_the_tree_is_small() -> None:
    assert parse_filter({}) == parse_filter(None) == parse_filter("") == And(())
    assert parse_filter('{"state": "x"}') == Compare(resolve_column("state"), "$eq", "x")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("createdAt", "created_at"),
        ("created_at", "created_at"),
        ("displayName", "display_name"),
        ("user", "username"),
        ("summary.a.b", "summary_metrics.a.b"),
        ("summaryMetrics.a/b", "summary_metrics.a/b"),
        ("config.a.value", "config.a.value"),
        ("keys_info.keys.loss", "history_keys.loss"),
        ("tags.x", "tags.x"),
        ("sweepName", "sweep"),
        ("heartbeatAt", "heartbeat_at"),
    ],
)
def test_columns_have_many_spellings(name: str, shown: str) -> None:
    assert str(resolve_column(name)) == shown


@pytest.mark.parametrize(
    ("text", "year_to_second", "width"),
    [
        ("2022-02", (2022, 2, 1), 28 * 86400),
        ("2022-02-08", (2022, 2, 8), 86400),
        ("2022-02-08T10", (2022, 2, 8, 10), 3600),
        ("2022-02-08 10:30", (2022, 2, 8, 10, 30), 60),
        ("2022-02-08T10:30:15", (2022, 2, 8, 10, 30, 15), 1),
        ("2022-02-08T10:30:15Z", (2022, 2, 8, 10, 30, 15), 1),
        ("2022-02-08T10:30:15.250000Z", (2022, 2, 8, 10, 30, 15, 250000), 1e-6),
        ("2022-02-08T10:30:15.25+02:00", (2022, 2, 8, 8, 30, 15, 250000), 0.01),
        ("2022-02-08T10:30:15-0130", (2022, 2, 8, 12, 0, 15), 1),
    ],
)
def test_moments_in_all_forms(text: str, year_to_second: tuple[int, ...], width: float) -> None:
    moment = parse_moment(text)
    assert moment is not None
    assert moment.start == datetime(*year_to_second, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]
    assert moment.end - moment.start == pytest.approx(width, abs=1e-6)


def test_moments_as_numbers_and_what_is_none() -> None:
    moment = parse_moment(1644316200.5)
    assert moment is not None and moment.start == moment.end == 1644316200.5
    assert parse_moment(datetime(2022, 1, 1)) == parse_moment(datetime(2022, 1, 1, tzinfo=UTC))
    nothing: list[object] = [True, None, float("nan"), "", "x", "2022-02-30", "22-01-01", [], {}]
    for value in nothing:
        assert parse_moment(value) is None
