"""Pages of runs: their cursors and sizes, what is remembered between them, and runs that come and go meanwhile."""

import base64
import json
from typing import Any

import pytest
from sqlalchemy import insert, select

from runtap_local import jsontext
from runtap_local.ids import cursor
from runtap_local.program.home import Home
from runtap_local.store.database import Database
from runtap_local.store.tables import projects, runs
from tests.local.client import Client
from tests.support.local_server import LocalServer, log_run

WARM = {"config.lr": {"$gt": 0.5}}
PAGE = """
query P($p: String!, $e: String!, $first: Int, $after: String, $filters: JSONString, $order: String) {
  project(name: $p, entityName: $e) {
    runs(first: $first, after: $after, filters: $filters, order: $order) {
      edges { node { name } cursor } totalCount
      pageInfo { startCursor endCursor hasNextPage hasPreviousPage }
    }
  }
}"""


def page(client: Client, order: str = "+name", filters: Any = None, **variables: Any) -> Any:
    """One page of the client's runs."""
    data = client.query(
        PAGE, p=client.project, e=client.entity, order=order, filters=json.dumps(filters or {}), **variables
    )
    return data["project"]["runs"]


def names(found: Any) -> list[str]:
    return [edge["node"]["name"] for edge in found["edges"]]


def insert_runs(server: LocalServer, client: Client, rows: list[dict[str, Any]]) -> None:
    """Make many runs at once, in the database itself, as a program beside the server would."""
    database = Database(Home(server.home).database)
    with database.write() as connection:
        project = connection.execute(select(projects).where(projects.c.entity == client.entity)).one()
        fixed = {
            "project_pk": project.pk,
            "user_pk": project.user_pk,
            "state": "finished",
            "display_name": "d",
        }
        moments = {"created_at": 1, "updated_at": 1, "heartbeat_at": 1}
        connection.execute(insert(runs), [{**fixed, **moments, **row} for row in rows])
    database.close()


def test_edges_and_page_carry_the_same_cursors(client: Client) -> None:
    for number in range(5):
        client.upsert(f"r{number}", config={"lr": {"value": number}})
    for filters in ({}, {"config.lr": {"$gte": 0}}):
        first = page(client, first=2, filters=filters)
        cursors = [edge["cursor"] for edge in first["edges"]]
        assert first["totalCount"] == 5 and names(first) == ["r0", "r1"]
        assert first["pageInfo"] == {
            "startCursor": cursors[0],
            "endCursor": cursors[-1],
            "hasNextPage": True,
            "hasPreviousPage": False,
        }
        # From within a page as from its end.
        assert names(page(client, first=9, filters=filters, after=cursors[0])) == ["r1", "r2", "r3", "r4"]
        last = page(client, first=3, filters=filters, after=cursors[1])
        assert names(last) == ["r2", "r3", "r4"] and last["pageInfo"]["hasNextPage"] is False
        beyond = page(client, first=3, filters=filters, after=last["pageInfo"]["endCursor"])
        assert beyond["edges"] == [] and beyond["pageInfo"]["hasNextPage"] is False
        assert beyond["pageInfo"]["endCursor"] is None and beyond["totalCount"] == 5
        assert page(client, filters=filters, after=cursor(10**14))["edges"] == []


def test_sizes_of_pages(server: LocalServer, client: Client) -> None:
    client.upsert("a")
    insert_runs(server, client, [{"name": f"r{number:04}"} for number in range(1100)])
    for filters in ({}, {"name": {"$regex": "."}}):
        none = page(client, first=0, filters=filters)
        assert none["edges"] == [] and none["pageInfo"]["hasNextPage"] is True and none["totalCount"] == 1101
        assert len(page(client, first=None, filters=filters)["edges"]) == 50
        most = page(client, first=5000, filters=filters)
        assert len(most["edges"]) == 1000 and most["pageInfo"]["hasNextPage"] is True
        rest = page(client, first=5000, filters=filters, after=most["pageInfo"]["endCursor"])
        assert names(most) + names(rest) == ["a", *(f"r{number:04}" for number in range(1100))]
    variables = {"p": client.project, "e": client.entity, "first": -1}
    status, text = client.errors(PAGE, **variables)
    assert status == 400 and "first must be at least 0, not -1" in text


@pytest.mark.parametrize(
    "text",
    [
        *("x", "1", "b2Zmc2V0Og==", "b2Zmc2V0Oi0x", cursor(10**20), cursor(1) + "!", "\x00", "ä", "=" * 9999),
        *(
            base64.b64encode(f"place:{place}".encode()).decode()
            for place in (
                *(
                    "",
                    "x",
                    "[]",
                    "1",
                    "null",
                    "[" * 900,
                    "{}",
                    '[1, 1, "a"]',
                    '[0, 1, "a", 1]',
                    '[1, 0, "a", 1]',
                ),
                *('[1, true, "a", 1]', "[1, 1, 1, 1]", '[1, 1, "a", []]', f'[1, 1, "{"a" * 2000}", 1]'),
            )
        ),
    ],
)
def test_bad_cursors_are_bad_requests(client: Client, text: str) -> None:
    client.upsert("r")
    status, told = client.errors(PAGE, p=client.project, e=client.entity, after=text)
    assert status == 400 and "invalid cursor" in told and len(told) < 200


def test_a_write_between_two_pages_is_seen(server: LocalServer, client: Client) -> None:
    """Lists by config and summary are remembered; every kind of write makes them be worked out anew."""
    by_loss = "-summary_metrics.loss"

    def listed() -> tuple[list[str], list[str], int]:
        found = page(client, filters=WARM, first=10)
        ordered = page(client, order=by_loss, filters=WARM)
        again = page(client, filters=WARM, first=10)
        assert again == found and found["totalCount"] == len(found["edges"])
        return names(found), names(ordered), ordered["totalCount"]

    for name in ("a", "b", "c"):
        client.upsert(name, config={"lr": {"value": 1.0}})
    assert listed() == (["a", "b", "c"], ["a", "b", "c"], 3)
    client.upsert("b", config={"lr": {"value": 0.1}})
    assert listed() == (["a", "c"], ["a", "c"], 2)
    client.upsert("d", config={"lr": {"value": 2}})
    assert listed() == (["a", "c", "d"], ["a", "c", "d"], 3)
    client.stream("d", files={"wandb-summary.json": {"offset": 0, "content": ['{"loss": 3}']}})
    assert listed() == (["a", "c", "d"], ["d", "a", "c"], 3)
    client.upsert("c", summaryMetrics={"loss": 4})
    assert listed() == (["a", "c", "d"], ["c", "d", "a"], 3)
    gone = client.run("c", "id")["id"]
    client.query("mutation D($id: ID!) { deleteRun(input: {id: $id}) { success } }", id=gone)
    assert listed() == (["a", "d"], ["d", "a"], 2)
    insert_runs(server, client, [{"name": "e", "config": '{"lr": 7}', "summary_metrics": '{"loss": 9}'}])
    assert listed() == (["a", "d", "e"], ["e", "d", "a"], 3)


def test_what_is_written_to_another_project_is_another_matter(client: Client) -> None:
    client.upsert("a", config={"lr": {"value": 1.0}})
    client.upsert("a", modelName="q", config={"lr": {"value": 0.1}})
    assert names(page(client, filters=WARM)) == ["a"]
    client.project = "q"
    assert names(page(client, filters=WARM)) == []


def test_a_list_seen_by_a_failed_mutation_is_not_remembered(client: Client) -> None:
    client.upsert("a", config={"lr": {"value": 0.1}})
    assert names(page(client, filters=WARM)) == []
    status, _ = client.errors(
        """mutation M($r: UpsertBucketInput!, $p: String!, $f: JSONString) {
             upsertBucket(input: $r) { inserted }
             upsertModel(input: {name: $p}) { project { runCount(filters: $f) runs(filters: $f) { totalCount } } }
             deleteRun(input: {id: "nothing"}) { success }
           }""",
        r={"name": "a", "modelName": client.project, "config": '{"lr": 1.0}'},
        p=client.project,
        f=json.dumps(WARM),
    )
    assert status == 404
    client.upsert("a", notes="as many writes as were undone")
    assert names(page(client, filters=WARM)) == []


@pytest.mark.parametrize("filters", [{}, {"config.lr": {"$exists": True}}])
def test_runs_come_and_go_while_a_list_is_read(client: Client, filters: Any) -> None:
    """The end of a page is a place in the list, whether the run that stood there is still there or not."""
    for name in ("b", "d", "f", "h"):
        client.upsert(name, config={"lr": {"value": 1}})
    first = page(client, filters=filters, first=2)
    after = first["pageInfo"]["endCursor"]
    client.upsert("a", config={"lr": {"value": 1}})  # before the place: nothing comes twice
    assert names(first) == ["b", "d"] and names(page(client, filters=filters, after=after)) == ["f", "h"]
    for name in ("a", "b", "d"):  # before the place and on it: nothing is missed
        delete(client, name)
        assert names(page(client, filters=filters, after=after)) == ["f", "h"]
    client.upsert("z", config={"lr": {"value": 1}})  # after the place: seen
    assert names(page(client, filters=filters, after=after)) == ["f", "h", "z"]


def delete(client: Client, name: str) -> None:
    gone = client.run(name, "id")["id"]
    client.query("mutation D($id: ID!) { deleteRun(input: {id: $id}) { success } }", id=gone)


@pytest.mark.parametrize(
    "order", ["-created_at", "+created_at", "-config.lr", "+summary.x/y", "+display_name"]
)
@pytest.mark.parametrize("change", ["delete", "mark"])
def test_a_program_may_delete_or_change_what_it_lists(client: Client, order: str, change: str) -> None:
    for number in range(10):
        config = {"lr": {"value": number % 3}} if number != 4 else {}
        client.upsert(f"r{number}", config=config, displayName="one name", summaryMetrics={"x/y": number % 2})
    filters = {"tags": {"$nin": ["seen"]}}
    seen, after, more = [], None, True
    while more:
        found = page(client, order=order, filters=filters, first=3, after=after)
        for name in names(found):
            seen.append(name)
            if change == "delete":
                delete(client, name)
            else:
                client.upsert(name, tags=["seen"])
        after, more = found["pageInfo"]["endCursor"], found["pageInfo"]["hasNextPage"]
    assert sorted(seen) == [f"r{number}" for number in range(10)]
    assert names(page(client, filters=filters)) == []


def test_stored_json_goes_into_answers_as_it_is() -> None:
    stored = jsontext.verbatim('{"a": 1.0, "b": ["\\u00e4"]}')
    assert jsontext.encode({"keys": stored}) == b'{"keys":{"a": 1.0, "b": ["\\u00e4"]}}'
    # What orjson cannot write is written another way, and what is not strict JSON is not sent as it is.
    assert json.loads(jsontext.encode({"keys": stored, "big": 2**70})) == {
        "keys": {"a": 1.0, "b": ["ä"]},
        "big": 2**70,
    }
    assert jsontext.encode(jsontext.verbatim('{"a": NaN, "b": "NaN"}')) == b'{"a":"NaN","b":"NaN"}'


# What the real client does with pages that end early because of their size, and with filtered ones.
READ = """
import json, wandb
api = wandb.Api(timeout=60)
heavy = api.runs("p", lazy=False, per_page=50, order="+created_at")
assert len(heavy) == 40
seen = [(run.id, len(run.summary["ballast"])) for run in heavy]
assert seen == [(f"r{n:02}", 1500000) for n in range(40)], seen
assert heavy[39].id == "r39"
light = api.runs("p", filters={"config.lr": {"$gte": 0.5}, "state": "running"}, order="-config.lr", per_page=6)
assert len(light) == 20
assert [run.id for run in light] == [f"r{n:02}" for n in range(39, 19, -1)]
assert [run.id for run in light[3:8]] == [f"r{n:02}" for n in range(36, 31, -1)]
assert list(api.runs("p", filters={"config.lr": 7})) == []
"""


def test_the_real_client_reads_heavy_and_filtered_pages(
    server: LocalServer, client: Client, tmp_path: Any
) -> None:
    ballast = {"ballast": "x" * 1_500_000}
    for number in range(40):
        client.upsert(f"r{number:02}", config={"lr": {"value": number / 40}}, summaryMetrics=ballast)
    whole = client.runs(order="+name", filters="{}")
    edges, info = whole["runs"]["edges"], whole["runs"]["pageInfo"]
    assert whole["runCount"] == 40 and 20 <= len(edges) < 25
    assert info["hasNextPage"] is True and info["endCursor"] == edges[-1]["cursor"] != cursor(len(edges))
    assert len(page(client)["edges"]) == 40, "what is not asked for takes no room"
    done = log_run(server, tmp_path, READ, WANDB_API_KEY=client.api_key, WANDB_ENTITY=client.entity)
    assert done.returncode == 0, done.stderr[-3000:]
