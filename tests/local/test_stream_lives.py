"""A run that is set up again under its id: whose data stays, and when the later program's takes its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.local.client import UPSERT, Client
from tests.local.sdk import wait_until
from tests.support.local_server import start_local_server

CORE = "wandb-core"
COUNTS = ("historyLineCount", "eventsLineCount", "logLineCount")
FIELDS = f"state {' '.join(COUNTS)} summaryMetrics systemMetrics history fileCount tags notes"


def setup(client: Client, agent: str = CORE, **fields: Any) -> int:
    """Set up a run as a program does; returns the line at which its history begins."""
    given = {"name": "r1", "modelName": "p", "entityName": client.entity, "host": "vm", **fields}
    document = UPSERT.replace("tags }", "tags historyLineCount }")
    body = {"query": document, "variables": {"input": given}}
    answer = client.request("POST", "/graphql", json=body, headers={"user-agent": agent}).json()
    return int(answer["data"]["upsertBucket"]["bucket"]["historyLineCount"])


def live(client: Client, rows: int, complete: bool = True) -> None:
    """A program's part: rows, events, console lines, a summary and a file."""
    lines = [json.dumps({"_step": step, "a": step}) for step in range(rows)]
    files = {
        "wandb-history.jsonl": {"offset": 0, "content": lines},
        "wandb-events.jsonl": {"offset": 0, "content": ['{"system.cpu": 1}']},
        "output.log": {"offset": 0, "content": ["2026-01-01T00:00:00.000000 one"]},
        "wandb-summary.json": {"offset": 0, "content": ['{"a": 1}']},
    }
    client.stream("r1", files=files, complete=complete, exitcode=0)
    client.request("PUT", f"/files/{client.entity}/p/r1/f.txt", data=b"x")


def test_a_run_begun_anew_is_empty_but_for_its_files(client: Client) -> None:
    assert setup(client, tags=["t"], notes="n") == 0
    live(client, 3)
    assert setup(client) == 0
    run = client.run("r1", FIELDS)
    assert (run["state"], run["fileCount"], run["tags"], run["notes"]) == ("running", 1, ["t"], "n")
    assert [run[name] for name in COUNTS] == [0, 0, 0]
    assert (run["history"], run["summaryMetrics"], run["systemMetrics"]) == ([], "{}", "{}")
    assert client.run("r1", "logLines(last: 9) { edges { node { line } } }")["logLines"]["edges"] == []
    live(client, 1)
    assert client.run("r1", "history historyKeys")["historyKeys"]["lastStep"] == 0


def test_a_resumed_run_goes_on(client: Client) -> None:
    setup(client)
    live(client, 3)
    storage_id = client.run("r1", "id")["id"]
    assert setup(client, id=storage_id) == 3
    assert len(client.run("r1", "history")["history"]) == 3


@pytest.mark.parametrize(
    ("agent", "fields"),
    [
        (CORE, {"host": None, "config": "{}"}),  # a change of the config, late
        ("W&B Internal Client 0.17.0", {}),  # its resumed runs cannot be told from those begun anew
        ("W&B Public Client 0.31.0", {"state": "running"}),
    ],
    ids=["change", "older", "reader"],
)
def test_other_writes_leave_the_data(client: Client, agent: str, fields: dict[str, Any]) -> None:
    setup(client)
    live(client, 3)
    assert setup(client, agent, **fields) == 3


def test_a_run_that_may_still_be_logged_loses_nothing(client: Client) -> None:
    setup(client)
    live(client, 3, complete=False)
    assert setup(client) == 3


def test_a_run_deleted_while_it_is_logged_stays_deleted(client: Client) -> None:
    """The program's last change of its config brings back no empty run that would seem to be running."""
    started = json.dumps({"a": {"value": 1}, "_wandb": {"value": {"t": {"1": [5]}}}})
    late = {"name": "r1", "modelName": "p", "entityName": client.entity, "config": started}

    def send(**fields: Any) -> tuple[int, str]:
        body = {"query": UPSERT, "variables": {"input": {**late, **fields}}}
        answer = client.request("POST", "/graphql", json=body, headers={"user-agent": CORE})
        return answer.status_code, answer.text

    setup(client)
    assert send()[0] == 200
    gone = client.run("r1", "id")["id"]
    client.query("mutation D($id: ID!) { deleteRun(input: {id: $id}) { success } }", id=gone)
    status, text = send()
    assert status == 404 and "deleted while it was logged" in text and client.names() == []
    # Programs that keep their host to themselves are set up with the program's name, or before they have started.
    assert send(jobProgram="train.py")[0] == 200 and send(name="r2", config="{}")[0] == 200
    assert sorted(client.names()) == ["r1", "r2"]


def test_a_silent_run_is_begun_anew(tmp_path: Path) -> None:
    server = start_local_server(tmp_path / "home", crash_after_s=1)
    client = Client(server.url, server.entity, server.api_key)
    try:
        setup(client)
        live(client, 3, complete=False)
        wait_until(lambda: bool(client.run("r1", "state")["state"] == "crashed"))
        assert setup(client) == 0
    finally:
        server.stop()


def test_ends_of_lines_are_not_part_of_them(client: Client) -> None:
    client.upsert("r1")
    content = ["2026-01-01T00:00:00.000000 one\n", "2026-01-01T00:00:00.000000 two"]
    client.stream("r1", files={"output.log": {"offset": 0, "content": content}})
    found = client.run("r1", "logLines(last: 9) { edges { node { line } } }")["logLines"]["edges"]
    assert [edge["node"]["line"] for edge in found] == ["one", "two"]


def test_one_run_from_several_programs_is_refused(client: Client) -> None:
    given = {"name": "r1", "modelName": "p", "entityName": client.entity, "host": "vm"}
    body = {"query": UPSERT, "variables": {"input": given}}
    headers = {"user-agent": CORE, "x-wandb-use-async-filestream": "true"}
    answer = client.request("POST", "/graphql", json=body, headers=headers).json()
    assert "mode='shared'" in answer["errors"][0]["message"]
