"""Lists judged by SQL as far as it goes equal those judged by ``runtap_query`` alone: rows, order, count and pages."""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert

from runtap_local import jsontext
from runtap_local.ids import Place, place_cursor, split_place_cursor
from runtap_local.store.database import Database
from runtap_local.store.listing import Listing, Lists, understand
from runtap_local.store.pushdown import split
from runtap_local.store.remembered import Remembered
from runtap_local.store.tables import projects, runs, users
from runtap_query import compile_filter, parse_filter, parse_order, sort_documents

RUNS = 300
GONE = 10**9
"""No run has this number."""
TEXTS = [
    "", "a", "A", "ab", "a b", "b", "10", "9", "-1", "1e3", "null", "None", "NaN", "true", "%", "_", "a%", "'", '"',
    "\\", "a\x00", "a\x00b", "\x00", "ä", "a\u0308", "é", "ß", "SS", "İ", "\ue000", "\uffff", "\U00010000", "😀",
    "zz" * 50, "running", "finished", "crashed", "; DROP TABLE runs; --", " a", "a ", "2026-01-01",
]  # fmt: skip
WHOLE = [0, 1, -1, 7, 255, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
NUMBERS = [
    *WHOLE,
    2**63,
    2**64 + 1,
    10**30,
    0.5,
    -0.0,
    1.0,
    7.0,
    1e300,
    9007199254740992.0,
    math.inf,
    -math.inf,
]
ODD: list[Any] = [None, True, False, math.nan, [], [1], ["a"], {}, {"a": 1}]
SECOND = 1_000_000
MOMENTS = [
    base + step
    for base in (0, 1_735_689_600 * SECOND, 1_767_225_600 * SECOND, 1_767_229_200 * SECOND + 123_456)
    for step in (0, 1, 2, 499_999, 500_000, 999_999, SECOND, 59 * SECOND, 3600 * SECOND, 86_400 * SECOND)
]
DATES: list[Any] = [
    "2025-01", "2025-01-01", "2026-01-01", "2026-01-01T01", "2026-01-01T01:00", "2026-01-01T01:00:00Z",
    "2026-01-01T01:00:00.123456", "2026-01-01T01:00:00.123457Z", "2026-01-01T02:00:00+01:00", "1970-01-01",
    "2026-01-02 00:00", "9999-12-31", 0, 0.000001, 1_767_225_600, 1_767_225_600.000001, 1_767_225_600.4999995, -1,
    1e300, -1e300, 1e17,
]  # fmt: skip
TEXT_COLUMNS = [
    "name", "displayName", "state", "group", "jobType", "host", "username", "entity", "project", "sweep", "commit",
    "notes", "description", "program",
]  # fmt: skip
NUMBER_COLUMNS = ["exitcode", "historyLineCount"]
TIME_COLUMNS = ["created_at", "heartbeatAt", "updatedAt"]
FREE_COLUMNS = [
    "config.lr", "config.lr.value", "config.deep.a", "config.deep.value.a", "config.dotted.key", "config._wandb.x",
    "config.both", "summary_metrics.loss", "summary.deep.a", "tags.a", "tags.null", "keys_info.keys.loss", "duration",
    "tags",
]  # fmt: skip
COLUMNS = TEXT_COLUMNS + NUMBER_COLUMNS + TIME_COLUMNS + FREE_COLUMNS


def some_json(draw: random.Random) -> Any:
    return draw.choice([*TEXTS, *NUMBERS, *ODD, [1, "a", None], {"a": draw.choice(NUMBERS)}])


def a_row(draw: random.Random, number: int, user_pks: list[int]) -> dict[str, Any]:
    def text_or_null() -> str | None:
        return draw.choice([None, None, *TEXTS])

    config = {
        "lr": draw.choice([{"value": some_json(draw)}, some_json(draw), {"desc": "x"}]),
        "deep": {"value": {"a": some_json(draw), "value": {"a": some_json(draw)}}},
        "dotted.key": {"value": some_json(draw)},
        "dotted": {"value": {"key": some_json(draw)}},
        "both": {"value": {"value": some_json(draw)}, "desc": None},
        "_wandb": {"value": {"x": 1}},
        "wandb_version": 1,
    }
    summary = {"loss": some_json(draw), "deep": {"a": some_json(draw)}, "deep.a": some_json(draw)}
    for free in (config, summary):
        for key in list(free):
            if draw.random() < 0.3:
                del free[key]
    tags = draw.sample(["a", "b", ",", '"', "null", "ä"], draw.randrange(4))
    return {
        "project_pk": 1,
        "user_pk": draw.choice(user_pks),
        "name": f"{draw.choice(TEXTS)[:8]}{number}",
        "display_name": draw.choice(TEXTS),
        "state": draw.choice(["running", "finished", "crashed", *TEXTS]),
        "created_at": draw.choice(MOMENTS),
        "updated_at": draw.choice(MOMENTS),
        "heartbeat_at": draw.choice(MOMENTS),
        **{name: text_or_null() for name in
           ("group_name", "job_type", "host", "sweep_name", "commit", "notes", "description", "program")},
        "exit_code": draw.choice([None, 0, 1, 255, -1]),
        "history_line_count": draw.choice(WHOLE),
        "tags": jsontext.dumps(tags),
        "config": draw.choice([None, *[jsontext.dumps(config)] * 5]),
        "summary_metrics": draw.choice([None, *[jsontext.dumps(summary)] * 5]),
        "history_keys": draw.choice([None, jsontext.dumps({"loss": {"typeCounts": [], "previousValue": math.nan}})]),
    }  # fmt: skip


def a_document(row: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    """What a run is to ``runtap_query``, written down once more and without haste."""

    def parsed(column: str) -> Any:
        return jsontext.loads(row[column]) if row[column] else {}

    config = {
        key: item["value"] if isinstance(item, dict) and "value" in item else item
        for key, item in parsed("config").items()
        if not key.startswith("_wandb") and key != "wandb_version"
    }
    moments = {name: row[name] / SECOND for name in ("created_at", "heartbeat_at", "updated_at")}
    return {
        **row,
        **moments,
        "group": row["group_name"],
        "sweep": row["sweep_name"],
        "username": names[row["user_pk"]],
        "entity": "people",
        "project": "p",
        "tags": parsed("tags"),
        "config": config,
        "summary_metrics": parsed("summary_metrics"),
        "history_keys": {"keys": parsed("history_keys")},
    }


class World:
    """A project of odd runs in a database, and the same as documents."""

    def __init__(self, connection: Connection, documents: list[dict[str, Any]]) -> None:
        self.connection = connection
        self.documents = documents
        self.lists = Lists(connection, Remembered(), 1)

    def by_hand(self, filters: Any, order: str) -> list[str]:
        """The names that a list should have."""
        matches = compile_filter(parse_filter(json.dumps(filters)))
        found = sort_documents([one for one in self.documents if matches(one)], parse_order(order))
        return [document["name"] for document in found]

    def in_pages(self, listing: Listing, size: int) -> list[str]:
        """The names that its pages have."""
        names: list[str] = []
        place = Place(0)
        while True:
            page = self.lists.page(listing, place, size, ())
            assert page.offset == len(names)
            names += [row.name for row in page.rows]
            if not page.more:
                return names
            assert len(page.rows) == size
            place = split_place_cursor(place_cursor(self.lists.end(listing, page)))

    def behind_a_lost_run(self, listing: Listing, size: int) -> list[str]:
        """The names of the second page when the last run of the first is neither there nor at that offset."""
        page = self.lists.page(listing, Place(0), size, ())
        place = replace(self.lists.end(listing, page), offset=1)
        return [row.name for row in self.lists.page(listing, replace(place, pk=GONE), size, ()).rows]

    def check(self, filters: Any, order: str, size: int) -> None:
        """Both ways say the same."""
        wanted = self.by_hand(filters, order)
        listing = understand(json.dumps(filters), order)
        assert self.in_pages(listing, size) == wanted
        assert self.behind_a_lost_run(listing, size) == wanted[size : 2 * size]
        assert self.lists.count(understand(json.dumps(filters), None)) == len(wanted)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    database = Database(tmp_path_factory.mktemp("lists") / "local.db")
    draw = random.Random(7)
    people = {1: "a", 2: "A", 3: "ä"}
    made = {"created_at": 1, "updated_at": 1}
    rows = [a_row(draw, number, list(people)) for number in range(RUNS)]
    other = {**a_row(draw, RUNS, [1]), "project_pk": 2}
    with database.write() as connection:
        for pk, name in people.items():
            user = {"pk": pk, "name": name, "entity": f"e{pk}", "email": "", "created_at": 1}
            connection.execute(insert(users).values(**user))
        for name in ("p", "q"):
            connection.execute(insert(projects).values(entity="people", name=name, user_pk=1, **made))
        connection.execute(insert(runs), [*rows, other])
    with database.read() as connection:
        yield World(connection, [a_document(row, people) for row in rows])
    database.close()


ORDERING = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])


def operand_of(column: str) -> st.SearchStrategy[Any]:
    """Mostly values that runs have, now and then what makes no sense there."""
    if column in TIME_COLUMNS:
        return st.sampled_from(DATES) | st.sampled_from([moment / SECOND for moment in MOMENTS])
    fitting = NUMBERS if column in NUMBER_COLUMNS else TEXTS
    return st.sampled_from(fitting) | st.sampled_from([*TEXTS, *NUMBERS])


def comparison_of(column: str) -> st.SearchStrategy[dict[str, Any]]:
    operand = operand_of(column)
    moments = column in TIME_COLUMNS
    null = st.none() if moments else st.sampled_from(ODD)
    listed = st.lists(operand | null, max_size=4)
    general = st.one_of(
        operand | null,
        st.builds(lambda name, value: {name: value}, st.sampled_from(["$eq", "$ne"]), operand | null),
        st.builds(lambda name, value: {name: value}, ORDERING, operand),
        st.builds(lambda one, two: {"$gte": one, "$lt": two}, operand, operand),
        st.builds(lambda name, value: {name: value}, st.sampled_from(["$in", "$nin"]), listed),
        st.booleans().map(lambda value: {"$exists": value}),
        operand.map(lambda value: {"$not": {"$eq": value}}),
    )
    of_texts = st.one_of(
        listed.map(lambda values: {"$all": values}),
        st.sampled_from(["a", "^a", "[0-9]$", "(?i)FIN", "."]).map(lambda value: {"$regex": value}),
        st.sampled_from([{"$size": 1}, {"$exists": True, "$ne": None}, {"$contains": "a"}]),
    )
    return (general if moments else general | of_texts).map(lambda operand: {column: operand})


FILTERS = st.recursive(
    st.sampled_from(COLUMNS).flatmap(comparison_of) | st.just({}),
    lambda below: st.one_of(
        st.builds(lambda name, items: {name: items},
                  st.sampled_from(["$and", "$or", "$nor"]), st.lists(below, max_size=3)),
        below.map(lambda item: {"$not": item}),
        st.builds(lambda one, two: {**one, **two}, below, below),
    ),
    max_leaves=6,
)  # fmt: skip
ORDERS = st.builds(lambda sign, column: sign + column, st.sampled_from("+-"), st.sampled_from(COLUMNS))


@settings(max_examples=300)
@given(filters=FILTERS, order=ORDERS, size=st.integers(1, RUNS))
def test_both_ways_of_judging_say_the_same(world: World, filters: Any, order: str, size: int) -> None:
    world.check(filters, order, size)


@settings(max_examples=300)
@given(comparison=st.sampled_from(TEXT_COLUMNS + NUMBER_COLUMNS + TIME_COLUMNS).flatmap(comparison_of))
def test_every_comparison_of_plain_columns(world: World, comparison: Any) -> None:
    world.check(comparison, "+name", RUNS)
    world.check({"$nor": [comparison]}, "+name", RUNS)


@pytest.mark.parametrize("column", NUMBER_COLUMNS)
@pytest.mark.parametrize("operator", ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"])
def test_every_number(world: World, column: str, operator: str) -> None:
    bounds = [*NUMBERS, math.nan, "1"]
    for operand in [*bounds, None, True, False, [1], {}] if operator in ("$eq", "$ne") else bounds:
        world.check({column: {operator: operand}}, "+name", RUNS)
        world.check({column: {"$all": [operand]}}, "+name", RUNS)
        world.check({"$nor": [{column: {operator: operand}}]}, "+name", RUNS)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("sign", "+-")
def test_every_order(world: World, column: str, sign: str) -> None:
    world.check({}, sign + column, 70)


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({}, {}),
        ({"state": "finished", "group": {"$ne": "a"}, "created_at": {"$gt": "2026-01-01"}}, {}),
        ({"state": "finished", "config.lr": 1}, {"config.lr": 1}),
        ({"$nor": [{"state": "finished"}, {"tags": "a"}]}, {"$not": {"tags": "a"}}),
        ({"$or": [{"state": "finished"}, {"tags": "a"}]}, {"$or": [{"state": "finished"}, {"tags": "a"}]}),
        ({"name": {"$regex": "a"}, "username": "b"}, {"name": {"$regex": "a"}}),
        ({"name": "\ud800"}, {"name": "\ud800"}),
    ],
)
def test_what_is_left_to_be_judged(filters: Any, left: Any) -> None:
    assert split(parse_filter(filters)).rest == parse_filter(left)


@pytest.mark.parametrize(
    ("filters", "by_sql"),
    [
        ({"name": {"$in": [f"n{i}" for i in range(4990)] + ["", "a1", "b2"]}}, True),
        ({"name": {"$in": [f"n{i}" for i in range(6000)] + ["a1"]}}, False),
        ({"$or": [{"group": {"$ne": str(i)}} for i in range(198)] + [{"state": "running"}]}, True),
        ({"$and": [{"$or": [{"group": {"$ne": str(i)}}, {"notes": None}]} for i in range(99)]}, True),
        ({"$or": [{"group": str(i)} for i in range(300)] + [{"state": "running"}]}, False),
        ({"created_at": {"$in": [i * 86_400 for i in range(199)]}}, True),
        ({"created_at": {"$nin": [i * 86_400 for i in range(300)]}}, False),
    ],
)
def test_filters_too_large_for_sql_are_judged_all_the_same(world: World, filters: Any, by_sql: bool) -> None:
    assert understand(json.dumps(filters), None).by_sql is by_sql
    world.check(filters, "+created_at", 100)


def test_runs_of_other_projects_are_not_listed(world: World) -> None:
    other = Lists(world.connection, world.lists.remembered, 2)
    for filters in ("{}", '{"config._wandb": null}', '{"state": {"$exists": true}}'):
        assert other.count(understand(filters, None)) == 1
        assert len(other.page(understand(filters, "+tags"), Place(0), 10, ()).rows) == 1
