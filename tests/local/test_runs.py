"""Runs on the wire: made, changed, listed, filtered, ordered, counted, deleted."""

import json
import math
from typing import Any

import pytest

from tests.local.client import UPSERT, Client


def test_a_run_gets_what_it_was_not_given(client: Client) -> None:
    made = client.upsert("r1")
    assert made["inserted"] is True
    bucket = made["bucket"]
    adjective, noun, number = bucket["displayName"].split("-")
    assert adjective and noun and number == "1"
    assert bucket["state"] == "running" and bucket["config"] == "{}" and bucket["tags"] == []
    run = client.run(
        "r1", "user { name username } createdAt heartbeatAt updatedAt historyKeys historyLineCount"
    )
    assert run["user"] == {"name": client.entity, "username": client.entity}
    assert run["createdAt"].endswith("Z") and len(run["createdAt"]) == len("2026-01-01T00:00:00.000000Z")
    assert run["historyKeys"] is None and run["historyLineCount"] == 0


def test_the_entity_and_the_project_have_defaults(client: Client) -> None:
    bucket = client.query(
        'mutation M { upsertBucket(input: {name: "r"}) { bucket { project { name entity { name } } } } }'
    )["upsertBucket"]["bucket"]
    assert bucket["project"] == {"name": "uncategorized", "entity": {"name": client.entity}}


def test_null_leaves_alone_and_documents_are_replaced(client: Client) -> None:
    made = client.upsert(
        "r1",
        displayName="shown",
        notes="n",
        tags=["a", "b"],
        groupName="g",
        jobType="train",
        config={"a": {"value": 1}, "b": {"value": 2}},
        summaryMetrics={"x": 1, "y": 2},
    )
    unchanged = client.upsert("r1", displayName=None, notes=None, tags=None, config=None, summaryMetrics=None)
    assert unchanged["inserted"] is False
    first, second = made["bucket"], unchanged["bucket"]
    assert {**second, "updatedAt": 0} == {**first, "updatedAt": 0}
    changed = client.upsert(
        id=first["id"], config={"b": {"value": 3}}, summaryMetrics={"y": math.nan}, tags=[]
    )
    bucket = changed["bucket"]
    assert json.loads(bucket["config"]) == {"b": {"value": 3}}
    assert bucket["summaryMetrics"] == '{"y": NaN}' and bucket["tags"] == []
    assert bucket["displayName"] == "shown"
    assert client.run("r1", "group jobType notes") == {"group": "g", "jobType": "train", "notes": "n"}


def test_every_kind_of_write_moves_updated_at(client: Client) -> None:
    storage_id = client.upsert("r1")["bucket"]["id"]
    seen = [client.run("r1", "updatedAt")["updatedAt"]]

    def moved() -> None:
        seen.append(client.run("r1", "updatedAt")["updatedAt"])
        assert seen[-1] > seen[-2]

    client.upsert(id=storage_id, notes="x")
    moved()
    client.upsert(id=storage_id, summaryMetrics={"a": 1})
    moved()
    client.log("r1", 0, [{"_step": 0, "loss": 1}])
    moved()
    client.stream("r1", files={"wandb-summary.json": {"offset": 0, "content": ['{"a": 2}']}})
    moved()
    client.stream("r1", files={"output.log": {"offset": 0, "content": ["2026-01-01T00:00:00.000 hi"]}})
    moved()
    client.stream("r1")
    moved()
    client.request("PUT", f"/files/{client.entity}/p/r1/a.txt", data=b"x")
    moved()
    client.stream("r1", complete=True, exitcode=0)
    moved()


def test_updated_at_moves_even_within_a_tick_of_the_clock(client: Client) -> None:
    storage_id = client.upsert("r1")["bucket"]["id"]
    aliases = " ".join(
        f'a{n}: upsertBucket(input: {{id: $id, notes: "{n}"}}) {{ bucket {{ updatedAt }} }}'
        for n in range(20)
    )
    data = client.query("mutation M($id: String) { " + aliases + " }", id=storage_id)
    moments = [data[f"a{n}"]["bucket"]["updatedAt"] for n in range(20)]
    assert len(set(moments)) == 20 and moments == sorted(moments)


def test_a_failed_mutation_changes_nothing(client: Client) -> None:
    status, _ = client.errors(
        'mutation M { a: upsertBucket(input: {name: "ok", modelName: "p"}) { inserted } '
        'b: upsertBucket(input: {name: "bad/name", modelName: "p"}) { inserted } }'
    )
    assert status == 400
    assert client.query('{ project(name: "p") { id } }')["project"] is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "r", "config": "{"}, "config is not valid JSON"),
        ({"name": "r", "config": "[]"}, "must be a JSON object"),
        ({"name": "r", "summaryMetrics": "3"}, "must be a JSON object"),
        ({"name": "r", "state": "dancing"}, "unknown state"),
        ({"name": ".."}, "invalid run name"),
        ({"name": "r", "modelName": "a/b"}, "invalid project name"),
        ({}, "needs the 'id'"),
    ],
)
def test_nonsense_is_refused_with_its_name(client: Client, fields: dict[str, str], expected: str) -> None:
    status, text = client.errors(
        "mutation M($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }", i=fields
    )
    assert status == 400 and expected in text


def test_lists_are_newest_first_and_page_by_either_cursor(client: Client) -> None:
    for number in range(5):
        client.upsert(f"r{number}")
    assert client.names() == ["r4", "r3", "r2", "r1", "r0"]
    assert client.names(order="+created_at") == ["r0", "r1", "r2", "r3", "r4"]
    seen, cursor = [], None
    while True:
        project = client.runs(perPage=2, cursor=cursor, filters="{}")
        assert project["runCount"] == 5 and project["internalId"].isdecimal()
        edges, info = project["runs"]["edges"], project["runs"]["pageInfo"]
        seen += [edge["node"]["name"] for edge in edges]
        assert edges[-1]["cursor"] == info["endCursor"]
        cursor = info["endCursor"]
        if not info["hasNextPage"]:
            break
    assert seen == ["r4", "r3", "r2", "r1", "r0"]
    assert client.runs(perPage=None)["runs"]["pageInfo"]["hasNextPage"] is False
    status, text = client.errors('{ project(name: "p") { runs(after: "nonsense") { edges { cursor } } } }')
    assert status == 400 and "invalid cursor" in text


def test_filters_and_orders(client: Client) -> None:
    for number in range(4):
        client.upsert(
            f"r{number}",
            config={
                "lr": {"value": number / 10},
                "opt": {"value": {"name": "adam" if number % 2 else "sgd"}},
            },
            tags=["even"] if number % 2 == 0 else [],
            state="finished" if number else "running",
        )
    for number, loss in ((1, 0.5), (2, 0.25)):
        client.upsert(f"r{number}", summaryMetrics={"val/loss.min": loss}, state="finished")
    assert client.names({"config.lr": {"$gt": 0.1}}) == ["r3", "r2"]
    assert client.names({"config.opt.value.name": "adam"}) == ["r3", "r1"]
    assert client.names({"$or": [{"tags": "even"}, {"config.lr.value": 0.3}]}) == ["r3", "r2", "r0"]
    assert client.names({"state": {"$ne": "running"}}, order="+name") == ["r1", "r2", "r3"]
    assert client.names(order="+summary_metrics.val/loss.min")[:2] == ["r2", "r1"]
    assert client.names(order="-summary.val/loss.min")[:2] == ["r1", "r2"]
    # Missing values last in both directions, ties by id.
    assert client.names(order="-summary.val/loss.min")[2:] == ["r0", "r3"]
    assert client.names(order="+summary.val/loss.min")[2:] == ["r0", "r3"]
    project = client.runs(filters='{"config.lr": {"$gte": 0.1}}', perPage=1, order="+config.lr")
    assert project["runCount"] == 3 and project["runs"]["pageInfo"]["hasNextPage"] is True


@pytest.mark.parametrize(
    ("filters", "order", "expected"),
    [
        ('{"confg.lr": 1}', None, "did you mean 'config.<key>'"),
        ('{"state": {"$gtt": 1}}', None, "did you mean $gt"),
        ("{", None, "not valid JSON"),
        ("{}", "+nothing", "unknown column"),
    ],
)
def test_filters_that_make_no_sense_are_bad_requests(
    client: Client, filters: str, order: str | None, expected: str
) -> None:
    client.upsert("r")
    status, text = client.errors(
        "query Q($f: JSONString, $o: String) "
        '{ project(name: "p") { runs(filters: $f, order: $o) { edges { cursor } } } }',
        f=filters,
        o=order,
    )
    assert status == 400 and expected in text


def test_the_three_shapes_of_upserts_mean_the_same_run(client: Client) -> None:
    made = client.upsert("r1", tags=["b", "a", "b"], displayName="")["bucket"]
    assert made["tags"] == ["b", "a"] and made["displayName"]  # invented, since an empty name shows nothing
    by_id = client.upsert(id=made["id"], displayName="shown", tags=["c", "b", "c"])
    assert by_id["inserted"] is False and by_id["bucket"]["tags"] == ["c", "b"]
    by_both = client.upsert("r1", id=made["id"], notes="n")
    assert by_both["inserted"] is False and by_both["bucket"]["displayName"] == "shown"
    assert [client.upsert("r1")["bucket"]["id"], client.names()] == [made["id"], ["r1"]]
    # An empty text is a value: it is how notes and groups are taken away.
    client.upsert(id=made["id"], notes="", groupName="")
    assert client.run("r1", "notes group") == {"notes": "", "group": ""}
    status, text = client.errors(UPSERT, input={"id": "nonsense", "name": "r1"})
    assert status == 404 and "no run has the id 'nonsense'" in text


def test_a_change_from_outside_does_not_set_a_run_up_again(client: Client) -> None:
    storage_id = client.upsert("r1")["bucket"]["id"]
    client.stream("r1", complete=True, exitcode=3)
    client.upsert(id=storage_id, notes="looked at")
    assert client.run("r1", "state exitcode") == {"state": "failed", "exitcode": 3}
    client.upsert("r1", notes="goes on")
    assert client.run("r1", "state exitcode") == {"state": "running", "exitcode": None}


def test_a_forked_run_is_refused_and_not_made(client: Client) -> None:
    client.upsert("r1")
    config = {"_wandb": {"value": {"branch_point": {"run_id": "r1", "step": 3}}}}
    sent = {"name": "r2", "modelName": "p", "config": json.dumps(config)}
    status, text = client.errors(UPSERT, input=sent)
    assert status == 200 and text.startswith("this server cannot fork a run")
    status, text = client.errors(UPSERT, input={**sent, "modelName": "new"})
    assert client.names() == ["r1"] and client.query('{ project(name: "new") { id } }')["project"] is None
    # A user's own key of that name is no fork.
    assert client.upsert("r2", config={"branch_point": {"value": 1}, "_wandb": {"value": {}}})["inserted"]
    assert client.upsert("r3", config={"_wandb": 1, "x": {"value": '"branch_point"'}})["inserted"]


def test_a_rewind_is_refused(client: Client) -> None:
    client.upsert("r1")
    document = (
        "mutation RewindRun($n: String!, $m: String!, $v: Float!) "
        "{ rewindRun(input: {runName: $n, metricName: $m, metricValue: $v}) { rewoundRun { id } } }"
    )
    status, text = client.errors(document, n="r1", m="_step", v=3)
    assert status == 200 and text.startswith("this server cannot rewind a run")


def test_refusals_that_end_what_a_program_logs_stand_in_the_log_once(client: Client, server: Any) -> None:
    """The SDK tells its user at most that something was not sent, and not why."""

    def noted() -> list[str]:
        log = (server.home / "local.log").read_text().splitlines()
        return [line.partition(": ")[2] for line in log if client.entity in line]

    for _ in range(3):
        assert client.stream("gone%0Afor good", check=False).status_code == 404
        assert client.request("POST", f"/files/{client.entity}/p/r/file_stream", auth=None).status_code == 401
        assert client.request("PUT", f"/files/{client.entity}/p/r/f", data=b"x").status_code == 404
    stream, upload = noted()
    assert stream == f"file_stream refused: run {client.entity}/p/gone for good not found"
    assert upload.startswith(f"upload refused: run {client.entity}/p/r ")


def test_alerts_are_for_runs_that_exist_and_stay_on_their_line(client: Client, server: Any) -> None:
    client.upsert("r1")
    before = client.run("r1", "updatedAt")
    document = (
        "mutation A($i: NotifyScriptableRunAlertInput!) { notifyScriptableRunAlert(input: $i) { success } }"
    )
    alert = {"projectName": "p", "runName": "r1", "title": "one\ntwo", "text": "a\u2028b" * 1000}
    for wait in (None, 60000, "1m"):
        assert client.query(document, i={**alert, "severity": "ERROR", "waitDuration": wait})
    lines = [line for line in (server.home / "local.log").read_text().splitlines() if client.entity in line]
    assert len(lines) == 3 and f"alert of run {client.entity}/p/r1: ERROR: one two: a b" in lines[0]
    assert all(len(line) < 1300 for line in lines)
    assert client.run("r1", "updatedAt") == before  # nothing of it is kept with the run
    status, text = client.errors(document, i={**alert, "runName": "none"})
    assert status == 404 and "not found" in text
    status, _ = client.errors(document, i={**alert, "severity": "PANIC"})
    assert status == 400


def test_states_change_as_the_rules_say(client: Client) -> None:
    storage_id = client.upsert("r1")["bucket"]["id"]
    document = "mutation M($i: UpdateRunStateInput!) { updateRunState(input: $i) { success } }"
    client.query(document, i={"id": storage_id, "state": "failed"})
    client.query(document, i={"id": storage_id, "state": "pending"})
    assert client.run("r1", "state") == {"state": "pending"}
    client.upsert(id=storage_id, state="finished")
    status, text = client.errors(document, i={"id": storage_id, "state": "pending"})
    assert status == 400 and "r1 is finished" in text


def test_a_run_is_asked_to_stop_through_its_stream(client: Client) -> None:
    storage_id = client.upsert("r1")["bucket"]["id"]
    assert "stopped" not in client.stream("r1").json()
    client.query("mutation M($id: ID!) { stopRun(input: {id: $id}) { success } }", id=storage_id)
    assert client.stream("r1").json()["stopped"] is True
    client.stream("r1", complete=True, exitcode=1)
    assert client.run("r1", "state stopped exitcode") == {"state": "failed", "stopped": False, "exitcode": 1}


CHANGES = {
    "pending": {"running", "failed", "crashed", "preempted"},
    "failed": {"pending", "running"},
}


@pytest.mark.parametrize(
    "state", ["pending", "running", "finished", "crashed", "failed", "killed", "preempting", "preempted"]
)
def test_which_state_can_follow_which(client: Client, state: str) -> None:
    document = "mutation M($i: UpdateRunStateInput!) { updateRunState(input: $i) { success } }"
    for wanted in ("pending", "running", "finished", "crashed", "failed", "killed"):
        storage_id = client.upsert(f"r-{wanted}", state=state)["bucket"]["id"]
        sent = {"id": storage_id, "state": wanted}
        if state in CHANGES.get(wanted, ()):
            assert client.query(document, i=sent) == {"updateRunState": {"success": True}}
            assert client.run(f"r-{wanted}", "state") == {"state": wanted}
        else:
            status, text = client.errors(document, i=sent)
            assert status == 400 and wanted in text
            assert client.run(f"r-{wanted}", "state") == {"state": state}


def test_stopping_what_does_not_run_does_nothing(client: Client) -> None:
    storage_id = client.upsert("r1")["bucket"]["id"]
    client.stream("r1", complete=True, exitcode=0)
    stop = "mutation M($id: ID!) { stopRun(input: {id: $id}) { success } }"
    assert client.query(stop, id=storage_id) == {"stopRun": {"success": True}}
    assert client.run("r1", "state stopped") == {"state": "finished", "stopped": False}
    client.upsert("r1")
    assert "stopped" not in client.stream("r1").json()
    # A run that is put back in line is not stopped before it starts.
    client.query(stop, id=storage_id)
    client.query(
        "mutation M($i: UpdateRunStateInput!) { updateRunState(input: $i) { success } }",
        i={"id": storage_id, "state": "pending"},
    )
    assert client.run("r1", "stopped exitcode") == {"stopped": False, "exitcode": None}


def test_deleting_a_run_takes_everything_with_it(client: Client, server: object) -> None:
    storage_id = client.upsert("r1")["bucket"]["id"]
    client.log("r1", 0, [{"_step": 0}])
    client.request("PUT", f"/files/{client.entity}/p/r1/a.txt", data=b"bytes of a deleted run")
    # The SDK sends a variable that its document does not declare.
    data = client.query(
        "mutation DeleteRun($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }",
        id=storage_id,
        deleteArtifacts=False,
    )
    assert data == {"deleteRun": {"clientMutationId": None}}
    assert client.names() == [] and client.run("r1", "id") is None
    assert client.request("GET", f"/files/{client.entity}/p/r1/a.txt").status_code == 404
    home = server.home  # type: ignore[attr-defined]
    assert not any(b"deleted run" in blob.read_bytes() for blob in (home / "files").glob("*/*"))
    status, _ = client.errors(
        "mutation D($id: ID!) { deleteRun(input: {id: $id}) { success } }", id=storage_id
    )
    assert status == 404
    made = client.upsert("r1")
    assert made["inserted"] and made["bucket"]["displayName"].endswith("-2")
    empty = client.run("r1", "history events historyLineCount historyKeys fileCount logLineCount config")
    assert empty == {
        "history": [],
        "events": [],
        "historyLineCount": 0,
        "historyKeys": None,
        "fileCount": 0,
        "logLineCount": 0,
        "config": "{}",
    }


def test_a_project_is_made_once_and_changed_after(client: Client) -> None:
    document = (
        "mutation U($i: UpsertModelInput!) "
        "{ upsertModel(input: $i) { model { id name description access updatedAt } inserted } }"
    )
    sent = {"name": "q", "entityName": client.entity}
    made = client.query(document, i={**sent, "description": "first", "repo": "ignored"})["upsertModel"]
    assert made["inserted"] is True and made["model"]["description"] == "first"
    kept = client.query(document, i={**sent, "description": None})["upsertModel"]
    assert kept["inserted"] is False and kept["model"] == made["model"]
    changed = client.query(document, i={**sent, "description": "second", "access": "USER_READ"})[
        "upsertModel"
    ]
    assert changed["model"]["id"] == made["model"]["id"]
    assert (changed["model"]["description"], changed["model"]["access"]) == ("second", "USER_READ")
    assert changed["model"]["updatedAt"] > made["model"]["updatedAt"]
    status, text = client.errors(document, i={**sent, "entityName": "local"})
    assert status == 403 and "may not write to entity 'local'" in text
