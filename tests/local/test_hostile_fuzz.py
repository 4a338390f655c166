"""Whatever comes in, the answer is never a server error, and the server goes on."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local.client import UPSERT, Client

SETTINGS = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["", "\x00", "\ud800", "'", "NaN", "{}", "[", "-1", "+created_at", "config.a", "%", "_step"]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TEXTS = JSON.map(lambda value: json.dumps(value))
LINES = st.lists(TEXTS | JSON, max_size=4) | JSON
ROWS = st.dictionaries(
    st.sampled_from(["_step", "a", "b.c", "", "\ud800"]) | st.text(max_size=5), JSON, max_size=4
)
GOOD_LINES = st.lists(ROWS.map(lambda row: json.dumps(row)), max_size=5)
GOOD_CHUNKS = st.fixed_dictionaries({"offset": st.integers(0, 30), "content": GOOD_LINES})
BAD_CHUNKS = (
    st.fixed_dictionaries({}, optional={"offset": st.integers(-1, 50) | JSON, "content": LINES}) | JSON
)
NAMES = st.sampled_from(
    ["wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log", "x"]
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "files": st.dictionaries(NAMES, GOOD_CHUNKS, max_size=3) | st.dictionaries(NAMES, BAD_CHUNKS) | JSON,
        "complete": st.booleans() | JSON,
        "exitcode": JSON,
        "preempting": st.booleans() | JSON,
        "uploaded": JSON,
    },
)
DOCUMENT = """
query Q($project: String, $entity: String, $run: String!, $filters: JSONString, $order: String, $first: Int,
        $after: String, $samples: Int, $min: Int64, $max: Int64, $specs: [JSONString!]!, $names: [String],
        $pattern: String, $keys: [String!]) {
  project(name: $project, entityName: $entity) {
    runCount(filters: $filters)
    runs(filters: $filters, order: $order, first: $first, after: $after) {
      edges { node { name config summaryMetrics tags } cursor } pageInfo { endCursor }
    }
    run(name: $run) {
      history(minStep: $min, maxStep: $max, samples: $samples) events(samples: $samples) sampledHistory(specs: $specs)
      files(names: $names, pattern: $pattern, first: $first, after: $after) { edges { node { name url } } }
      logLines(first: $first, after: $after) { edges { node { line } } }
      wandbConfig(keys: $keys) historyKeys historyTail
    }
    sweeps(first: $first, after: $after, filters: $filters) { edges { node { name } } }
  }
  projects(entityName: $entity, first: $first, after: $after) { edges { node { name } } }
  users(query: $pattern) { edges { node { name } } }
}"""
COLUMNS = st.sampled_from(
    ["name", "tags", "state", "createdAt", "config.a", "summary_metrics.a.b", "duration", "x"]
)
OPERATORS = st.sampled_from(
    ["$eq", "$ne", "$in", "$nin", "$gt", "$lte", "$exists", "$regex", "$not", "$all", "$size"]
)
CONDITIONS = JSON | st.dictionaries(
    OPERATORS, JSON | st.dictionaries(OPERATORS, JSON, max_size=1), max_size=2
)
FILTERS = st.recursive(
    st.dictionaries(COLUMNS, CONDITIONS, max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, max_size=2), max_size=1
    ),
    max_leaves=4,
).map(lambda value: json.dumps(value))
ORDERS = st.builds(lambda sign, column: sign + column, st.sampled_from(["+", "-", ""]), COLUMNS)
SPECS = st.fixed_dictionaries(
    {"keys": st.lists(st.sampled_from(["a", "_step", "", "a.b"]), max_size=3) | JSON},
    optional={
        "samples": st.integers() | JSON,
        "minStep": st.integers() | st.floats(),
        "maxStep": st.integers() | JSON,
    },
).map(lambda value: json.dumps(value))
INPUTS = (
    "name",
    "groupName",
    "modelName",
    "entityName",
    "displayName",
    "notes",
    "config",
    "commit",
    "state",
    "sweep",
)


@pytest.fixture
def session(client: Client) -> requests.Session:
    """A connection that is kept, with the client's key."""
    made = requests.Session()
    made.auth = ("api", client.api_key)
    client.upsert("r1", config={"a": {"value": 1}})
    client.log("r1", 0, [{"_step": 0, "a": 1}])
    return made


def send(session: requests.Session, address: str, body: Any) -> None:
    """Send a body as it may come, lone surrogates and NaN included, and look at the answer."""
    response = session.post(address, data=json.dumps(body).encode(), timeout=20)
    assert response.status_code < 500, (response.status_code, response.text[:500], body)
    answer = json.loads(response.text, parse_constant=lambda name: pytest.fail(f"{name} in an answer"))
    if response.status_code >= 400:
        assert answer["errors"][0]["message"]


@SETTINGS
@given(body=BODIES)
def test_streams_of_any_kind(client: Client, session: requests.Session, body: Any) -> None:
    send(session, f"{client.url}/files/{client.entity}/p/r1/file_stream", body)
    # Whatever was taken can be read again.
    shown = "history(samples: 9) events historyKeys historyTail systemMetrics logLines { edges { cursor } }"
    send(
        session,
        f"{client.url}/graphql",
        {"query": f'{{ project(name: "p") {{ run(name: "r1") {{ {shown} }} }} }}'},
    )


@SETTINGS
@given(
    variables=st.fixed_dictionaries(
        {"run": st.sampled_from(["r1", "r1", "", "\ud800"]), "specs": st.lists(SPECS | TEXTS, max_size=2)},
        optional={
            "entity": st.text(max_size=5) | JSON,
            "filters": FILTERS | TEXTS,
            "order": ORDERS | st.text(max_size=9),
            "first": st.integers(-2, 2000),
            "after": st.text(max_size=9)
            | st.binary(max_size=9).map(lambda raw: base64.b64encode(raw).decode()),
            "samples": st.integers(-(2**31), 2**31 - 1),
            "min": st.integers(-(2**63), 2**63 - 1) | SCALARS,
            "max": st.integers(-(2**63), 2**63 - 1) | SCALARS,
            "names": st.lists(st.text(max_size=9) | st.none(), max_size=3),
            "pattern": st.text(max_size=9),
            "keys": st.lists(st.text(max_size=5), max_size=3),
        },
    )
)
def test_questions_of_any_kind(client: Client, session: requests.Session, variables: Any) -> None:
    send(session, f"{client.url}/graphql", {"query": DOCUMENT, "variables": {"project": "p", **variables}})


@SETTINGS
@given(
    fields=st.dictionaries(st.sampled_from(INPUTS), st.text(max_size=20) | TEXTS | JSON, max_size=5)
    | st.fixed_dictionaries(
        {}, optional={"config": ROWS.map(lambda row: json.dumps(row)), "tags": st.lists(st.text())}
    )
)
def test_writes_of_any_kind(client: Client, session: requests.Session, fields: Any) -> None:
    send(
        session, f"{client.url}/graphql", {"query": UPSERT, "variables": {"input": {"name": "r1", **fields}}}
    )
    document = (
        '{ projects { edges { node { name runCount run(name: "r1") { config tags state displayName } } } } }'
    )
    send(session, f"{client.url}/graphql", {"query": document})


@SETTINGS
@given(body=JSON | st.fixed_dictionaries({"query": JSON, "variables": JSON, "operationName": JSON}))
def test_bodies_of_any_kind(client: Client, session: requests.Session, body: Any) -> None:
    send(session, f"{client.url}/graphql", body)


@SETTINGS
@given(body=st.binary(max_size=200))
def test_bytes_of_any_kind(client: Client, session: requests.Session, body: bytes) -> None:
    for path in ("/graphql", f"/files/{client.entity}/p/r1/file_stream"):
        response = session.post(client.url + path, data=body, timeout=20)
        assert response.status_code in (200, 400), (response.status_code, body)
