"""Filters and orders over HTTP, as clients send them: every operator and column, what is refused, and the SDK's own.

What they mean in every corner is held in ``tests/unit/test_query_*``; here it is that the server asks that language.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from runtap_local.program.home import Home
from runtap_local.program.manage import add_user
from runtap_local.store.database import Database
from runtap_local.store.tables import projects, runs
from runtap_query import resolve_column
from tests.local.client import Client
from tests.support.local_server import LocalServer, log_run
from tests.support.query_examples import (
    COLUMN_EXAMPLES,
    IMPLIED_EXAMPLES,
    JSON_EXAMPLES,
    OPERATOR_EXAMPLES,
    OPTION_EXAMPLES,
    RUNS,
)

SENT_AS = {
    "display_name": "displayName",
    "tags": "tags",
    "group": "groupName",
    "job_type": "jobType",
    "host": "host",
    "sweep": "sweep",
    "commit": "commit",
    "notes": "notes",
    "description": "description",
    "program": "jobProgram",
    "summary_metrics": "summaryMetrics",
}
# All runs of a list have these in common, and no run here has artifacts.
EVERYBODYS = {"username", "entity", "project"}
NOBODYS = {"input_artifacts", "output_artifacts"}


def put_moments(server: LocalServer, client: Client, by_name: dict[str, dict[str, Any]]) -> None:
    """Give runs the moments that only the clock gives, in the database itself."""
    database = Database(Home(server.home).database)
    with database.write() as connection:
        own = select(projects.c.pk).where(projects.c.entity == client.entity)
        for name, values in by_name.items():
            found = (runs.c.name == name) & runs.c.project_pk.in_(own)
            in_us = {column: round(seconds * 1_000_000) for column, seconds in values.items()}
            connection.execute(update(runs).where(found).values(in_us))
    database.close()


def make(client: Client, document: dict[str, Any]) -> None:
    """Make the run that a document describes."""
    sent = {SENT_AS[key]: value for key, value in document.items() if key in SENT_AS}
    wrapped = {key: {"value": value} for key, value in document.get("config", {}).items()}
    client.upsert(document["name"], config=wrapped, **sent)


@pytest.fixture(scope="module")
def two(server: LocalServer) -> Client:
    """A user who has the two runs of the examples."""
    user, key = add_user(Home(server.home), "u" + uuid.uuid4().hex[:10], None)
    client = Client(server.url, user.entity, key, project="digits")
    one, two = RUNS
    make(client, one)
    make(client, two)
    client.log("one", 0, [{"_step": step, "loss": 0.5} for step in range(one["history_line_count"])])
    metrics = json.dumps(one["system_metrics"])
    events = {"wandb-events.jsonl": {"offset": 0, "content": [metrics]}}
    client.stream("one", files=events, complete=True, exitcode=one["exit_code"])
    moments = ("created_at", "heartbeat_at", "updated_at")
    written = {run["name"]: {name: run.get(name, run["created_at"]) for name in moments} for run in RUNS}
    put_moments(server, client, written)
    return client


def found(client: Client, filters: Any, order: str | None = "+created_at") -> str:
    """The runs a filter finds."""
    return " ".join(client.names(filters, order))


@pytest.mark.parametrize(("operator", "filters", "expected"), OPERATOR_EXAMPLES)
def test_operators(two: Client, operator: str, filters: dict[str, Any], expected: str) -> None:
    assert found(two, filters) == expected
    assert two.runs(filters=json.dumps(filters))["runCount"] == len(expected.split())


def test_implied_operators_and_options(two: Client) -> None:
    for filters, expected in IMPLIED_EXAMPLES:
        assert found(two, filters) == expected, filters
    for letter, filters in OPTION_EXAMPLES.items():
        assert found(two, filters) == "one", letter
    for nothing in (None, "null", "{}", ""):
        listed = two.runs(filters=nothing)["runs"]["edges"]
        assert len(listed) == 2, nothing


@pytest.mark.parametrize("column", COLUMN_EXAMPLES)
def test_columns(two: Client, column: str) -> None:
    spellings, operand = COLUMN_EXAMPLES[column]
    if column in ("username", "entity"):
        operand = two.entity
    for spelling in spellings.split():
        expected = "one two" if column in EVERYBODYS else "" if column in NOBODYS else "one"
        assert found(two, {spelling: operand}) == expected
        opposite = "" if column in EVERYBODYS else "one two" if column in NOBODYS else "two"
        assert found(two, {"$nor": [{spelling: operand}]}) == opposite
        # What run "two" does not have is last both ways, and without a difference the ids decide.
        up, down = found(two, {}, "+" + spelling), found(two, {}, "-" + spelling)
        both_have_it = column in ("name", "display_name", "state", "duration", "history_line_count")
        assert {up, down} == (
            {"one two", "two one"} if both_have_it or column.endswith("_at") else {"one two"}
        )


@pytest.mark.parametrize("root", JSON_EXAMPLES)
def test_free_form_columns(two: Client, root: str) -> None:
    spellings, operand = JSON_EXAMPLES[root]
    for spelling in spellings.split():
        assert found(two, {spelling: operand}) == "one"
        assert found(two, {spelling: {"$exists": False}}) == "two"
        assert found(two, {}, "+" + spelling) == found(two, {}, "-" + spelling) == "one two"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"createdAt": {"$gt": "2022-02-08"}}, "one two"),
        ({"createdAt": {"$gt": "2022-02-08T10", "$lt": "2022-02-08T11"}}, "one"),
        (
            {"$and": [{"created_at": {"$lt": "2022-02-09T11"}}, {"created_at": {"$gt": "2022-02-08T11"}}]},
            "two",
        ),
        ({"createdAt": {"$gte": "2022-02-08T10:30:00Z", "$lt": "2022-02-09T10:30:00"}}, "one"),
        ({"createdAt": {"$lte": "2022-02-08T11:30:00.000000+01:00"}}, "one"),
        ({"createdAt": "2022-02"}, "one two"),
        ({"createdAt": {"$in": ["2022-02-09", "2023-01-01"]}}, "two"),
        ({"createdAt": {"$ne": "2022-02-09"}}, "one"),
        ({"createdAt": {"$gt": 1644316200}}, "two"),
        ({"createdAt": 1644316200}, "one"),
        # A filter on all tags with a date in seconds: a public report has the cloud answer it with HTTP 500.
        ({"tags": {"$all": ["base", "v2"]}, "createdAt": {"$gte": 1644316200}}, "one"),
        ({"duration": {"$gt": 3600, "$lt": 3601}}, "one"),
    ],
)
def test_dates(two: Client, filters: dict[str, Any], expected: str) -> None:
    assert found(two, filters) == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"tags": "base"}, "one"),
        ({"tags": {"$in": ["v2", "v3"]}}, "one"),
        ({"tags": ["base"]}, ""),
        # How the web pages write "does not have the tag".
        ({"$or": [{"tags": None}, {"tags": {"$ne": "base"}}]}, "two"),
        ({"tags": {"$nin": ["base"]}}, "two"),
        ({"tags": None}, "two"),
        ({"tags": []}, "two"),
        ({"tags": {"$size": 0}}, "two"),
        ({"tags": {"$exists": True}}, "one"),
        ({"tags.v2": {"$exists": True}}, "one"),
    ],
)
def test_tags(two: Client, filters: dict[str, Any], expected: str) -> None:
    assert found(two, filters) == expected


@pytest.mark.parametrize(
    ("filters", "order", "expected"),
    [
        ({"stat": "x"}, None, "unknown column 'stat'; did you mean 'state'?"),
        ({"id": "x"}, None, "unknown column 'id'; did you mean 'name'?"),
        ({"$or": [{"confg.lr": 1}]}, None, "did you mean 'config.<key>'? (at $or[0])"),
        ({"config.lr": {"$gtt": 1}}, None, "unknown operator '$gtt' on config.lr; did you mean $gt?"),
        ({"$adn": []}, None, "did you mean $and?"),
        (
            {"order": "+summary.loss"},
            None,
            "give it as the order argument beside the filters, order='+summary.loss'",
        ),
        ({"created_at": {"$gt": "yesterday"}}, None, "needs a date such as '2024-05-31'"),
        ({"name": {"$regex": "("}}, None, "$regex on name is not a valid pattern: missing ): ("),
        ({"name": {"$regex": "a(?!b)"}}, None, "RE2 has no look-around"),
        ({"name": {"$in": "abc"}}, None, "$in on name needs a list, not 'abc'"),
        (
            {"config.a": [[[[]]]] * 3 + [json.loads("[" * 60 + "]" * 60)]},
            None,
            "nested deeper than 50 levels",
        ),
        ([], None, "a filter must be an object"),
        ({}, "+sumary.loss", "order: unknown column 'sumary.loss'; did you mean 'summary.<key>'?"),
        ({}, "-", "order '-' names no column"),
        ({}, "config", "order: column 'config' needs a key after it, as in 'config.<key>'"),
    ],
)
def test_what_makes_no_sense_is_a_bad_request(
    two: Client, filters: Any, order: str | None, expected: str
) -> None:
    document = (
        'query Q($e: String, $f: JSONString, $o: String) { project(name: "digits", entityName: $e) { %s } }'
    )
    listed = document % "runs(filters: $f, order: $o) { edges { cursor } }"
    answer = two.post(listed, e=two.entity, f=json.dumps(filters), o=order)
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    assert expected in error["message"] and error["extensions"]["code"]
    if order is None:  # the count is asked on its own by len(runs)
        counted = document.replace(", $o: String", "") % "runCount(filters: $f)"
        status, text = two.errors(counted, e=two.entity, f=json.dumps(filters))
        assert status == 400 and expected in text


def test_filters_that_are_no_json_are_bad_requests(two: Client) -> None:
    for text, expected in (
        ("{", "not valid JSON"),
        ("[" * 5000, "nested deeper"),
        ('{"a": 1, "a": 2}', "stands twice"),
    ):
        status, message = two.errors(
            'query Q($e: String, $f: JSONString) { project(name: "digits", entityName: $e) { runCount(filters: $f) } }',
            e=two.entity,
            f=text,
        )
        assert status == 400 and expected in message


def test_ties_by_id_missing_last_and_mixed_kinds(client: Client) -> None:
    values: dict[str, Any] = {
        "h": 2, "g": 1, "f": 2, "e": "NaN", "d": None, "c": "text", "b": -1.5, "a": [3], "i": True,
    }  # fmt: skip
    for name, value in values.items():
        client.upsert(name, summaryMetrics={"val/loss.min": value}, config={"opt": {"value": {"lr": value}}})
    client.upsert("j")
    client.upsert("k", summaryMetrics='{"val/loss.min": NaN}', config={"opt.lr": {"value": 5}})
    for column in ("summary_metrics.val/loss.min", "summary.val/loss.min"):
        assert found(client, {}, "+" + column) == "b g f h c i a d e j k"
        assert found(client, {}, "-" + column) == found(client, {}, column) == "i c f h g b a d e j k"
        # Page by page as in one.
        assert client.names(order="-" + column, first=3) == ["i", "c", "f"]
    for column in ("config.opt.lr", "config.opt.value.lr"):
        assert found(client, {}, "+" + column) == "b g f h k c i a d e j"
    for name in values:
        client.upsert(name, groupName="g1")
    assert found(client, {}, "-group") == found(client, {}, "+group") == "a b c d e f g h i j k"
    # Without a sign downwards, without an order the newest first: as the docs have it.
    assert found(client, {}, "name") == found(client, {}, "-name") == "k j i h g f e d c b a"
    assert client.names() == client.names(order="-created_at") == list("kjiabcdefgh")


SDK = """
import json, sys
import wandb
from wandb.apis.public import QueryGenerator
from wandb.apis.public.reports import PythonMongoishQueryGenerator as Reports

path, api, told = sys.argv[1], wandb.Api(), {}


def ids(filters=None, **more):
    return " ".join(run.id for run in api.runs(path, filters, **more))


foo, bar = {"config.experiment_name": "foo"}, {"config.experiment_name": "bar"}
told["equal"] = ids(foo)
told["either"] = ids({"$or": [foo, bar]})
told["regex"] = ids({"config.experiment_name": {"$regex": "b.*"}})
told["display_name"] = ids({"display_name": {"$regex": "^foo.*"}})
told["ascending"] = ids(order="+summary_metrics.loss")
told["descending"] = ids(order="-summary_metrics.loss", lazy=False)
told["default"] = ids()
told["pages"] = ids({"state": {"$ne": "crashed"}}, per_page=1, order="-created_at")
told["len"] = len(api.runs(path, {"tags": {"$in": ["base", "x"]}}))
for name, filters, order in (
    ("unknown", {"stat": "x"}, "+created_at"),
    ("order as filter", {"order": "+summary.loss"}, "+created_at"),
    ("bad order", {}, "+losss"),
):
    try:
        ids(filters, order=order)
    except Exception as error:
        told[name] = [type(error).__name__, str(error)]

# What its own generators write.
generator = QueryGenerator()


def key(section, name):
    return {"section": section, "name": name}


def one(section, name, op, value, **more):
    return {"key": key(section, name), "op": op, "value": value, **more}


group = {"op": "OR", "filters": [{"op": "AND", "filters": [
    one("config", "experiment_name", "=", "foo"),
    one("summary", "loss", "<", 0.3),
    one("tags", "base", "=", True),
    one("tags", "old", "=", False),
    one("run", "state", "!=", "crashed"),
    one("keys_info", "loss", "!=", None),
    one("run", "displayName", "REGEX", "fo+"),
    one("run", "host", "=", "elsewhere", disabled=True),
]}]}
told["generated"] = ids(generator.filter_to_mongo(group))
told["no filter"] = ids(generator.filter_to_mongo({"op": "OR", "filters": [{"op": "AND", "filters": []}]}))
told["order keys"] = [
    ids(order=generator.format_order_key(name)) for name in ("loss", "+loss", "+summary_metrics.loss", "-config.lr")
]
told["columns"] = sorted(set(Reports.FRONTEND_NAME_MAPPING.values()))
print("TOLD" + json.dumps(told))
"""


def test_the_real_sdk(server: LocalServer, client: Client, tmp_path: Path) -> None:
    """``wandb.Api().runs`` with the filters and orders of its documentation, and those its own helpers write."""
    experiments = {"r1": ("foo", "foo-1", 0.25), "r2": ("bar", "a foo", 0.5), "r3": ("baz", "foo-3", None)}
    for number, (name, (experiment, shown, loss)) in enumerate(experiments.items()):
        client.upsert(
            name,
            displayName=shown,
            state="finished",
            tags=["base"] if name == "r1" else [],
            config={"experiment_name": {"value": experiment}, "lr": {"value": number}},
            summaryMetrics={} if loss is None else {"loss": loss},
        )
        client.log(name, 0, [] if loss is None else [{"_step": 0, "loss": loss}])
        client.upsert(name, state="finished")
    path = f"{client.entity}/{client.project}"
    script = SDK.replace("sys.argv[1]", repr(path))
    done = log_run(server, tmp_path, script, WANDB_API_KEY=client.api_key)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.partition("TOLD")[2])
    unknown, as_filter, bad_order = (told.pop(name) for name in ("unknown", "order as filter", "bad order"))
    columns = told.pop("columns")
    assert told == {
        "equal": "r1",
        "either": "r1 r2",
        "regex": "r2 r3",
        "display_name": "r1 r3",
        "ascending": "r1 r2 r3",
        "descending": "r2 r1 r3",
        "default": "r1 r2 r3",
        "pages": "r3 r2 r1",
        "len": 1,
        "generated": "r1",
        "no filter": "r1 r2 r3",
        "order keys": ["r2 r1 r3", "r1 r2 r3", "r1 r2 r3", "r3 r2 r1"],
    }
    assert "did you mean 'state'?" in unknown[1], unknown
    assert "give it as the order argument" in as_filter[1], as_filter
    assert "unknown column 'losss'" in bad_order[1], bad_order
    # Every column that its reports know has its place here; the underlined ones are keys of the summary.
    for name in columns:
        resolve_column("summary_metrics." + name if name.startswith("_") else name)
