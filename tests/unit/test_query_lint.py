"""What is legal but surely not meant is said, with what would be right; what is meant is not."""

from __future__ import annotations

from typing import Any

import pytest

from runtap_query import lint, parse_filter


def warnings(filters: dict[str, Any], order: str = "") -> list[str]:
    return lint(filters, parse_filter(filters), order)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"state": "Finished"}, "the state 'Finished'; did you mean 'finished'?"),
        ({"state": {"$in": ["running", "finnished"]}}, "did you mean 'finished'?"),
        ({"state": "zzz"}, "known are running, finished"),
        ({"$not": {"state": "aborted"}}, "'aborted' is an old name of 'killed'; both are looked for"),
        ({"config.lr": {"$in": []}}, "$in on config.lr has an empty list and matches no run"),
        ({"tags": {"$nin": []}}, "matches every run"),
        ({"tags": {"$all": []}}, "matches no run"),
        ({"config.lr": "0.1"}, "numbers are not equal to texts; write 0.1 without quotes"),
        ({"summary_metrics.loss": {"$lt": "1e-3"}}, "not ordered with texts; write 1e-3 without quotes"),
        ({"duration": {"$gt": "100"}}, "duration, a number, with the text '100'"),
        ({"group": 7}, "group, a text, with the number 7, which it never is; write it in quotes"),
        ({"created_at": {"$gt": 1717200000000}}, "these look like milliseconds"),
        ({"$or": [{"summary.loss": 1}]}, "in wandb.Api(), it is 'summary_metrics.loss'"),
        ({"config.lr": {"lt": 1}}, "an object that has the key 'lt'; the operator is '$lt'"),
    ],
)
def test_what_is_not_meant_is_said(filters: dict[str, Any], said: str) -> None:
    (text,) = warnings(filters)
    assert said in text


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"state": {"$in": ["running", "killed"]}},
        {"state": {"$regex": "^Fin"}},
        {"config.lr": 0.1, "config.name": "adam", "config.flag": True, "config.none": None},
        {"created_at": {"$gt": "2024-05"}, "duration": {"$gt": 10}},
        {"tags": {"$in": ["2", "b"]}},
        {"display_name": {"$contains": "7"}, "config.layers": {"$size": 2}},
    ],
)
def test_what_is_meant_is_not(filters: dict[str, Any]) -> None:
    assert warnings(filters, "-created_at") == []


def test_orders_too() -> None:
    assert warnings({}, "+summary_metrics.loss") == []
    (unsigned,) = warnings({}, "created_at")
    assert unsigned == "order 'created_at' has no sign and goes downwards; write +created_at to go upwards"
    (unordered,) = warnings({}, "-tags")
    assert "names a list, and lists have no order" in unordered
    assert "ends in a direction" in warnings({}, "-config.lr desc")[0]
    (summary,) = warnings({}, "-summary.loss")
    assert "it is 'summary_metrics.loss'" in summary
