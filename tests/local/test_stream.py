"""file_stream: lines by number, sent once or twice; and what is read back of them."""

import gzip
import json
import time
from pathlib import Path

import pytest

from tests.local.client import Client
from tests.support.local_server import start_local_server

SAMPLED = "sampledHistory(specs: %s)"


def history(client: Client, run: str, arguments: str = "") -> list[str]:
    """Rows as texts."""
    found: list[str] = client.run(run, f"history{arguments}")["history"]
    return found


def sampled(client: Client, run: str, **spec: object) -> list[dict[str, object]]:
    """The rows of one spec."""
    found: list[dict[str, object]] = client.run(run, SAMPLED % json.dumps([json.dumps(spec)]))[
        "sampledHistory"
    ][0]
    return found


def test_rows_sent_twice_stand_once(client: Client) -> None:
    client.upsert("r1")
    rows = [{"_step": step, "loss": step / 2} for step in range(5)]
    client.log("r1", 0, rows)
    client.log("r1", 0, rows)
    client.log("r1", 3, [*rows[3:], {"_step": 9, "loss": 1, "acc": "high"}])
    run = client.run("r1", "historyLineCount historyKeys history")
    assert run["historyLineCount"] == 6
    assert [json.loads(row)["_step"] for row in run["history"]] == [0, 1, 2, 3, 4, 9]
    keys = run["historyKeys"]
    assert keys["lastStep"] == 9
    assert keys["keys"]["loss"]["typeCounts"] == [{"type": "number", "count": 6}]
    assert keys["keys"]["acc"]["typeCounts"] == [{"type": "string", "count": 1}]


def test_overwritten_rows_are_counted_anew(client: Client) -> None:
    client.upsert("r1")
    client.log("r1", 0, [{"_step": 0, "a": 1}, {"_step": 50, "a": "x", "b": {"c": 1}}])
    client.log("r1", 1, [{"_step": 1, "a": 2}])
    run = client.run("r1", "historyLineCount historyKeys history")
    assert [json.loads(row) for row in run["history"]] == [{"_step": 0, "a": 1}, {"_step": 1, "a": 2}]
    assert run["historyKeys"]["lastStep"] == 1
    assert "b.c" not in run["historyKeys"]["keys"]
    assert run["historyKeys"]["keys"]["a"]["typeCounts"] == [{"type": "number", "count": 2}]


def test_numbers_that_json_does_not_have(client: Client) -> None:
    client.upsert("r1")
    client.log("r1", 0, ['{"_step": 0, "loss": NaN, "up": Infinity, "d": {"x": -Infinity}}'])
    client.stream("r1", files={"wandb-summary.json": {"offset": 0, "content": ['{"loss": NaN}']}})
    # Bare inside texts, by name where the value is embedded: a Go reader breaks on anything else.
    assert history(client, "r1") == ['{"_step": 0, "loss": NaN, "up": Infinity, "d": {"x": -Infinity}}']
    assert client.run("r1", "summaryMetrics")["summaryMetrics"] == '{"loss": NaN}'
    assert sampled(client, "r1", keys=["_step", "loss", "up", "d.x"], samples=5) == [
        {"_step": 0, "loss": "NaN", "up": "Infinity", "d.x": "-Infinity"}
    ]
    body = (
        '{"files": {"wandb-history.jsonl": {"offset": 1, "content": ["{\\"_step\\": 1}"]}}, "ignored": NaN}'
    )
    path = f"/files/{client.entity}/p/r1/file_stream"
    assert client.request("POST", path, data=body).status_code == 200


def test_values_that_are_hard_to_keep(client: Client) -> None:
    client.upsert("r1")
    client.log(
        "r1", 0, ['{"_step": 0, "big": 123456789012345678901234567890, "half": "\\ud800", "a.b": 1, "ü": 2}']
    )
    rows = sampled(client, "r1", keys=["_step", "big", "a.b", "ü"], samples=5)
    assert rows == [{"_step": 0, "big": 123456789012345678901234567890, "a.b": 1, "ü": 2}]
    assert len(history(client, "r1")) == 1
    client.log("r1", 1, ['{"_step": 1, "x": "\ud800"}'])
    assert json.loads(history(client, "r1")[1])["_step"] == 1


def test_pages_by_step(client: Client) -> None:
    client.upsert("r1")
    client.log("r1", 0, [{"_step": step * 10, "a": step} for step in range(100)])
    steps = [
        json.loads(row)["_step"]
        for row in history(client, "r1", "(minStep: 100, maxStep: 200, samples: 100)")
    ]
    assert steps == list(range(100, 200, 10))
    few = [json.loads(row)["_step"] for row in history(client, "r1", "(samples: 5)")]
    assert len(few) == 5 and few[0] == 0 and few[-1] == 990 and few == sorted(few)
    # A spec includes its maxStep, unlike the arguments of history.
    rows = sampled(client, "r1", keys=["_step", "a", "_step"], minStep=100, maxStep=120, samples=9)
    assert rows == [{"_step": 100, "a": 10}, {"_step": 110, "a": 11}, {"_step": 120, "a": 12}]
    assert [row["a"] for row in sampled(client, "r1", keys=["a"], samples=3)] == [0, 50, 99]
    assert client.run("r1", 'parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData }') == {
        "parquetHistory": {"parquetUrls": [], "liveData": []}
    }


def test_sampled_rows_have_all_keys(client: Client) -> None:
    client.upsert("r1")
    client.log(
        "r1", 0, [{"_step": 0, "a": 1}, {"_step": 1, "b": {"c": 2}}, {"_step": 2, "a": 3, "b": {"c": 4}}]
    )
    assert sampled(client, "r1", keys=["a", "b.c"], samples=9) == [{"a": 3, "b.c": 4}]
    assert sampled(client, "r1", keys=["none"], samples=9) == []


@pytest.mark.parametrize("spec", ["{", "[]", '{"keys": 1}', '{"keys": ["a"], "samples": "x"}'])
def test_broken_specs_are_refused(client: Client, spec: str) -> None:
    client.upsert("r1")
    document = (
        'query Q($s: [JSONString!]!) { project(name: "p") { run(name: "r1") { sampledHistory(specs: $s) } } }'
    )
    status, text = client.errors(document, s=[spec])
    assert status == 400 and "spec" in text


def test_system_metrics_are_the_latest_of_each(client: Client) -> None:
    client.upsert("r1")
    rows = [
        '{"_wandb": true, "_runtime": 1, "system.cpu": 5}',
        '{"_wandb": true, "_runtime": 2, "system.gpu": 7}',
    ]
    client.stream("r1", files={"wandb-events.jsonl": {"offset": 0, "content": rows}})
    run = client.run("r1", "systemMetrics eventsLineCount events eventsTail")
    assert json.loads(run["systemMetrics"]) == {"_runtime": 2, "system.cpu": 5, "system.gpu": 7}
    assert run["events"] == rows and run["eventsLineCount"] == 2
    assert json.loads(run["eventsTail"]) == [rows[1]]


def test_console_lines_can_be_rewritten(client: Client) -> None:
    client.upsert("r1")
    stamp = "2026-01-01T00:00:00.000000"
    content = [f"{stamp} one", f"ERROR {stamp} two", f"{stamp} 10%"]
    client.stream("r1", files={"output.log": {"offset": 0, "content": content}})
    client.stream("r1", files={"output.log": {"offset": 2, "content": [f"{stamp} 99%", "without a stamp"]}})
    lines = "logLines(last: 2) { edges { node { number timestamp level line } } }"
    run = client.run("r1", "logLineCount " + lines)
    assert run["logLineCount"] == 4
    assert [edge["node"]["line"] for edge in run["logLines"]["edges"]] == ["99%", "without a stamp"]
    page = "logLines(first: 2, useImprovedPagination: true) "
    page += "{ edges { node { number level line } } pageInfo { endCursor hasNextPage } }"
    first = client.run("r1", page)["logLines"]
    assert [edge["node"] for edge in first["edges"]] == [
        {"number": 0, "level": "", "line": "one"},
        {"number": 1, "level": "error", "line": "two"},
    ]
    assert first["pageInfo"]["hasNextPage"] is True
    after = page.replace("first: 2", f'first: 2, after: "{first["pageInfo"]["endCursor"]}"')
    second = client.run("r1", after)["logLines"]
    assert [edge["node"]["number"] for edge in second["edges"]] == [2, 3]
    assert second["pageInfo"]["hasNextPage"] is False


def test_the_end_of_a_run(client: Client) -> None:
    client.upsert("good")
    client.stream("good", complete=True, exitcode=0)
    client.upsert("bad")
    client.stream("bad", complete=True, exitcode=255)
    assert client.run("good", "state exitcode") == {"state": "finished", "exitcode": 0}
    assert client.run("bad", "state exitcode") == {"state": "failed", "exitcode": 255}
    client.upsert("good")  # set up again: it goes on
    assert client.run("good", "state exitcode") == {"state": "running", "exitcode": None}


def test_a_run_that_ends_right_after_its_preemption_was_preempted(client: Client) -> None:
    for name, code, state in (("preempted", 1, "preempted"), ("done", 0, "finished")):
        client.upsert(name)
        client.stream(name, preempting=True, complete=True, exitcode=code)  # as the SDK sends both at once
        assert client.run(name, "state") == {"state": state}


def test_resuming_clients_learn_where_to_go_on(client: Client) -> None:
    client.upsert(
        "r1", config={"_wandb": {"value": {"t": {"1": [1]}, "cli_version": "0"}}, "lr": {"value": 1}}
    )
    client.log("r1", 0, [{"_step": 0}, {"_step": 7}])
    run = client.run("r1", 'historyLineCount historyTail eventsTail wandbConfig(keys: ["t"])')
    assert json.loads(run["wandbConfig"]) == {"t": {"1": [1]}}
    assert [json.loads(row) for row in json.loads(run["historyTail"])] == [{"_step": 7}]
    assert json.loads(run["eventsTail"]) == []
    assert client.upsert("r1")["inserted"] is False


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"wandb-history.jsonl": {"offset": 0, "content": ["{"]}}, "line 0 of wandb-history.jsonl"),
        ({"wandb-history.jsonl": {"offset": 0, "content": ["3"]}}, "must be a JSON object"),
        ({"wandb-summary.json": {"offset": 0, "content": ["[]"]}}, "must be a JSON object"),
        ({"wandb-history.jsonl": {"offset": -1, "content": []}}, "offset"),
        ({"wandb-history.jsonl": {"offset": True, "content": []}}, "offset"),
        ({"output.log": {"offset": 0, "content": [1]}}, "content"),
        ({"output.log": 5}, "content"),
        ([], "'files' must be"),
        ({"unknown.txt": {"offset": 0, "content": ["x"]}}, None),
    ],
)
def test_broken_streams_are_refused_and_leave_nothing(
    client: Client, files: object, expected: str | None
) -> None:
    client.upsert("r1")
    response = client.stream("r1", check=expected is None, files=files or [1])
    if expected is not None:
        assert response.status_code == 400 and expected in response.text
    assert client.run("r1", "historyLineCount logLineCount") == {"historyLineCount": 0, "logLineCount": 0}


def test_a_stream_to_no_run_is_not_found(client: Client) -> None:
    assert client.stream("nope", check=False).status_code == 404


def test_bodies_are_bounded_and_may_be_zipped(tmp_path: Path) -> None:
    server = start_local_server(tmp_path / "home", max_body_bytes=100_000)
    try:
        client = Client(server.url, server.entity, server.api_key)
        client.upsert("r1")
        path = f"/files/{client.entity}/p/r1/file_stream"
        rows = {"files": {"output.log": {"offset": 0, "content": ["x" * 40_000]}}}
        zipped = {"Content-Encoding": "gzip"}
        small = gzip.compress(json.dumps(rows).encode())
        assert client.request("POST", path, data=small, headers=zipped).status_code == 200
        bomb = gzip.compress(b" " * 10_000_000)
        assert client.request("POST", path, data=bomb, headers=zipped).status_code == 413
        assert client.request("POST", path, data=small[:-5], headers=zipped).status_code == 400
        assert client.request("POST", "/graphql", data=b" " * 100_001).status_code == 413
        assert client.request("POST", "/graphql", data=(b" " * 60_000 for _ in range(2))).status_code == 413
        assert client.run("r1", "logLineCount") == {"logLineCount": 1}
    finally:
        server.stop()


def test_silent_runs_crash_and_come_back(tmp_path: Path) -> None:
    server = start_local_server(tmp_path / "home", crash_after_s=0.6)
    try:
        client = Client(server.url, server.entity, server.api_key)
        client.upsert("silent")
        client.upsert("done", state="finished")
        deadline = time.monotonic() + 15
        while client.run("silent", "state")["state"] != "crashed":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.run("done", "state")["state"] == "finished"
        client.stream("silent")
        assert client.run("silent", "state")["state"] == "running"
    finally:
        server.stop()
