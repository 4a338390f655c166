"""Who may do what."""

import requests

from tests.local.client import Client


def test_health_is_for_everyone(client: Client) -> None:
    body = requests.get(client.url + "/healthz", timeout=10).json()
    assert body["ok"] is True and body["version"]


def test_wrong_and_missing_keys_are_refused_everywhere(client: Client) -> None:
    client.upsert("r1")
    for method, path in (
        ("POST", "/graphql"),
        ("POST", f"/files/{client.entity}/p/r1/file_stream"),
        ("PUT", f"/files/{client.entity}/p/r1/x.txt"),
        ("GET", f"/files/{client.entity}/p/r1/x.txt"),
        ("GET", "/runtap/stats"),
    ):
        for auth in (("api", "local-" + "x" * 40), ("root", client.api_key), ("api", ""), None):
            response = requests.request(method, client.url + path, auth=auth, json={}, timeout=10)
            assert response.status_code == 401, (method, path, auth)
            assert "API key" in response.json()["errors"][0]["message"]


def test_a_bearer_key_is_as_good_as_basic(client: Client) -> None:
    headers = {"Authorization": f"Bearer {client.api_key}"}
    response = client.request(
        "POST", "/graphql", auth=None, headers=headers, json={"query": "{ viewer { entity } }"}
    )
    assert response.json() == {"data": {"viewer": {"entity": client.entity}}}


def test_users_do_not_see_or_touch_each_other(client: Client, server: object) -> None:
    client.upsert("mine")
    storage_id = client.run("mine", "id")["id"]
    other = Client(client.url, "local", server.api_key)  # type: ignore[attr-defined]
    assert (
        other.query('query Q($e: String) { project(name: "p", entityName: $e) { id } }', e=client.entity)[
            "project"
        ]
        is None
    )
    for document, variables in (
        (
            "mutation M($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
            {"i": {"id": storage_id}},
        ),
        ("mutation M($i: DeleteRunInput!) { deleteRun(input: $i) { success } }", {"i": {"id": storage_id}}),
        ("mutation M($i: StopRunInput!) { stopRun(input: $i) { success } }", {"i": {"id": storage_id}}),
    ):
        status, text = other.errors(document, **variables)
        assert status == 404 and f"run {client.entity}/p/" in text and "not found" in text
    status, text = other.errors(
        "mutation M($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
        i={"name": "x", "modelName": "p", "entityName": client.entity},
    )
    assert status == 403 and "may not write" in text
    path = f"/files/{client.entity}/p/mine/file_stream"
    assert other.request("POST", path, json={}).status_code == 403
    assert other.request("GET", f"/files/{client.entity}/p/mine/x").status_code == 403
    assert client.run("mine", "state")["state"] == "running"
