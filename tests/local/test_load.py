"""Many at once and much of it: nothing is lost, nothing is kept twice, and internal errors stay internal."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.local.client import Client
from tests.support.local_server import LocalServer, start_local_server


def test_writers_and_readers_at_once(client: Client, server: LocalServer) -> None:
    def write(number: int) -> None:
        name = f"w{number}"
        client.upsert(name, config={"a": {"value": number}})
        for offset in range(0, 200, 50):
            client.log(name, offset, [{"_step": step, "a": step} for step in range(offset, offset + 50)])
            client.upsert("shared", tags=[f"t{number}"])
        client.request("PUT", f"/files/{client.entity}/p/{name}/a.bin", data=b"x" * 50_000)
        client.stream(name, complete=True, exitcode=0)

    def read(_number: int) -> None:
        for _ in range(5):
            project = client.query(
                'query Q($e: String, $f: JSONString) { project(name: "p", entityName: $e) { runCount(filters: $f) } }',
                e=client.entity,
                f='{"config.a": 1}',
            )["project"]
            assert project is None or project["runCount"] in (0, 1)

    def add(number: int) -> None:
        server.add_user(f"{client.entity}-{number}")

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(work, number) for number in range(6) for work in (write, read)]
        jobs += [pool.submit(add, number) for number in range(2)]
        for job in jobs:
            job.result(timeout=50)
    found = client.runs(filters='{"state": "finished"}', perPage=100)
    assert found["runCount"] == 6
    for edge in found["runs"]["edges"]:
        assert edge["node"]["historyLineCount"] == 200 and edge["node"]["historyKeys"]["lastStep"] == 199


def test_a_long_history_is_kept_small(tmp_path: Path) -> None:
    server = start_local_server(tmp_path / "home")
    client = Client(server.url, server.entity, server.api_key)
    try:
        client.upsert("big")
        for offset in range(0, 20_000, 5_000):
            rows = [
                {
                    "_step": step,
                    "_timestamp": 1.79e9 + step,
                    **{f"metric_{n}": step / (n + 3) for n in range(10)},
                }
                for step in range(offset, offset + 5_000)
            ]
            client.log("big", offset, rows)
        page = client.run("big", "history(minStep: 7000, maxStep: 8000, samples: 1000)")["history"]
        assert [json.loads(row)["_step"] for row in page] == list(range(7000, 8000))
        assert len(client.run("big", "history(samples: 500)")["history"]) == 500
    finally:
        server.stop()
    assert (server.home / "local.db").stat().st_size < 12_000_000  # 100,000 steps of ten keys: at most 60 MB


def test_lists_of_a_thousand_runs_come_in_one_page(client: Client) -> None:
    for begin in range(0, 1001, 250):
        aliases = " ".join(
            f'a{n}: upsertBucket(input: {{name: "r{n:04}", modelName: "p", '
            f'config: "{{\\"n\\": {{\\"value\\": {n}}}}}"}}) {{ inserted }}'
            for n in range(begin, min(begin + 250, 1001))
        )
        client.query("mutation M { " + aliases + " }")
    names = client.names(order="+config.n", first=5000)
    assert names == [f"r{n:04}" for n in range(1000)]  # never more than a thousand
    assert client.runs()["runCount"] == 1001


NASTY = [
    "",
    "null",
    "[]",
    "{}",
    '"x"',
    "1e999",
    "NaN",
    "9" * 400,
    '{"keys": ["a"], "maxStep": 1e999}',
    '{"keys": ["a"], "minStep": NaN}',
    '{"keys": ["a"], "samples": ' + "9" * 400 + "}",
    '{"keys": [null, {}, []], "samples": -5}',
    '{"keys": ["' + "a." * 5000 + '"]}',
    '{"config.a": {"$gt": ' + "9" * 400 + "}}",
    '{"created_at": {"$gt": ' + "9" * 400 + "}}",
    '{"created_at": "9999-12-31T23:59:59-23:59"}',
    '{"config.' + "a." * 5000 + 'x": 1}',
    '{"name": "\\ud800"}',
    '{"$and": ' * 500 + "[]" + "}" * 500,
    "b2Zmc2V0Ojk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
    "b2Zmc2V0Oi0x",
    "RmlsZTp2MTo5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
    "UnVuOnYxOjo6",
    "\x00",
    "+config." + "a." * 5000,
    "ü\U0001f600",
]
NASTY_DOCUMENTS = [
    'query Q($x: [JSONString!]!) { project(name: "p") { run(name: "r1") { sampledHistory(specs: $x) } } }',
    'query Q($x: JSONString) { project(name: "p") { runCount(filters: $x) runs(filters: $x) { edges { cursor } } } }',
    'query Q($x: String) { project(name: "p") { runs(order: $x) { edges { cursor } } } }',
    'query Q($x: String) { project(name: "p") { runs(after: $x) { edges { cursor } } } }',
    "query Q($x: String!) { project(name: $x) { id run(name: $x) { id } } }",
    'query Q($x: String!) { project(name: "p") { run(name: $x) { id } } }',
    'query Q($x: String) { project(name: "p") { run(name: "r1") { files(pattern: $x) { edges { cursor } } } } }',
    'query Q($x: String) { project(name: "p") { run(name: "r1") { files(names: [$x]) { edges { node { id } } } } } }',
    'query Q($x: Int64) { project(name: "p") { run(name: "r1") { history(minStep: $x, maxStep: $x, samples: -1) } } }',
    'query Q($x: Int) { project(name: "p") { run(name: "r1") { history(samples: $x) } } }',
    'query Q($x: Int) { project(name: "p") { run(name: "r1") { logLines(last: $x) { edges { cursor } } } } }',
    'query Q($x: Int) { project(name: "p") { run(name: "r1") { logLines(first: $x) { edges { cursor } } } } }',
    "mutation M($x: ID!) { deleteFiles(input: {files: [$x]}) { success } }",
    "mutation M($x: ID!) { deleteRun(input: {id: $x}) { success } }",
    "mutation M($x: String) { upsertBucket(input: {name: $x, modelName: $x, notes: $x}) { bucket { id notes } } }",
    'mutation M($x: JSONString) { upsertBucket(input: {name: "n", config: $x}) { bucket { config wandbConfig } } }',
]


@pytest.mark.parametrize("document", NASTY_DOCUMENTS)
def test_no_argument_is_an_internal_error(client: Client, document: str) -> None:
    client.upsert("r1", config={"a": {"value": 1}})
    client.log("r1", 0, [{"_step": 0, "a": 1}])
    values: list[Any] = [*NASTY, "\ud800", 2**31, -1, 2**70, 1.5, True, {}, [], ["x"], None]
    for value in values:
        # The standard library spells what the SDK's writers cannot be kept from sending.
        body = json.dumps({"query": document, "variables": {"x": value}})
        response = client.request("POST", "/graphql", data=body.encode())
        assert response.status_code in (200, 400, 403, 404), (value, response.text)


@pytest.mark.parametrize(
    "chunk",
    [
        {"offset": 2**31, "content": ["{}"]},
        {"offset": 2**31 - 2, "content": ["{}", "{}"]},
        {"offset": 0, "content": ['{"_step": ' + "9" * 400 + "}"]},
        {"offset": 0, "content": ['{"_step": 1e999, "a": "\\ud800", "\\ud800": 1}', '{"_step": true}']},
        {"offset": 0, "content": ["\ud800"]},
        {"offset": 0, "content": ['{"a": ' * 2000 + "1" + "}" * 2000]},
        {"offset": 0, "content": ["\x00"]},
    ],
)
def test_no_stream_is_an_internal_error(client: Client, chunk: Any) -> None:
    client.upsert("r1")
    path = f"/files/{client.entity}/p/r1/file_stream"
    for name in ("wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log"):
        for extra in ({}, {"complete": True, "exitcode": 2**40}):
            body = json.dumps({"files": {name: chunk}, **extra})
            response = client.request("POST", path, data=body.encode())
            assert response.status_code in (200, 400), response.text
    assert client.run("r1", "historyKeys summaryMetrics exitcode history events logLineCount")


def test_pages_end_early_where_documents_are_huge(client: Client) -> None:
    summary = {"histogram": "x" * 4_000_000}
    for number in range(12):
        client.upsert(f"r{number:02}", summaryMetrics=summary)
    for order, filters in ((None, "{}"), ("+name", '{"state": "running"}')):
        names: list[str] = []
        pages, cursor, more = 0, None, True
        while more:
            project = client.runs(perPage=1000, cursor=cursor, order=order, filters=filters)
            names += [edge["node"]["name"] for edge in project["runs"]["edges"]]
            cursor, more = (
                project["runs"]["pageInfo"]["endCursor"],
                project["runs"]["pageInfo"]["hasNextPage"],
            )
            pages += 1
            assert project["runCount"] == 12
        assert pages == 2 and sorted(names) == [f"r{number:02}" for number in range(12)]


def test_internal_errors_stay_internal(tmp_path: Path) -> None:
    server = start_local_server(tmp_path / "home")
    client = Client(server.url, server.entity, server.api_key)
    try:
        client.upsert("r1")
        with sqlite3.connect(server.home / "local.db") as connection:
            connection.execute("UPDATE runs SET config = '{broken', history_line_count = 'x'")
        connection.close()
        answers: list[requests.Response] = [
            client.post('{ project(name: "p") { runCount(filters: "{\\"config.a\\": 1}") } }'),
            client.stream("r1", check=False, files={"output.log": {"offset": 0, "content": ["x"]}}),
        ]
        with sqlite3.connect(server.home / "local.db") as connection:
            connection.execute("DROP TABLE chunks")
        connection.close()
        answers.append(
            client.stream("r1", check=False, files={"output.log": {"offset": 0, "content": ["x"]}})
        )
        bodies: list[Any] = [answers[0].json(), answers[2].json()]
        for answer, body in zip((answers[0], answers[2]), bodies, strict=True):
            assert answer.status_code == 500
            assert [error["message"] for error in body["errors"]] == ["internal error, see the log"]
        assert all(
            "Traceback" not in answer.text and "sqlite" not in answer.text.lower() for answer in answers
        )
        log = (server.home / "local.log").read_text()
        assert "Traceback" in log and "no such table: chunks" in log
        assert server.api_key not in log
        assert client.query("{ viewer { entity } }")["viewer"]["entity"] == "local"
    finally:
        server.stop()
