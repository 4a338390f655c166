"""Documents as real clients send them, and those that nobody should."""

import json

import pytest
from graphql import (
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_client_schema,
    get_introspection_query,
    get_named_type,
    is_required_argument,
)

from tests.local.client import RUNS, Client


def test_empty_operation_name_and_unknown_variables_are_tolerated(client: Client) -> None:
    data = client.query("query V { viewer { id entity username email flags } }", withRuns=False)
    assert data["viewer"]["entity"] == client.entity
    assert json.loads(data["viewer"]["flags"]) == {}


def test_an_operation_is_chosen_by_name(client: Client) -> None:
    document = "query A { viewer { id } } query B { viewer { entity } }"
    body = {"query": document, "operationName": "B"}
    assert client.request("POST", "/graphql", json=body).json() == {
        "data": {"viewer": {"entity": client.entity}}
    }
    status, text = client.errors(document)
    assert status == 400 and "exactly one operation" in text
    response = client.request("POST", "/graphql", json={**body, "operationName": "C"})
    assert response.status_code == 400 and "no operation named 'C'" in response.text


def test_aliases_and_fragments(client: Client) -> None:
    client.upsert("r1")
    data = client.query(
        'query Q($e: String) { a: model(name: "p", entityName: $e) { b: bucket(name: "r1", missingOk: true) '
        '{ ...F } c: bucket(name: "none") { ...F } } } fragment F on Run { what: name __typename }',
        e=client.entity,
    )
    assert data == {"a": {"b": {"what": "r1", "__typename": "Run"}, "c": None}}


def test_viewer_entities_and_server_info(client: Client) -> None:
    data = client.query(
        "query Q($e: String!) { viewer { name apiKeys { edges { node { id } } } teams { edges { node { name } } } } "
        "entity(name: $e) { id isTeam members { username } organization { coreWeaveOrganizationId } } "
        'other: entity(name: "local") { id } users(query: $e) { edges { node { id name } } } '
        "serverInfo { features { name isEnabled } cliVersionInfo latestLocalVersionInfo { outOfDate } } }",
        e=client.entity,
    )
    assert data["viewer"]["name"] == client.entity
    assert data["viewer"]["teams"]["edges"] == [{"node": {"name": client.entity}}]
    assert data["entity"]["members"] == [{"username": client.entity}]
    assert data["other"] is None
    assert data["users"]["edges"][0]["node"]["name"] == client.entity
    features = {feature["name"]: feature["isEnabled"] for feature in data["serverInfo"]["features"]}
    assert features["MARK_RUN_FILES_UPLOADED"] is True
    assert "max_cli_version" in data["serverInfo"]["cliVersionInfo"]


def test_projects_come_most_recent_first_in_pages(client: Client) -> None:
    for name in ("one", "two", "three"):
        made = client.query(
            "mutation C($i: UpsertModelInput!) { result: upsertModel(input: $i) "
            "{ project { id name entityName } model { name } inserted } }",
            i={"name": name, "entityName": client.entity},
        )["result"]
        assert made["inserted"] and made["model"]["name"] == name
    document = (
        "query P($e: String, $c: String) { models(entityName: $e, after: $c, first: 2) "
        "{ edges { node { name isBenchmark createdAt user { id name } } cursor } pageInfo { endCursor hasNextPage } } }"
    )
    first = client.query(document, e=client.entity, c=None)["models"]
    assert [edge["node"]["name"] for edge in first["edges"]] == ["three", "two"]
    assert first["pageInfo"] == {"endCursor": first["edges"][-1]["cursor"], "hasNextPage": True}
    second = client.query(document, e=client.entity, c=first["pageInfo"]["endCursor"])["models"]
    assert [edge["node"]["name"] for edge in second["edges"]] == ["one"]
    assert second["pageInfo"]["hasNextPage"] is False
    assert client.query(document, e="local", c=None)["models"]["edges"] == []


def test_a_project_without_sweeps_and_reports_has_empty_lists(client: Client) -> None:
    client.upsert("r1")
    data = client.query(
        'query S($e: String!) { project(name: "p", entityName: $e) { totalSweeps '
        'sweeps(filters: "{}", first: 5) { edges { node { id bestLoss config } } pageInfo { hasNextPage } } '
        'sweep(sweepName: "x") { id name state } '
        'allViews(viewType: "runs") { edges { node { id spec } } pageInfo { endCursor } } } }',
        e=client.entity,
    )
    assert data["project"] == {
        "totalSweeps": 0,
        "sweeps": {"edges": [], "pageInfo": {"hasNextPage": False}},
        "sweep": None,
        "allViews": {"edges": [], "pageInfo": {"endCursor": None}},
    }


def test_what_is_not_there_is_named(client: Client) -> None:
    status, text = client.errors("mutation M { upsertDance(input: {}) { dance { id } } }")
    assert status == 400 and "upsertDance" in text
    status, text = client.errors("query { viewer { ")
    assert status == 400 and "Syntax Error" in text


@pytest.mark.parametrize(
    ("document", "status", "expected"),
    [
        (
            "mutation M($i: LinkArtifactInput!) { linkArtifact(input: $i) { versionIndex } }",
            200,
            "no artifacts",
        ),
        ('{ project(name: "p") { artifactType(name: "model") { id } } }', 404, "no artifacts"),
        ('{ organization(name: "o") { id } }', 404, "no organizations and no registries"),
        ("mutation M { createFilterTrigger(input: {}) { trigger { id } } }", 200, "no automations"),
        ("mutation M { createRunQueue(input: {}) { success } }", 200, "no launch queues"),
        ("mutation M { upsertView(input: {}) { view { id } } }", 200, "no charts and no reports"),
    ],
)
def test_what_this_server_has_not_is_said_in_one_sentence(
    client: Client, document: str, status: int, expected: str
) -> None:
    response = client.post(document)
    errors = response.json()["errors"]
    assert response.status_code == status and len(errors) == 1
    assert expected in errors[0]["message"] and errors[0]["extensions"] == {"code": "UNSUPPORTED"}


def test_an_artifact_cannot_be_made_whatever_it_is_made_of(client: Client) -> None:
    document = "mutation C($i: CreateArtifactInput!) { createArtifact(input: $i) { artifact { id } } }"
    sent = {"entityName": client.entity, "projectName": "p", "artifactTypeName": "model", "digest": "d"}
    for more in ({}, {"inventedLater": 1}):
        status, text = client.errors(document, i={**sent, **more})
        assert status == 200 and text.startswith("this server keeps no artifacts")


def test_guesses_of_what_was_meant_are_no_refusals(client: Client) -> None:
    status, text = client.errors('{ project(name: "p") { artfactTypes { edges { cursor } } } }')
    assert status == 400 and "artfactTypes" in text


def test_the_schema_can_be_learnt_by_introspection(client: Client) -> None:
    schema = build_client_schema(client.query(get_introspection_query()))
    assert "updatedAt" in schema.type_map["Run"].fields  # type: ignore[attr-defined]
    probe = (
        '{ __schema { queryType { name } mutationType { name } } __type(name: "Run") { fields { name } } }'
    )
    told = client.query(probe)
    assert told["__schema"] == {"queryType": {"name": "Query"}, "mutationType": {"name": "Mutation"}}
    assert {"name": "historyKeys"} in told["__type"]["fields"]
    assert client.query('{ __type(name: "Nothing") { fields { name } } }') == {"__type": None}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("query { viewer " + "{ a " * 60 + "}" * 60 + "}", "nests deeper"),
        ("query {" + " ".join(f"a{n}: viewer {{ id }}" for n in range(3000)) + "}", "fields"),
        ("query { viewer { id } } #" + "x" * 300_000, "longer than"),
        (
            'query { project(name: "p") { runs { edges { node { project { runs { edges { node { id } } } } } } } } }',
            "list of runs inside",
        ),
        ("query { viewer { ...A } } fragment A on User { ...B } fragment B on User { ...A }", "spread"),
    ],
)
def test_documents_are_bounded(client: Client, document: str, expected: str) -> None:
    status, text = client.errors(document)
    assert status == 400 and expected in text


def test_fragments_are_counted_written_out(client: Client) -> None:
    doubling = "".join(f"fragment F{n} on User {{ ...F{n + 1} a: id ...F{n + 1} }} " for n in range(20))
    status, text = client.errors("query { viewer { ...F0 } } " + doubling + "fragment F20 on User { id }")
    assert status == 400 and "more than" in text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[1]", 400),
        (b"{}", 400),
        (b'{"query": 1}', 400),
        (b'{"query": "{ viewer { id } }", "variables": []}', 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
    ],
)
def test_broken_bodies_are_refused(client: Client, body: bytes, status: int) -> None:
    response = client.request("POST", "/graphql", data=body)
    assert response.status_code == status
    assert response.json()["errors"][0]["message"]


def test_unknown_pages_and_methods_are_not_found(client: Client) -> None:
    # Not 405: the SDK repeats that twenty times.
    for method, path in (("GET", "/graphql"), ("GET", "/"), ("POST", "/oidc/token"), ("DELETE", "/healthz")):
        response = client.request(method, path)
        assert response.status_code == 404 and response.json()["errors"][0]["message"]


def test_people_who_follow_a_link_are_told_where_to_look(client: Client) -> None:
    shown = {
        "/ada/p%20%C3%B6/runs/r1": 'api.run("ada/p ö/r1")',
        "/ada/p/sweeps/s1": 'api.sweep("ada/p/s1")',
        "/ada/p": 'api.runs("ada/p")',
        "/ada/p/workspace": 'api.runs("ada/p")',
        "/authorize": "local.json",
        "/": 'api.runs("<entity>/<project>")',
        "/a/p/runs/%0Aevil": 'api.runs("<entity>/<project>")',
        f"/a/p/runs/{'x' * 1000}": 'api.runs("<entity>/<project>")',
    }
    for path, text in shown.items():
        response = client.request("GET", path, auth=None, headers={"Accept": "text/html,*/*"})
        assert response.status_code == 404 and "no web pages" in response.text, path
        assert text in response.text, path
        assert response.headers["content-type"] == "text/plain; charset=utf-8"


def test_operations_are_counted_by_their_name_in_the_document(client: Client) -> None:
    before = client.request("GET", "/runtap/stats").json()
    client.upsert("r1")
    client.post(RUNS, project="p", entity=client.entity)
    client.stream("r1")
    after = client.request("GET", "/runtap/stats").json()
    assert after["operations"]["Runs"] == before["operations"].get("Runs", 0) + 1
    assert after["requests"] - before["requests"] == 3
    assert after["kinds"]["file_stream"] == before["kinds"].get("file_stream", 0) + 1


def every_leaf(schema: GraphQLSchema, kind: GraphQLObjectType | GraphQLInterfaceType, depth: int) -> str:
    """A selection of all fields that need no arguments, a few levels deep, without lists of runs in lists of runs."""
    chosen = ["__typename"]
    for name, field in kind.fields.items():
        if name == "runs" or any(is_required_argument(argument) for argument in field.args.values()):
            continue
        below = get_named_type(field.type)
        if not isinstance(below, GraphQLObjectType | GraphQLInterfaceType):
            chosen.append(name)
        elif depth > 0:
            chosen.append(f"{name} {{ {every_leaf(schema, below, depth - 1)} }}")
    return " ".join(chosen)


def test_every_field_of_the_schema_has_a_value(client: Client) -> None:
    client.upsert("r1", config={"a": {"value": 1}}, summaryMetrics={"b": 1}, tags=["x"])
    client.log("r1", 0, [{"_step": 0, "b": 1}])
    client.stream("r1", files={"output.log": {"offset": 0, "content": ["hello"]}})
    client.request("PUT", f"/files/{client.entity}/p/r1/a.txt", data=b"x")
    schema = build_client_schema(client.query(get_introspection_query()))
    project, run, query = (schema.type_map[name] for name in ("Project", "Run", "Query"))
    assert isinstance(project, GraphQLObjectType) and isinstance(run, GraphQLObjectType)
    assert isinstance(query, GraphQLObjectType)
    data = client.query(f"{{ {every_leaf(schema, query, 4)} }}")
    assert data["viewer"]["entity"] == client.entity
    data = client.query(
        f'{{ project(name: "p") {{ {every_leaf(schema, project, 3)} run(name: "r1") {{ {every_leaf(schema, run, 4)} }}'
        f" runs {{ totalCount edges {{ cursor node {{ {every_leaf(schema, run, 2)} }} }} }} }} }}"
    )
    found = data["project"]["run"]
    assert found["project"]["name"] == "p" and found["files"]["edges"][0]["node"]["name"] == "a.txt"
    assert data["project"]["runs"]["totalCount"] == 1 and found["running"] is True
