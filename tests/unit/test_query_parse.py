"""What is wrong with a filter is said by its name, with the nearest that would be right; and moments are read."""

from __future__ import annotations

from typing import Any

import pytest

from runtap_query import And, Compare, Not, Or, QueryError, parse_filter, resolve_column


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
        ({"zzz": 1}, "other known columns are commit, created_at"),
        ({"acc/top1": 1}, "'summary_metrics.acc/top1', what it was given 'config.acc/top1'"),
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
        ({"order": "+summary.loss"}, "order argument beside the filters, order='+summary.loss'"),
        ({"order": 5}, "unknown column 'order'"),
        ({"state": {"$not": "running"}}, "to exclude a value use $ne"),
        ({"state": {"$not": {"x": 1}}}, "$not on state needs operators"),
        ({"state": {"$not": {}}}, "$not on state needs operators"),
        (
            {"state": {"$in": [{"$regex": "x"}]}},
            "$in on state compares with values, and $regex is an operator",
        ),
        ({"state": {"$ne": {"$in": ["x"]}}}, "$ne on state compares with values, and $in is an operator"),
        ({"state": {"$all": "x"}}, "$all on state needs a list"),
        ({"state": {"$contains": None}}, "needs one text or number"),
        ({"tags": {"$contains": ["x"]}}, "for several use $all"),
        ({"config.flag": {"$gte": True}}, "needs a number, a text or a date, not true"),
        ({"created_at": {"$regex": "2022"}}, "$regex does not work on created_at, which is a date"),
        ({"created_at": {"$size": 1}}, "$size does not work on created_at"),
        ({"heartbeat_at": {"$contains": "2022"}}, "{'heartbeat_at': '2024-05'} for all of May"),
        ({"created_at": {"$all": ["2022-01-01"]}}, "$all does not work on created_at"),
        ({"state": {"$elemMatch": {}}}, "unknown operator '$elemMatch' on state; known are"),
        ({"state": {"$or": []}}, "unknown operator '$or' on state"),
        ({"keys_info.keys": 1}, "as in 'keys_info.keys.<metric>'"),
        ({"tags.": 1}, "unknown column 'tags.'"),
        ({"state.x": 1}, "unknown column 'state.x'"),
    ],
)
def test_what_is_wrong_is_named(filters: Any, expected: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_filter(filters)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("filters", "path", "says"),
    [
        ({"$and": [{"state": "x"}, {"stat": 1}]}, "$and[1]", True),
        ({"$or": [{"$and": [{"config.lr": {"$gtt": 1}}]}]}, "$or[0].$and[0].config.lr.$gtt", True),
        ({"$nor": [None, {"state": {"$not": {"$in": 5}}}]}, "$nor[1].state.$not.$in", True),
        ({"$and": [{"$or": 5}]}, "$and[0]", True),
        ({"$not": {"$not": []}}, "$not.$not", True),
        ({"$and": [3]}, "$and[0]", True),
        # At the outermost level the message itself names the column.
        ({"config.lr": {"$gtt": 1}}, "config.lr.$gtt", False),
        ({"state": {"$size": "x"}}, "state.$size", False),
        ({"created_at": "x"}, "created_at", False),
        ({"stat": "x"}, "", False),
        ("{", "", False),
    ],
)
def test_the_place_is_named(filters: Any, path: str, says: bool) -> None:
    with pytest.raises(QueryError) as caught:
        parse_filter(filters)
    assert caught.value.path == path
    assert str(caught.value).endswith(f" (at {path})") is says


def test_the_tree_is_small() -> None:
    state, lr = resolve_column("state"), resolve_column("config.lr")
    assert parse_filter({}) == parse_filter(None) == parse_filter("") == parse_filter(" ") == And(())
    assert (
        parse_filter("null")
        == parse_filter({"$or": [{"$and": []}]})
        == parse_filter({"$and": [{}]})
        == And(())
    )
    finished = Compare(state, "$eq", "finished")
    assert (
        parse_filter('{"state": "finished"}') == parse_filter({"$and": [{"state": "finished"}]}) == finished
    )
    assert parse_filter({"$nor": [{"state": "finished"}]}) == Not(finished)
    assert parse_filter({"$or": [{"state": "finished"}, {"config.lr": {"$gt": 1, "$lt": 2}}]}) == Or(
        (finished, And((Compare(lr, "$gt", 1), Compare(lr, "$lt", 2))))
    )
    assert parse_filter({"config.lr": {"$not": {"$in": [1, 2]}}}) == Not(Compare(lr, "$in", (1, 2)))
    assert parse_filter({"config.lr": {"$exists": 0}}) == Compare(lr, "$exists", False)


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
