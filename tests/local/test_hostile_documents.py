"""GraphQL documents and variables made to hurt: refused before they are executed, while others are served."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from tests.local.client import UPSERT, Client
from tests.local.hostile import memory, refusal
from tests.support.local_server import LocalServer

DEEP = 100_000


def aliases(count: int, field: str) -> str:
    """A selection of the same field under many names."""
    return " ".join(f"a{n}: {field}" for n in range(count))


def chain(count: int) -> str:
    """Fragments of which each spreads the next one twice."""
    parts = [f"fragment F{n} on User {{ ...F{n + 1} x: id ...F{n + 1} }}" for n in range(count)]
    return " ".join((*parts, f"fragment F{count} on User {{ id }}"))


PAGES = 'project(name: "p") { runs(first: 1000) { edges { node { id } } } }'
BOMBS = {
    "a thousand pages": "{ " + aliases(1000, PAGES) + " }",
    "a hundred pages": "{ " + aliases(100, PAGES) + " }",
    "pages below fragments": "{ " + aliases(500, 'project(name: "p") { ...P }') + " } fragment P on Project "
    "{ x: runs(first: 1000) { edges { node { id } } } y: runs(first: 1000) { edges { node { id } } } }",
    "a thousand counts": '{ project(name: "p") { ' + aliases(1000, 'runCount(filters: "{}")') + " } }",
    "a thousand histories": '{ project(name: "p") { run(name: "r") { '
    + aliases(1000, "history(samples: 1000000000)")
    + " } } }",
    "runs in projects": "{ projects(first: 1000) { edges { node { runs(first: 1000) { edges { node { id } } } } } } }",
    "runs in runs": '{ project(name: "p") { runs { edges { node { project { runs { edges { node { id } } } } } } } } }',
    "specs without end": '{ project(name: "p") { run(name: "r") { sampledHistory(specs: ['
    + '"{}" ' * 9000
    + "]) } } }",
    "fragments that double": "{ viewer { ...F0 } } " + chain(30),
    "fragments in a circle": "{ viewer { ...A } } fragment A on User { ...B } fragment B on User { ...A }",
    "a fragment in itself": "{ viewer { ...A } } fragment A on User { teams { edges { node { members { ...A } } } } }",
    "directives": "{ viewer { id " + "@include(if: true) " * 5000 + "} }",
    "directives nobody knows": "{ viewer { id " + "@a " * 15_000 + "} }",
    "fields": "{ viewer { " + "id " * 15_000 + "} }",
    "fields nobody knows": "{ viewer { " + " ".join(f"z{n}" for n in range(4000)) + " } }",
    "a long name": "{ viewer { " + "i" * 200_000 + " } }",
    "a long text": '{ entity(name: "' + "x" * 300_000 + '") { id } }',
    "introspection": "{ __schema { types { " + "fields { type { " * 6 + "name" + " } }" * 6 + " } } }",
    "introspection of a type": '{ __type(name: "Run") { '
    + "fields { type { " * 8
    + "name"
    + " } }" * 8
    + " } }",
    "braces": "{" * DEEP,
    "brackets": "{ viewer(x: " + "[" * DEEP,
    "lists": "query Q($x: " + "[" * DEEP + "Int" + "]" * DEEP + ") { viewer { id } }",
    "objects": "{ viewer(x: " + "{a: " * 1000 + "1" + "}" * 1000 + ") { id } }",
    "variables": "query Q(" + " ".join(f"$v{n}: Int" for n in range(15_000)) + ") { viewer { id } }",
    "operations": " ".join(f"query q{n} {{ viewer {{ id }} }}" for n in range(3000)),
    "types defined": "type Query { x: Int } { viewer { id } }",
    "nothing": "",
    "NUL": "{ viewer { id } }\x00",
    "comments only": "#" * 200_000,
    "half a surrogate": '{ entity(name: "\\ud800") { id } }',
    "a page of minus one": '{ project(name: "p") { runs(first: -1) { edges { node { id } } } } }',
    "a page of a billion digits": '{ project(name: "p") { runs(first: '
    + "9" * 10_000
    + ") { totalCount } } }",
    "samples beyond numbers": '{ project(name: "p") { run(name: "r") { history(samples: 1000000000000) } } }',
    "mutation in circles": "mutation M { " + aliases(50, 'deleteRun(input: {id: "x"}) { success }') + " }",
    "subscription": "subscription { viewer { id } }",
}


@pytest.mark.parametrize("name", BOMBS)
def test_documents_that_ask_too_much_are_refused(client: Client, server: LocalServer, name: str) -> None:
    client.upsert("r")
    before, begun = memory(server.pid), time.monotonic()
    refusal(client.post(BOMBS[name]))
    assert time.monotonic() - begun < 10 and memory(server.pid) - before < 200 << 20


def test_what_real_clients_ask_for_at_most_is_not_too_much(client: Client) -> None:
    client.upsert("r")
    fields = "id name displayName config summaryMetrics systemMetrics historyKeys tags user { name } " * 3
    page = f'runs(first: $n) {{ edges {{ cursor node {{ {fields} sampledHistory(specs: ["{{}}"]) }} }} }}'
    document = f'query Q($n: Int) {{ project(name: "p") {{ runCount(filters: "{{}}") {page} }} }}'
    assert client.query(document, n=1000)["project"]["runCount"] == 1
    assert client.query('{ project(name: "p") { runs(first: 1000000000) { edges { node { id } } } } }')[
        "project"
    ]
    brackets = "{[(" * 200  # in texts and comments they mean nothing
    assert client.query(f'{{ entity(name: "{brackets}") {{ id }} }} # {brackets}') == {"entity": None}


@pytest.mark.parametrize(
    "variables",
    [
        {"n": 10**30},
        {"n": "10"},
        {"n": True},
        {"n": 1.5},
        {"n": [1]},
        {"n": {"a": 1}},
        {"n": -(10**9)},
        {"min": 1.5},
        {"min": "x"},
        {"min": 2**63},
        {"min": "9" * 5000},
        {"min": True},
        {"min": [1]},
        {"order": 5},
        {"order": "x" * 100_000},
        {"order": "\x00"},
        {"filters": "["},
        {"filters": "[" * DEEP},
        {"filters": '{"$and":' * 1000 + "{}" + "}" * 1000},
        {"filters": '{"a.b": NaN, "c": ' + "9" * 5000 + "}"},
        {"filters": {"$where": "1"}},
        {"after": "x"},
        {"after": "b2Zmc2V0Oi0x"},
        {"after": "b2Zmc2V0Ojk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"},
        {"after": "é" * 1000},
    ],
)
def test_variables_that_do_not_fit_are_refused(client: Client, variables: dict[str, Any]) -> None:
    client.upsert("r")
    document = (
        'query Q($n: Int, $min: Int64, $order: String, $filters: JSONString, $after: String) { project(name: "p") '
        "{ runs(first: $n, order: $order, filters: $filters, after: $after) { edges { node { id } } } "
        'run(name: "r") { history(minStep: $min, samples: 5) } } }'
    )
    refusal(client.post(document, **variables))


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "1",
        "null",
        "[" * DEEP,
        '{"keys": {}}',
        '{"keys": ["a"], "samples": 1e400}',
        '{"keys": ["a"], "minStep": "1"}',
        '{"keys": ["a"], "maxStep": ' + "9" * 5000 + "}",
        '{"keys": ["a"], "samples": NaN}',
    ],
)
def test_specs_that_make_no_sense_are_refused(client: Client, spec: str) -> None:
    client.upsert("r")
    document = (
        'query Q($s: [JSONString!]!) { project(name: "p") { run(name: "r") { sampledHistory(specs: $s) } } }'
    )
    assert "spec" in refusal(client.post(document, s=[spec]))


@pytest.mark.parametrize(
    "spec",
    [
        {"keys": []},
        {"keys": ["a"], "samples": 10**12},
        {"keys": ["a"], "samples": -5},
        {"keys": ["a", "a", 1, None, {"b": 1}]},
        {"keys": ["a"], "minStep": -(10**15), "maxStep": 10**15},
        {"keys": ["a.b.c" * 10_000]},
        {"keys": ["a"], "minStep": 0.5},
    ],
)
def test_specs_that_are_only_odd_are_answered(client: Client, spec: dict[str, Any]) -> None:
    client.upsert("r")
    client.log("r", 0, [{"_step": 0, "a": 1}])
    document = (
        'query Q($s: [JSONString!]!) { project(name: "p") { run(name: "r") { sampledHistory(specs: $s) } } }'
    )
    assert len(client.query(document, s=[json.dumps(spec)])["project"]["run"]["sampledHistory"]) == 1


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("brackets", b"[" * DEEP),
        ("objects", b'{"a":' * DEEP),
        (
            "nested variables",
            b'{"query": "{ viewer { id } }", "variables": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
        ),
        ("many values", b'{"query": "{ viewer { id } }", "variables": {"a": [' + b"1," * 2_000_000 + b"1]}}"),
        (
            "many objects",
            b'{"query": "{ viewer { id } }", "variables": {"a": [' + b"{}," * 2_000_000 + b"1]}}",
        ),
        ("a long number", b'{"query": "{ viewer { id } }", "variables": {"a": ' + b"9" * 5000 + b"}}"),
        ("broken UTF-8", b'{"query": "\xff\xfe"}'),
        ("UTF-16", '{"query": "{ viewer { id } }"'.encode("utf-16")),
        ("a list", b'[{"query": "{ viewer { id } }"}]'),
        ("a document that is a list", b'{"query": ["{ viewer { id } }"]}'),
        ("variables that are a text", b'{"query": "{ viewer { id } }", "variables": "{}"}'),
        ("a name that is a number", b'{"query": "{ viewer { id } }", "operationName": 1}'),
        ("NaN", b'{"query": NaN}'),
        ("trailing", b'{"query": "{ viewer { id } }"} x'),
        ("form", b"query=%7Bviewer%7Bid%7D%7D"),
    ],
)
def test_bodies_that_are_hardly_json(client: Client, server: LocalServer, name: str, body: bytes) -> None:
    before = memory(server.pid)
    refusal(client.request("POST", "/graphql", data=body))
    assert memory(server.pid) - before < 300 << 20, name


def test_bodies_that_are_only_odd_are_understood(client: Client) -> None:
    for body in (
        b'{"query": "{ nonsense }", "query": "{ viewer { entity } }"}',  # the last one counts
        b'{"query": "{ viewer { entity } }", "variables": {"a": NaN, "b": 1e400, "c": "\\ud800"}}',
        b'  {"query": "{ viewer { entity } }", "variables": null, "operationName": null, "extensions": {}}  ',
        b'{"query": "{ viewer { entity } }", "variables": {%s}}'
        % b",".join(b'"v%d":1' % n for n in range(200_000)),
    ):
        response = client.request("POST", "/graphql", data=body)
        assert response.status_code == 200 and response.json()["data"]["viewer"]["entity"] == client.entity


def test_somebody_elses_cursors_and_ids_lead_nowhere(client: Client) -> None:
    for bad in ("", "x", "\x00", "é", "A" * 100_000, "UnVuOnYxOng6cDp1", "../../etc/passwd", "' OR 1=1 --"):
        for mutation in ("deleteRun", "stopRun"):
            kind = mutation[0].upper() + mutation[1:]
            document = f"mutation M($i: {kind}Input!) {{ {mutation}(input: $i) {{ success }} }}"
            told = "run u/p/x not found" if bad.startswith("UnVu") else "no run has the id"
            assert told in refusal(client.post(document, i={"id": bad}))
        document = "mutation D($f: [ID!]!) { deleteFiles(input: {files: $f}) { success } }"
        assert client.query(document, f=[bad])["deleteFiles"]["success"] is True  # as if gone already


def test_a_failed_document_changes_nothing(client: Client) -> None:
    document = (
        "mutation M($i: UpsertBucketInput!) { a: upsertBucket(input: $i) { inserted } "
        'b: deleteRun(input: {id: "x"}) { success } }'
    )
    refusal(client.post(document, i={"name": "r", "modelName": "p"}))
    assert client.query('{ project(name: "p") { id } }')["project"] is None


def test_others_are_answered_while_somebody_asks_too_much(client: Client, server: LocalServer) -> None:
    client.upsert("r")
    client.log("r", 0, [{"_step": n, "a": n, "b": "x" * 50} for n in range(5000)])
    spec = json.dumps({"keys": ["a", "b"], "samples": 5000})
    document = (
        'query Q($s: [JSONString!]!) { project(name: "p") { run(name: "r") { sampledHistory(specs: $s) } } }'
    )
    greedy = [
        threading.Thread(target=client.post, args=(document,), kwargs={"s": [spec] * 20}) for _ in range(12)
    ]
    for thread in greedy:
        thread.start()
    other = Client(client.url, "local", server.api_key)
    begun = time.monotonic()
    assert other.query("{ viewer { entity } }")["viewer"]["entity"] == "local"
    assert any(thread.is_alive() for thread in greedy) or time.monotonic() - begun < 1
    for thread in greedy:
        thread.join()


def test_writes_are_refused_by_name(client: Client) -> None:
    for field, value in (
        ("config", "[" * DEEP),
        ("config", "9" * 5000),
        ("config", '{"a":' * 300 + "1" + "}" * 300),
        ("summaryMetrics", "[1]"),
        ("summaryMetrics", '{"a": ' + "[" * DEEP),
        ("summaryMetrics", "{" + ",".join(f'"k{n}":1' for n in range(1_100_000)) + "}"),
    ):
        response = client.post(UPSERT, input={"name": "r", "modelName": "p", field: value})
        assert field in refusal(response)
