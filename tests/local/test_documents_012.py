"""Documents as SDKs from 0.8 to 0.12 sent them, which the export guides were written for."""

import json

import pytest
import requests

from tests.local.client import Client
from tests.local.documents import rows_012
from tests.local.documents.runs import Row, populated_user
from tests.support.local_server import LocalServer


@pytest.fixture(scope="module")
def place(server: LocalServer) -> Client:
    """A user for all that only read."""
    return populated_user(server)


@pytest.mark.parametrize("row", rows_012.READS, ids=lambda row: row.name)
def test_reads(place: Client, row: Row) -> None:
    row.check(place)


@pytest.mark.parametrize("row", rows_012.WRITES, ids=lambda row: row.name)
def test_writes(server: LocalServer, row: Row) -> None:
    row.check(populated_user(server))


def test_lists_without_an_order_have_the_newest_first(place: Client) -> None:
    row = next(row for row in rows_012.READS if row.name == "runs without an order")
    edges = row.send(place, "full")["project"]["runs"]["edges"]
    assert [edge["node"]["name"] for edge in edges] == ["bare", "full"]


def test_bytes_go_up_the_old_way(server: LocalServer) -> None:
    client = populated_user(server)
    row = next(row for row in rows_012.READS if row.name == "addresses to upload to")
    names = [f"file {number}.txt" for number in range(60)]
    many = Row(row.name, row.document, row.shape, {**row.variables, "files": names})
    edges = many.send(client, "full")["model"]["bucket"]["files"]["edges"]
    # All of them, though it says nothing of a page: what has no address is not uploaded.
    assert [edge["node"]["name"] for edge in edges] == names
    assert requests.put(edges[59]["node"]["url"], data=b"new", timeout=10).status_code == 200
    listed = client.run("full", 'fileCount files(names: ["file 59.txt"]) { edges { node { sizeBytes } } }')
    assert listed["fileCount"] == 3 and int(listed["files"]["edges"][0]["node"]["sizeBytes"]) == 3


def test_summaries_and_configs_lose_what_an_old_client_leaves_out(server: LocalServer) -> None:
    client = populated_user(server)
    row = next(row for row in rows_012.WRITES if row.name == "a run is changed")
    changed = Row(row.name, row.document, row.shape, {"config": '{"new": {"value": 1}}', "tags": None})
    run = changed.send(client, "full")["upsertBucket"]["bucket"]
    assert json.loads(run["config"]) == {"new": {"value": 1}}
    assert (run["tags"], run["notes"], run["group"]) == (["a", "b"], "noted", "g")
