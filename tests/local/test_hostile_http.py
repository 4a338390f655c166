"""Requests that are hardly HTTP, bodies that are hardly bodies: refused in a sentence, and nobody else waits."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.local.client import Client
from tests.local.hostile import head, memory, raw, refusal
from tests.support.local_server import LocalServer, local_server

QUERY = b'{"query": "{ viewer { id } }"}'


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A user of a server with small limits."""
    home: Path = tmp_path_factory.mktemp("small") / "home"
    limits = {"max_idle_s": 0.4, "max_file_bytes": 100_000, "max_body_bytes": 200_000, "max_request_s": 1}
    with local_server(home, **limits) as server:
        yield Client(server.url, server.entity, server.api_key)


def graphql(client: Client, *lines: str, body: bytes = QUERY) -> bytes:
    """A whole GraphQL request with these headers."""
    return head(client, "POST /graphql HTTP/1.1", *lines) + body


@pytest.mark.parametrize(
    ("name", "request_bytes"),
    [
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n"),
        ("words", b"hello there\r\n\r\n"),
        ("HTTP 0.9", b"GET /graphql\r\n\r\n"),
        ("no host", b"GET /healthz HTTP/1.1\r\n\r\n"),
        ("an endless header", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"),
        ("endless headers", b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 30_000 + b"\r\n"),
        ("an endless path", b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("NUL in a header", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n"),
        ("a broken header", b"GET /healthz HTTP/1.1\r\nHost x\r\n\r\n"),
        ("a negative length", b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        (
            "two lengths",
            b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        ),
        ("a length in words", b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n"),
        ("an unknown coding", b"POST /graphql HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n"),
        ("two hosts", b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    ],
)
def test_what_is_no_http_is_refused(client: Client, name: str, request_bytes: bytes) -> None:
    answer = raw(client, request_bytes, finish=True)
    assert 400 <= answer.status < 500 and answer.message(), (name, answer)


@pytest.mark.parametrize(
    ("lines", "body", "expected"),
    [
        (
            ("Transfer-Encoding: chunked", "Content-Length: 5"),
            b"1e\r\n" + QUERY + b"\r\n0\r\n\r\n",
            "not both",
        ),
        (("Transfer-Encoding: chunked",), b"zz\r\nx\r\n", "Invalid HTTP"),
        (("Content-Encoding: br", "Content-Length: 1"), b"x", "Content-Encoding 'br'"),
        (("Content-Encoding: gzip", "Content-Length: 1"), b"x", "not valid gzip"),
        (
            ("Content-Encoding: gzip", "Content-Length: 10"),
            gzip.compress(QUERY, mtime=0)[:10],
            "not valid gzip",
        ),
        (("Content-Length: 99999999999999999999999",), b"", "Invalid HTTP"),
        (("Content-Length: 999999999999",), b"", "larger than"),
        (("Content-Length: 0",), b"", "not valid JSON"),
    ],
)
def test_bodies_that_are_not_what_they_say(
    client: Client, lines: tuple[str, ...], body: bytes, expected: str
) -> None:
    answer = raw(client, graphql(client, *lines, body=body))
    assert 400 <= answer.status < 500 and expected in answer.message()


def test_odd_but_honest_requests_are_served(client: Client) -> None:
    chunks = b"%x\r\n%s\r\n" % (10, QUERY[:10]) + b"%x\r\n%s\r\n" % (len(QUERY) - 10, QUERY[10:])
    zipped = gzip.compress(QUERY)
    for request in (
        graphql(client, "Transfer-Encoding: chunked", body=chunks + b"0\r\n\r\n"),
        graphql(client, f"Content-Length: {len(QUERY)}", "Content-Type: text/plain"),
        graphql(client, f"Content-Length: {len(QUERY)}", "Content-Encoding: identity"),
        graphql(client, f"Content-Length: {len(zipped)}", "Content-Encoding: GZIP", body=zipped),
        graphql(client, f"Content-Length: {len(QUERY)}", "Expect: 100-continue"),
    ):
        answer = raw(client, request)
        assert answer.status == 200 and b'"viewer"' in answer.body, answer


def test_an_archive_that_swells_is_cut_off(client: Client, server: LocalServer) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    megabyte = bytes(1 << 20)
    bomb = b"".join(packer.compress(megabyte) for _ in range(96)) + packer.flush()
    before = memory(server.pid)
    response = client.request("POST", "/graphql", data=bomb, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 413 and "larger than" in refusal(response)
    assert memory(server.pid) - before < 300 * 1024 * 1024


def test_large_bodies_of_strangers_are_not_even_read(client: Client) -> None:
    lines = ("Content-Length: 60000000",)
    request = head(client, "POST /graphql HTTP/1.1", *lines, key="local-" + "x" * 40)
    answer = raw(client, request + b"{")  # the rest never comes, and is not waited for
    assert answer.status == 401 and "API key" in answer.message()


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic YXBp",
        "Basic YXBpOg==",
        "Basic cm9vdDp4",
        "Bearer",
        "Bearer  ",
        "Digest x",
        "Basic /////w==",
        "x" * 10_000,
        "Basic " + "YXBpOg==" * 1000,
        "\xff\xfe",
        "Basic YXBpOg== YXBpOg==",
    ],
)
def test_credentials_that_are_none(client: Client, header: str) -> None:
    for method, path in (
        ("POST", "/graphql"),
        ("GET", "/runtap/stats"),
        ("PUT", f"/files/{client.entity}/p/r/x"),
    ):
        response = client.request(
            method, path, auth=None, headers={"Authorization": header.encode("latin-1")}
        )
        assert response.status_code == 401 and "key" in refusal(response)
        assert response.headers["www-authenticate"].startswith("Basic")


def test_wrong_methods_and_addresses(client: Client) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"):
        assert "no " + method in refusal(client.request(method, "/graphql"))
    for path in (
        "/files",
        "/files/e",
        "/files/e/p/r",
        "/graphql/x",
        "/..",
        "/%00",
        "/%ff",
        "/exports/a",
        "//graphql",
    ):
        assert raw(client, head(client, f"GET {path} HTTP/1.1")).status == 404, path
    for target in ("*", "http://elsewhere/graphql"):
        assert 400 <= raw(client, head(client, f"OPTIONS {target} HTTP/1.1")).status < 500
    upgrade = head(client, "GET /graphql HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade")
    assert raw(client, upgrade.replace(b"Connection: close\r\n", b""), finish=True).status == 404


@pytest.mark.parametrize("host", ["", "a b", "x/../y", "x?y", "x" * 300, "<script>", "evil@x", "x#y"])
def test_addresses_are_not_made_of_odd_hosts(client: Client, host: str) -> None:
    lines = head(client, "POST /graphql HTTP/1.1", f"Content-Length: {len(QUERY)}").replace(
        b"Host: x\r\n", b""
    )
    answer = raw(client, lines.replace(b"\r\n\r\n", f"\r\nHost: {host}\r\n\r\n".encode(), 1) + QUERY)
    assert answer.status == 400


def test_a_body_that_stops_coming_is_not_waited_for(small: Client) -> None:
    small.upsert("r1")
    for start in ("POST /graphql", "POST /files/local/p/r1/file_stream", "PUT /files/local/p/r1/a.txt"):
        answer = raw(small, head(small, f"{start} HTTP/1.1", "Content-Length: 100") + b"{")
        assert answer.status == 408 and "send it again" in answer.message()
    assert small.run("r1", "fileCount") == {"fileCount": 0}


def test_bodies_over_the_limit_are_refused_in_every_form(small: Client) -> None:
    small.upsert("r1")
    over = b'{"query": "' + b"x" * 300_000 + b'"}'
    for path in ("/graphql", "/files/local/p/r1/file_stream"):
        for body in (over, iter([over[:150_000], over[150_000:]])):
            response = small.request("POST", path, data=body)
            assert response.status_code == 413 and "larger than 200000 bytes" in refusal(response)
    for content in (b"x" * 200_000, iter([b"x" * 60_000, b"x" * 60_000])):
        response = small.request("PUT", "/files/local/p/r1/a.txt", data=content)
        assert response.status_code == 413 and "larger than 100000 bytes" in refusal(response)
    assert small.request("PUT", "/files/local/p/r1/a.txt", data=b"x" * 100_000).status_code == 200
    assert small.run("r1", "fileCount") == {"fileCount": 1}


def test_a_document_that_takes_too_long_is_ended(small: Client) -> None:
    small.upsert("long")
    for begin in range(0, 6000, 1000):
        small.log("long", begin, [{"_step": n, "a": n, "b": "x" * 80} for n in range(begin, begin + 1000)])
    document = 'query Q($s: [JSONString!]!) { project(name: "p") { run(name: "long") { sampledHistory(specs: $s) } } }'
    specs = [f'{{"keys": ["a", "b"], "minStep": {n}, "samples": 9000}}' for n in range(1000)]
    assert "took longer than 1 s" in refusal(small.post(document, s=specs))


def test_many_slow_requests_leave_room_for_others(client: Client) -> None:
    address = urlsplit(client.url)
    assert address.hostname and address.port
    begun = head(client, "POST /graphql HTTP/1.1", "Content-Length: 1000") + b"{"
    waiting = [socket.create_connection((address.hostname, address.port), timeout=10) for _ in range(150)]
    try:
        for connection in waiting:
            connection.sendall(begun)
        assert client.query("{ viewer { entity } }")["viewer"]["entity"] == client.entity
    finally:
        for connection in waiting:
            connection.close()


def test_a_reader_who_stops_reading_holds_up_nobody(client: Client) -> None:
    client.upsert("r1")
    client.request("PUT", f"/files/{client.entity}/p/r1/big.bin", data=bytes(8 << 20))
    address = urlsplit(client.url)
    assert address.hostname and address.port
    with socket.create_connection((address.hostname, address.port), timeout=10) as stuck:
        stuck.sendall(head(client, f"GET /files/{client.entity}/p/r1/big.bin HTTP/1.1"))
        stuck.recv(1000)
        client.request("PUT", f"/files/{client.entity}/p/r1/big.bin", data=b"new")
        assert client.request("GET", f"/files/{client.entity}/p/r1/big.bin").content == b"new"
        received = sum(len(part) for part in iter(lambda: stuck.recv(1 << 20), b""))
        assert received > (8 << 20) - 1000  # the old content, whole


def test_a_file_that_is_replaced_again_and_again_is_always_whole(client: Client) -> None:
    client.upsert("r1")
    path = f"/files/{client.entity}/p/r1/a.bin"
    contents = [bytes([65 + n]) * (50_000 + n) for n in range(3)]
    client.request("PUT", path, data=contents[0])
    done = threading.Event()

    def replace() -> None:
        n = 0
        while not done.is_set():
            n += 1
            assert client.request("PUT", path, data=contents[n % 3]).status_code == 200

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            response = client.request("GET", path)
            assert response.status_code == 200 and response.content in contents
    finally:
        done.set()
        writer.join()


def test_parts_of_files_however_they_are_asked_for(client: Client) -> None:
    client.upsert("r1")
    path = f"/files/{client.entity}/p/r1/a.bin"
    client.request("PUT", path, data=b"0123456789")

    def get(**headers: str) -> requests.Response:
        return client.request("GET", path, headers=headers)

    assert get(Range="bytes=-3").content == b"789" and get(Range="bytes=2-2").content == b"2"
    assert get(Range="bytes=8-99").headers["content-range"] == "bytes 8-9/10"
    several = get(Range="bytes=0-1,5-6")
    assert several.status_code == 206 and b"bytes 5-6/10" in several.content
    assert several.headers["content-type"].startswith("multipart/byteranges")
    for beyond in ("bytes=10-", "bytes=99-100"):
        answer = get(Range=beyond)
        assert answer.status_code == 416 and answer.headers["content-range"] == "bytes */10"
    for nonsense in (
        "bytes=5-2",
        "bytes=x",
        "lines=1-2",
        "bytes",
        "bytes=-",
        "bytes=" + "0-1," * 5000,
    ):
        answer = get(Range=nonsense)
        assert (answer.status_code, answer.content) == (200, b"0123456789"), nonsense
    etag = client.request("HEAD", path).headers["etag"]
    assert get(Range="bytes=1-2", **{"If-Range": etag}).status_code == 206
    assert get(Range="bytes=1-2", **{"If-Range": '"other"'}).status_code == 200


def test_uploads_that_say_what_they_are(client: Client) -> None:
    client.upsert("r1")
    path = f"/files/{client.entity}/p/r1/a.bin"
    for body in (b"", b"x"):
        assert client.request("PUT", path, data=body).status_code == 200
        assert client.request("GET", path).content == body
    assert raw(client, head(client, f"PUT {path} HTTP/1.1")).status == 200  # no length at all is no body
    assert client.request("GET", path).content == b""
    right = {"Content-MD5": "kAFQmDzST7DWlj99KOF/cg=="}
    assert client.request("PUT", path, data=b"abc", headers=right).status_code == 200
    response = client.request("PUT", path, data=b"abd", headers=right)
    assert response.status_code == 400 and "Content-MD5" in refusal(response)
    assert client.request("GET", path).content == b"abc"
