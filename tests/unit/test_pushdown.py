"""What a server is given of a query, and what is left to us."""

from __future__ import annotations

from typing import Any

import pytest

from runtap_query import filter_text, normalised, order_text, parse_filter, parse_order
from runtapd.faults import InvalidRequest
from runtapd.upstream.features import DAY_S, ServerFeatures
from runtapd.upstream.pushdown import Servers, Split, Trust, split, weaker


def parted(filters: Any, order: str = "", trust: Trust = Trust.KEYS, *, sorts: bool = True) -> Split:
    return split(normalised(parse_filter(filters)), parse_order(order), trust, sorts=sorts)


@pytest.mark.parametrize(
    ("filters", "sent"),
    [
        ({}, "{}"),
        ({"state": "finished"}, '{"state":"finished"}'),
        ({"state": {"$ne": "running"}}, '{"state":{"$ne":"running"}}'),
        ({"display_name": {"$in": ["a", "b"]}}, '{"displayName":{"$in":["a","b"]}}'),
        ({"tags": "base"}, '{"tags":"base"}'),
        ({"jobType": "train", "user": "ann"}, '{"jobType":"train","username":"ann"}'),
        ({"created_at": {"$gt": "2024-05-31T12"}}, '{"createdAt":{"$gt":"2024-05-31T12"}}'),
        ({"config.lr": 0.1}, '{"config.lr.value":0.1}'),
        ({"config.opt.value": "adam"}, '{"config.opt.value":"adam"}'),
        ({"summary.loss": {"$lt": 1}}, '{"summary_metrics.loss":{"$lt":1}}'),
        ({"$or": [{"state": "failed"}, {"config.n": 1}]}, '{"$or":[{"config.n.value":1},{"state":"failed"}]}'),
        ({"host": {"$regex": "^node"}}, '{"host":{"$regex":"^node"}}'),
        ({"$nor": [{"host": "a"}]}, '{"host":{"$ne":"a"}}'),
    ],
)  # fmt: skip
def test_what_all_servers_judge_alike_is_given_to_them(filters: Any, sent: str) -> None:
    found = parted(filters)
    assert found.whole and found.filters_text == sent and filter_text(found.rest) == "{}"


@pytest.mark.parametrize(
    "filters",
    [
        {"config.opt.name": "adam"},
        {"config.a.b.value": 1},
        {"summary_metrics.val/acc": {"$gt": 1}},
        {"summary_metrics.loss": {"$exists": True}},
        {"summary_metrics.loss": "NaN"},
        {"config.flag": True},
        {"config.none": None},
        {"group": {"$ne": "g1"}},
        {"group": None},
        {"group": ""},
        {"tags": {"$ne": "x"}},
        {"tags": {"$all": ["a", "b"]}},
        {"tags.x": True},
        {"display_name": {"$regex": "^a"}},
        {"created_at": {"$gt": 1717200000}},
        {"created_at": "2024-05"},
        {"duration": {"$gt": 5}},
        {"keys_info.keys.loss": {"$exists": True}},
        {"$nor": [{"state": "a", "name": "b"}]},
        {"$or": [{"state": "failed"}, {"config.a.b": 1}]},
        {"$or": []},
    ],
)
def test_what_servers_refuse_or_judge_otherwise_is_left_to_us(filters: Any) -> None:
    found = parted({"$and": [filters, {"state": "finished"}]})
    assert not found.whole and found.filters_text == '{"state":"finished"}'
    assert found.rest == normalised(parse_filter(filters))
    assert found.order_text == "-created_at"


def test_orders_but_that_of_creation_are_left_to_us() -> None:
    assert parted({}, "+created_at").order_text == "+created_at"
    for order in ("+summary.loss", "-config.lr", "+name", "-heartbeat_at"):
        found = parted({}, order)
        assert not found.whole and found.order_text == "-created_at" and found.order == parse_order(order)
    assert not parted({}, "+created_at", sorts=False).whole
    assert parted({}, "+host").whole


def test_the_local_server_is_given_everything_as_it_is() -> None:
    found = parted({"config.a.b": {"$ne": 1}, "createdAt": 7}, "+summary.x/y", Trust.EVERYTHING)
    assert found.whole and found.filters_text == '{"config.a.b":{"$ne":1},"created_at":7}'
    assert found.order_text == "+summary_metrics.x/y" and not found.checked


def test_what_neither_side_can_answer_is_refused() -> None:
    for filters in ({"$or": [{"host": "a"}, {"config.a.b": 1}]}, {"$nor": [{"host": "a", "state": "b"}]}):
        with pytest.raises(InvalidRequest, match="only the server can judge host") as caught:
            parted(filters)
        assert (caught.value.reason, caught.value.field) == ("INVALID_FILTER", "filter_json")
    with pytest.raises(InvalidRequest, match="only the server can sort by host") as caught:
        parted({"config.a.b": 1}, "+host")
    assert (caught.value.reason, caught.value.field) == ("INVALID_ORDER", "order")


def test_a_server_that_refuses_is_given_less_until_nothing_is_left() -> None:
    filters = normalised(parse_filter({"summary.loss": 1, "state": "failed", "host": "a"}))
    order = parse_order("-created_at")
    first = split(filters, order, Trust.KEYS)
    second = weaker(first, filters, order, sorts=True)
    assert second is not None and second.filters_text == '{"host":"a","state":"failed"}'
    third = weaker(second, filters, order, sorts=True)
    assert (
        third is not None
        and third.filters_text == '{"host":"a"}'
        and order_text(third.order) == "-created_at"
    )
    assert weaker(third, filters, order, sorts=True) is None


def test_what_a_server_refused_is_remembered_for_a_day() -> None:
    now = [1000.0]
    servers = Servers(lambda server: server == "local", ServerFeatures(clock=lambda: now[0]))
    query = (normalised(parse_filter({"config.lr": 1})), parse_order("-created_at"))
    assert servers.split("a", *query).trust is Trust.KEYS
    assert servers.split("local", *query).trust is Trust.EVERYTHING
    servers.took_only("a", Trust.COLUMNS)
    servers.took_only("local", Trust.KEYS)
    assert servers.split("local", *query).trust is Trust.KEYS
    servers.does_not_sort("a")
    assert servers.split("a", *query).trust is Trust.COLUMNS and not servers.sorts("a")
    assert servers.split("b", *query).trust is Trust.KEYS and servers.sorts("b")
    now[0] += DAY_S
    assert servers.split("a", *query).trust is Trust.KEYS and servers.sorts("a")
