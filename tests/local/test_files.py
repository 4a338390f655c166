"""Files: addresses that carry their own permission, bytes in, bytes out, lists and deletes."""

import base64
import hashlib
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from runtap_local.ids import file_id
from tests.local.client import Client
from tests.local.documents.runs import new_user
from tests.support.local_server import start_local_server

CREATE = """
mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) {
    runID uploadHeaders files { name uploadUrl }
  }
}"""
FILES = """
query RunFiles($project: String!, $entity: String!, $name: String!, $fileCursor: String, $fileLimit: Int = 50,
               $fileNames: [String] = [], $upload: Boolean = false, $pattern: String) {
  project(name: $project, entityName: $entity) { internalId run(name: $name) { fileCount
    files(names: $fileNames, after: $fileCursor, first: $fileLimit, pattern: $pattern) {
      edges { node { id name url(upload: $upload) directUrl sizeBytes mimetype updatedAt md5 } cursor }
      pageInfo { endCursor hasNextPage } } } }
}"""


DELETE = """
mutation D($files: [ID!]!, $projectId: Int) {
  deleteFiles(input: {files: $files, projectId: $projectId}) { success }
}"""


def upload_urls(client: Client, *names: str) -> list[str]:
    """Addresses to upload to."""
    client.upsert("r1")
    made = client.query(CREATE, entity=client.entity, project="p", run="r1", files=list(names))[
        "createRunFiles"
    ]
    assert [file["name"] for file in made["files"]] == list(names)
    return [file["uploadUrl"] for file in made["files"]]


def put(client: Client, name: str, content: bytes) -> None:
    """Upload a file."""
    response = requests.put(upload_urls(client, name)[0], data=content, timeout=10)
    assert response.status_code == 200, response.text


def listed(client: Client, **variables: Any) -> Any:
    """The run with a page of its files."""
    return client.query(FILES, project="p", entity=client.entity, name="r1", **variables)["project"]["run"]


def nodes(client: Client, **variables: Any) -> list[dict[str, Any]]:
    """The files of a page."""
    return [edge["node"] for edge in listed(client, **variables)["files"]["edges"]]


def test_bytes_go_in_without_credentials_and_come_out(client: Client) -> None:
    content = bytes(range(256)) * 500
    names = ["media/table/x.table.json", "empty.txt", "ü %#?.bin"]
    for url, body in zip(upload_urls(client, *names), (content, b"", b"odd"), strict=True):
        assert urlsplit(url).scheme == "http"
        assert requests.put(url, data=body, timeout=10).status_code == 200
    found = {node["name"]: node for node in nodes(client)}
    assert set(found) == set(names)
    table = found["media/table/x.table.json"]
    assert int(table["sizeBytes"]) == len(content) and table["mimetype"] == "application/json"
    assert table["md5"] == base64.b64encode(hashlib.md5(content).digest()).decode()
    assert requests.get(table["url"], timeout=10).content == content
    assert requests.get(table["directUrl"], timeout=10).content == content
    assert requests.get(found["empty.txt"]["url"], timeout=10).content == b""
    assert requests.get(found["ü %#?.bin"]["url"], timeout=10).content == b"odd"
    assert client.request("GET", f"/files/{client.entity}/p/r1/empty.txt").status_code == 200


def test_parts_and_heads(client: Client) -> None:
    put(client, "a.bin", b"0123456789")
    url = nodes(client)[0]["url"]
    head = requests.head(url, timeout=10)
    assert head.headers["content-length"] == "10" and head.content == b""
    assert head.headers["accept-ranges"] == "bytes"
    part = requests.get(url, headers={"Range": "bytes=4-"}, timeout=10)
    assert part.status_code == 206 and part.content == b"456789"
    assert part.headers["content-range"] == "bytes 4-9/10"
    beyond = requests.get(url, headers={"Range": "bytes=10-"}, timeout=10)
    assert beyond.status_code == 416
    # A resumed download of what has changed meanwhile starts over.
    resumed = {"Range": "bytes=4-", "If-Range": head.headers["etag"]}
    assert requests.get(url, headers=resumed, timeout=10).status_code == 206
    put(client, "a.bin", b"abcdefghij")
    again = requests.get(url, headers=resumed, timeout=10)
    assert again.status_code == 200 and again.content == b"abcdefghij"


def test_a_second_upload_replaces_the_first(client: Client, server: Any) -> None:
    put(client, "a.txt", b"first version of " + client.entity.encode())
    put(client, "a.txt", b"second")
    assert listed(client)["fileCount"] == 1
    assert requests.get(nodes(client)[0]["url"], timeout=10).content == b"second"
    old = b"first version of " + client.entity.encode()
    assert not any(old in blob.read_bytes() for blob in (server.home / "files").glob("*/*"))


def test_an_address_is_good_for_one_thing_only(client: Client) -> None:
    write = upload_urls(client, "a.txt")[0]
    requests.put(write, data=b"x", timeout=10)
    read = nodes(client)[0]["url"]
    assert requests.put(read, data=b"y", timeout=10).status_code == 403
    assert requests.get(write, timeout=10).status_code == 403
    assert requests.put(write.replace("a.txt", "b.txt"), data=b"y", timeout=10).status_code == 403
    assert requests.get(read.replace("signature=", "signature=0"), timeout=10).status_code == 403
    expires = read.partition("expires=")[2].partition("&")[0]
    assert requests.get(read.replace(expires, str(int(expires) + 9)), timeout=10).status_code == 403
    assert requests.get(read.partition("?")[0], timeout=10).status_code == 401


def test_addresses_run_out(tmp_path: Path) -> None:
    server = start_local_server(tmp_path / "home", url_ttl_s=0.1)
    try:
        client = Client(server.url, server.entity, server.api_key)
        url = upload_urls(client, "a.txt")[0]
        time.sleep(2.2)  # addresses last whole seconds
        response = requests.put(url, data=b"x", timeout=10)
        assert response.status_code == 403 and "ask for a new one" in response.text
    finally:
        server.stop()


@pytest.mark.parametrize(
    "name", ["../x", "a/../x", "/etc/x", "a//b", "", ".", "a\\b", "a/", "a\x00b", "x" * 1025]
)
def test_names_that_lead_elsewhere_are_refused(client: Client, name: str) -> None:
    client.upsert("r1")
    status, text = client.errors(CREATE, entity=client.entity, project="p", run="r1", files=[name])
    assert status == 400 and "invalid file name" in text


@pytest.mark.parametrize("path", ["%2e%2e%2fx", "a%2F..%2F..%2Fx", "..%5cx", "a/%2e%2e/x"])
def test_path_tricks_reach_nothing(client: Client, path: str) -> None:
    client.upsert("r1")
    host, port = urlsplit(client.url).netloc.split(":")
    token = base64.b64encode(f"api:{client.api_key}".encode()).decode()
    # Sent by hand: libraries tidy such paths up before they send them.
    request = (
        f"PUT /files/{client.entity}/p/r1/{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {token}\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall((request + "Content-Length: 1\r\nConnection: close\r\n\r\nx").encode())
        answer = connection.makefile("rb").read()
    assert answer.split()[1] in (b"400", b"404"), answer
    assert listed(client)["fileCount"] == 0


def test_an_upload_that_breaks_off_leaves_nothing(client: Client, server: Any) -> None:
    url = urlsplit(upload_urls(client, "a.txt")[0])
    host, port = url.netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b"broken off by " + client.entity.encode())
        time.sleep(0.2)
    deadline = time.monotonic() + 5
    mark = b"broken off by " + client.entity.encode()
    while any(mark in blob.read_bytes() for blob in (server.home / "files").glob("*/*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert listed(client)["fileCount"] == 0


def test_lists_by_name_pattern_and_page(client: Client) -> None:
    for name in ("a.txt", "b.txt", "media/c.png", "A.txt"):
        put(client, name, name.encode())
    assert [node["name"] for node in nodes(client)] == ["A.txt", "a.txt", "b.txt", "media/c.png"]
    assert [node["name"] for node in nodes(client, pattern="_.txt")] == ["A.txt", "a.txt", "b.txt"]
    assert [node["name"] for node in nodes(client, pattern="media/%")] == ["media/c.png"]
    first = listed(client, fileLimit=3)
    assert first["fileCount"] == 4 and first["files"]["pageInfo"]["hasNextPage"] is True
    rest = nodes(client, fileLimit=3, fileCursor=first["files"]["edges"][-1]["cursor"])
    assert [node["name"] for node in rest] == ["media/c.png"]


def test_patterns_are_those_of_sql(client: Client) -> None:
    for name in ("100%.txt", "100x.txt", "a_b", "a-b", "A_b"):
        put(client, name, b"")

    def matching(pattern: str) -> list[str]:
        return [node["name"] for node in nodes(client, pattern=pattern)]

    assert matching("100%.txt") == ["100%.txt", "100x.txt"] and matching(r"100\%.txt") == ["100%.txt"]
    assert matching("a_b") == ["a-b", "a_b"] and matching(r"a\_b") == ["a_b"]
    assert matching("%b%") == ["A_b", "a-b", "a_b"] and matching("b") == []
    assert matching("a" * 100_000) == [] and matching("a\x00") == []
    first = listed(client, pattern="%b", fileLimit=2)
    assert first["fileCount"] == 5 and first["files"]["pageInfo"]["hasNextPage"] is True
    last = listed(client, pattern="%b", fileLimit=2, fileCursor=first["files"]["pageInfo"]["endCursor"])
    assert [edge["node"]["name"] for edge in last["files"]["edges"]] == ["a_b"]
    assert last["files"]["pageInfo"]["hasNextPage"] is False


def test_a_loop_that_deletes_as_it_reads_meets_every_file(client: Client) -> None:
    names = [f"{number}.png" for number in range(7)]
    for name in names:
        put(client, name, b"")
    met: list[str] = []
    cursor = None
    while True:
        page = listed(client, fileLimit=2, fileCursor=cursor)["files"]
        for edge in page["edges"]:
            met.append(edge["node"]["name"])
            client.query(DELETE, files=[edge["node"]["id"]])
        cursor = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert met == names and listed(client)["fileCount"] == 0


def test_names_asked_for_page_in_the_order_asked_for(client: Client) -> None:
    put(client, "b", b"")
    asked = ["z", "b", "./b", "a", "b"]
    assert [node["name"] for node in nodes(client, fileNames=asked)] == ["z", "b", "a"]
    first = listed(client, fileNames=asked, fileLimit=2)["files"]
    assert first["pageInfo"]["hasNextPage"] is True
    rest = nodes(client, fileNames=asked, fileLimit=2, fileCursor=first["pageInfo"]["endCursor"])
    assert [node["name"] for node in rest] == ["a"]
    assert [node["name"] for node in nodes(client, fileNames=[None, ""])] == ["b"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({"fileLimit": -1}, "first must be at least 0"), ({"fileCursor": "nonsense"}, "invalid cursor")],
)
def test_pages_that_make_no_sense_are_refused(
    client: Client, variables: dict[str, Any], expected: str
) -> None:
    client.upsert("r1")
    status, text = client.errors(FILES, project="p", entity=client.entity, name="r1", **variables)
    assert status == 400 and expected in text


def test_a_name_that_is_refused_stands_in_nobodys_way(client: Client) -> None:
    client.upsert("r1")
    names = ["good.txt", "a\\b.txt", "../x"]
    made = client.query(CREATE, entity=client.entity, project="p", run="r1", files=names)["createRunFiles"]
    assert [file["name"] for file in made["files"]] == names
    addresses = [file["uploadUrl"] for file in made["files"]]
    assert addresses[0] is not None and addresses[1:] == [None, None]
    assert requests.put(addresses[0], data=b"x", timeout=10).status_code == 200


def test_a_name_that_does_not_exist_gets_a_placeholder(client: Client) -> None:
    put(client, "a.txt", b"x")
    there, missing = nodes(client, fileNames=["a.txt", "nope"])
    assert there["updatedAt"] and there["name"] == "a.txt"
    assert missing["name"] == "nope" and int(missing["sizeBytes"]) == 0
    assert missing["updatedAt"] is None and missing["md5"] == "0"
    assert requests.get(missing["url"], timeout=10).status_code == 404


def test_marks_and_deletes(client: Client) -> None:
    put(client, "a.txt", b"x")
    put(client, "b.txt", b"x")
    marked = client.query(
        "mutation M($e: String!, $f: [String!]!) { markRunFilesUploaded(input: "
        '{entityName: $e, projectName: "p", runName: "r1", files: $f}) { success } }',
        e=client.entity,
        f=["a.txt"],
    )
    assert marked["markRunFilesUploaded"]["success"] is True
    doomed = [node["id"] for node in nodes(client, fileNames=["a.txt", "nope"])]
    project_id = int(client.run("r1", "projectId")["projectId"])
    assert client.query(DELETE, files=doomed, projectId=project_id)["deleteFiles"]["success"] is True
    assert [node["name"] for node in nodes(client)] == ["b.txt"]


def test_uploads_to_no_run_are_not_found(client: Client) -> None:
    status, text = client.errors(CREATE, entity=client.entity, project="p", run="none", files=["a"])
    assert status == 404 and "not found" in text
    assert client.request("PUT", f"/files/{client.entity}/p/none/a.txt", data=b"x").status_code == 404


def test_files_of_others_are_as_if_gone(client: Client, server: Any) -> None:
    put(client, "a.txt", b"mine")
    mine = nodes(client)[0]["id"]
    other = new_user(server)
    assert other.query(DELETE, files=[mine, "nonsense", ""])["deleteFiles"]["success"] is True
    assert [node["name"] for node in nodes(client)] == ["a.txt"]
    status, text = client.errors(DELETE, files=[file_id(number) for number in range(1001)])
    assert status == 400 and "at most 1000 files" in text
