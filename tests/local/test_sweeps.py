"""Sweeps on the wire: made, changed, read, listed, deleted; best loss; isolation; bad input."""

from __future__ import annotations

import json
import uuid

import pytest
import yaml

from runtap_local.program.home import Home
from runtap_local.program.manage import add_member, add_team, add_user
from tests.local.client import Client
from tests.local.sweeping import (
    CREATE_AGENT,
    GET_SWEEP,
    GRID,
    HEARTBEAT,
    SWEEP_FIELDS,
    SWEEP_WITH_RUNS,
    UPSERT_SWEEP,
    Sweep,
    create,
    where,
)
from tests.support.local_server import LocalServer

GET_SWEEPS = (
    """
query GetSweeps($project: String!, $entity: String!, $cursor: String, $perPage: Int = 50) {
  project(name: $project, entityName: $entity) {
    totalSweeps
    sweeps(after: $cursor, first: $perPage) {
      pageInfo { __typename endCursor hasNextPage } edges { node {"""
    + SWEEP_FIELDS
    + "} } } } }"
)
OLD_SWEEP = """
query Sweep($project: String!, $entity: String, $name: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) { id name bestLoss config } } }"""
DOCUMENTS = [
    UPSERT_SWEEP,
    UPSERT_SWEEP.replace("$templateVariableValues: JSONString,", "").replace(
        "templateVariableValues: $templateVariableValues,", ""
    ),
]
DOCUMENTS.append(
    DOCUMENTS[1]
    .replace("$launchScheduler: JSONString,", "")
    .replace("launchScheduler: $launchScheduler,", "")
)
DOCUMENTS.append(DOCUMENTS[2].replace("configValidationWarnings", ""))
DOCUMENTS.append(DOCUMENTS[3].replace("project { id name entity { id name } }", ""))


@pytest.fixture
def stranger(server: LocalServer) -> Client:
    """A user who has nothing to do with the other."""
    user, key = add_user(Home(server.home), "s" + uuid.uuid4().hex[:10], None)
    return Client(server.url, user.entity, key)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_document_of_the_sdk_makes_a_sweep(client: Client, document: str) -> None:
    names = {"entityName": client.entity, "projectName": client.project}
    # Variables that a document does not declare are sent all the same.
    made = client.query(document, config=yaml.safe_dump(GRID), templateVariableValues="null", **names)
    name = made["upsertSweep"]["sweep"]["name"]
    found = client.query(GET_SWEEP, name=name, **where(client))["project"]["sweep"]
    assert found["state"] == "PENDING" and len(name) == 8


def test_a_sweep_is_read_as_it_was_made(client: Client) -> None:
    text = "# mine\nmethod: grid\nname: named\ndescription: d\nparameters: {ü: {values: [1, 2, 3]}}\nrun_cap: 2\n"
    sweep = create(client, text, displayName="shown")
    read = sweep.read()
    assert read["config"] == text and read["method"] == "grid"
    assert (read["displayName"], read["description"]) == ("shown", "d")
    assert (read["runCount"], read["runCountExpected"], read["bestLoss"]) == (0, 2, None)
    assert read["createdAt"] == read["updatedAt"] and read["heartbeatAt"] is None
    old = client.query(OLD_SWEEP, name=sweep.name, **where(client))["project"]["sweep"]
    assert old == {key: read[key] for key in ("id", "name", "bestLoss", "config")}


def test_null_leaves_a_field_as_it_is(client: Client) -> None:
    sweep = create(client, GRID, description="d")
    before = sweep.read()
    sweep.change(displayName="new")
    sweep.change(state="paused")
    after = sweep.read()
    assert (after["displayName"], after["state"], after["description"]) == ("new", "PAUSED", "d")
    assert after["config"] == before["config"] and after["updatedAt"] > before["updatedAt"]
    sweep.change(description="", displayName="")
    assert (sweep.read()["displayName"], sweep.read()["description"]) == (None, "")


def test_the_config_can_change_until_the_first_point_is_out(client: Client) -> None:
    sweep = create(client, GRID)
    sweep.change(config="method: random\nparameters: {a: {values: [1]}}")
    assert sweep.read()["method"] == "random" and sweep.read()["runCountExpected"] is None
    sweep.begin(sweep.agent())
    sweep.change(config="method: bayes\nrun_cap: 5\nmetric: {name: l}\nparameters: {a: {values: [1]}}")
    assert sweep.read()["runCountExpected"] == 5
    assert "has begun" in sweep.refused(config="method: random\nparameters: {a: {values: [1, 2]}}")
    assert "has begun" in sweep.refused(config="method: grid\nparameters: {a: {values: [1]}}")


def test_states_are_changed_by_the_rules(client: Client) -> None:
    sweep = create(client, GRID)
    sweep.change(state="FINISHED")
    assert "cannot become PAUSED" in sweep.refused(state="PAUSED")
    assert "unknown sweep state 'GONE'" in sweep.refused(state="GONE")
    sweep.change(state="RUNNING")
    sweep.change(state="CANCELED")
    assert sweep.read()["state"] == "CANCELED"


def test_warnings_come_with_the_answer(client: Client) -> None:
    config = {**GRID, "method": "bayes", "early_terminate": {"type": "hyperband", "min_iter": 3}}
    sweep = create(client, config)
    assert len(sweep.warnings) == 2 and "at random" in sweep.warnings[0]
    assert sweep.read()["method"] == "bayes"
    assert create(client, GRID).warnings == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"config": "method: grid"}, "parameters must name"),
        ({"config": "method: grid\nparameters: {lr: {min: 3, max: 1}}"}, "parameters.lr.min (3) is more"),
        ({"config": "{" * 1000}, "nests deeper"),
        ({}, "config is missing"),
        ({"config": json.dumps(GRID), "controller": '{"type": "local"}'}, "controller is not offered"),
        (
            {"config": json.dumps(GRID), "launchScheduler": '{"run_spec": 1}'},
            "launchScheduler is not offered",
        ),
        ({"config": json.dumps(GRID), "state": "GONE"}, "unknown sweep state"),
        ({"config": json.dumps(GRID), "projectName": "a/b"}, "invalid project name"),
        ({"config": json.dumps(GRID), "priorRunsFilters": '{"nope": 1}'}, "nope"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(
    client: Client, fields: dict[str, str], expected: str
) -> None:
    client.upsert("r")
    names = {"entityName": client.entity, "projectName": client.project, **fields}
    status, text = client.errors(UPSERT_SWEEP, **names)
    assert status == 400 and expected in text
    assert client.query(GET_SWEEPS, **where(client))["project"]["totalSweeps"] == 0


def test_sweeps_are_listed_in_pages_the_newest_first(client: Client) -> None:
    made = [create(client, GRID).name for _ in range(5)][::-1]
    first = client.query(GET_SWEEPS, perPage=3, **where(client))["project"]
    assert first["totalSweeps"] == 5
    assert [edge["node"]["name"] for edge in first["sweeps"]["edges"]] == made[:3]
    page = first["sweeps"]["pageInfo"]
    rest = client.query(GET_SWEEPS, cursor=page["endCursor"], **where(client))["project"]["sweeps"]
    assert [edge["node"]["name"] for edge in rest["edges"]] == made[3:]
    assert page["hasNextPage"] and not rest["pageInfo"]["hasNextPage"]
    filtered = GET_SWEEPS.replace("first: $perPage", 'first: $perPage, filters: "%s"')
    assert client.post(filtered % "{}", **where(client)).status_code == 200
    status, text = client.errors(filtered % '{\\"state\\": \\"RUNNING\\"}', **where(client))
    assert status == 400 and "does not filter sweeps" in text


def test_runs_of_a_sweep(client: Client) -> None:
    sweep = create(client, GRID)
    client.upsert("other")
    agent = sweep.agent()
    first, _ = sweep.begin(agent)
    assert sweep.read()["state"] == "RUNNING"
    sweep.end(first, loss=1)
    second, values = sweep.begin(agent)
    assert client.run(second, "sweepName sweep { name state }") == {
        "sweepName": sweep.name,
        "sweep": {"name": sweep.name, "state": "RUNNING"},
    }
    assert client.names({"$and": [{"sweep": sweep.name}]}, "+created_at") == [first, second]
    document = client.query(SWEEP_WITH_RUNS, sweep=sweep.name, specs="{}", **where(client))
    found = document["project"]["sweep"]
    assert [edge["node"]["name"] for edge in found["runs"]["edges"]] == [first, second]
    config = json.loads(found["runs"]["edges"][1]["node"]["config"])
    assert {name: item["value"] for name, item in config.items()} == values
    assert (found["controller"], found["scheduler"], found["earlyStopJobRunning"]) == (None, None, False)
    assert sweep.read()["runCount"] == 2
    client.query(
        "mutation D($i: ID!) { deleteRun(input: {id: $i}) { clientMutationId } }",
        i=client.run(first, "id")["id"],
    )
    assert sweep.read()["runCount"] == 1 and sweep.read()["state"] == "RUNNING"


@pytest.mark.parametrize(("goal", "best"), [("minimize", 0.5), ("maximize", 2.0), (None, 0.5)])
def test_best_loss_is_of_the_runs_that_have_the_metric(client: Client, goal: str | None, best: float) -> None:
    metric = {"name": "val.loss", **({"goal": goal} if goal else {})}
    sweep = create(client, {**GRID, "metric": metric})
    summaries = [
        {"val.loss": 1}, {"val": {"loss": 0.5}}, {"val.loss": 2.0}, {"other": 0}, {}, {"val.loss": True},
        {"val.loss": "NaN"}, {"val.loss": None}, {"val.loss": {"min": 0}},
    ]  # fmt: skip
    for number, summary in enumerate(summaries):
        client.upsert(f"r{number}", sweep=sweep.name, summaryMetrics=summary)
    client.upsert("nan", sweep=sweep.name, summaryMetrics='{"val.loss": NaN}')
    client.upsert("inf", sweep=sweep.name, summaryMetrics='{"val.loss": -Infinity}')
    assert sweep.read()["bestLoss"] == best
    client.upsert("outside", summaryMetrics={"val.loss": -100})
    assert sweep.read()["bestLoss"] == best
    assert create(client, GRID).read()["bestLoss"] is None


def test_prior_runs_join_the_sweep(client: Client) -> None:
    for name in ("a", "b", "c"):
        client.upsert(name)
    filters = json.dumps({"$or": [{"name": "a"}, {"name": "c"}]})
    sweep = create(client, {**GRID, "run_cap": 1}, priorRunsFilters=filters)
    assert client.names({"sweep": sweep.name}, "+created_at") == ["a", "c"]
    assert sweep.read()["state"] == "PENDING"
    sweep.begin(sweep.agent())  # they use up none of its points


def test_a_sweep_is_its_owners_alone(client: Client, stranger: Client) -> None:
    sweep = create(client, GRID)
    agent = sweep.agent()
    read = sweep.read()
    assert stranger.query(GET_SWEEP, name=sweep.name, **where(client))["project"] is None
    assert stranger.errors(UPSERT_SWEEP, id=read["id"], state="CANCELED")[0] == 404
    names = {"projectName": client.project, "entityName": client.entity}
    assert stranger.errors(CREATE_AGENT, host="h", sweep=sweep.name, **names)[0] == 404
    assert stranger.errors(HEARTBEAT, id=agent, metrics="{}", runState="{}")[0] == 404
    assert (
        stranger.errors("mutation D($i: ID!) { deleteSweep(input: {id: $i}) { success } }", i=read["id"])[0]
        == 404
    )
    assert stranger.post(UPSERT_SWEEP, config=json.dumps(GRID), **names).status_code == 403
    assert sweep.read() == read


def test_members_of_a_team_share_its_sweeps(server: LocalServer, client: Client, stranger: Client) -> None:
    team = "t" + uuid.uuid4().hex[:10]
    add_team(Home(server.home), team)
    for one in (client, stranger):
        add_member(Home(server.home), team, one.entity)
    mine = Client(server.url, team, client.api_key)
    sweep = create(mine, GRID)
    theirs = Sweep(Client(server.url, team, stranger.api_key), sweep.name, [])
    assert theirs.begin(theirs.agent())[1] != sweep.begin(sweep.agent())[1]
    theirs.change(state="CANCELED")
    assert sweep.read()["state"] == "CANCELED" and sweep.read()["runCount"] == 2


def test_a_deleted_sweep_sends_its_agents_home_and_leaves_its_runs(client: Client) -> None:
    sweep = create(client, GRID)
    agent = sweep.agent()
    run, _ = sweep.begin(agent)
    document = "mutation D($i: ID!) { deleteSweep(input: {id: $i}) { success } }"
    storage_id = sweep.read()["id"]
    assert client.query(document, i=storage_id)["deleteSweep"]["success"]
    assert sweep.read() is None
    assert client.errors(HEARTBEAT, id=agent, runState=json.dumps({run: True}))[0] == 404
    assert client.errors(document, i=storage_id)[0] == 404
    assert client.run(run, "state sweepName sweep { name }") == {
        "state": "running", "sweepName": None, "sweep": None,
    }  # fmt: skip
    sweep.end(run, loss=1)
    assert client.run(run, "state")["state"] == "finished"


def test_ids_that_are_none(client: Client) -> None:
    for text in ("", "x", "QWdlbnQ6djE6MQ==", "QWdlbnQ6djE6OTk5OTk5", "QWdlbnQ6djE6LTE="):
        assert client.errors(HEARTBEAT, id=text, runState="{}")[0] == 404
        assert client.errors(UPSERT_SWEEP, id=text or "y", state="PAUSED")[0] == 404
    names = {"projectName": client.project, "entityName": client.entity}
    assert client.errors(CREATE_AGENT, host="h", sweep="nope", **names)[0] == 404


def test_queueing_runs_is_refused_in_a_sentence(client: Client) -> None:
    sweep = create(client, GRID)
    document = 'mutation Q($i: ID!) { enqueueSweepRun(input: {id: $i, config: "{}"}) { id runQueueItemId } }'
    status, text = client.errors(document, i=sweep.read()["id"])
    assert status == 400 and "cannot be queued" in text


def test_a_run_may_name_a_sweep_that_is_not_there(client: Client) -> None:
    client.upsert("r", sweep="nowhere1")
    assert client.run("r", "sweepName sweep { name }") == {"sweepName": "nowhere1", "sweep": None}


def test_runs_of_many_sweeps_are_too_much_for_one_request(client: Client) -> None:
    for _ in range(11):
        create(client, GRID)
    inner = "sweeps(first: %d) { edges { node { runs { edges { node { config } } } } } }"
    document = "query S($p: String!, $e: String!) { project(name: $p, entityName: $e) { %s } }"
    assert client.post(document % inner % 10, p=client.project, e=client.entity).status_code == 200
    status, text = client.errors(document % inner % 11, p=client.project, e=client.entity)
    assert status == 400 and "10 sweeps" in text
