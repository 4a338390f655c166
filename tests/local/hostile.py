"""What tests of hostile input share: raw requests, bytes as they are, and what a decent refusal looks like."""

from __future__ import annotations

import base64
import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psutil

from tests.local.client import Client


@dataclass(frozen=True)
class Answer:
    """What came back; ``status`` is 0 where the connection just ended."""

    status: int
    head: bytes
    body: bytes

    def message(self) -> str:
        """The text of the refusal."""
        errors = json.loads(self.body)["errors"]
        return "; ".join(error["message"] for error in errors)


def raw(client: Client, request: bytes, *, finish: bool = False) -> Answer:
    """Send bytes as they are and read until the server has answered and closed. ``finish`` ends our side first."""
    host = urlsplit(client.url)
    assert host.hostname and host.port
    with socket.create_connection((host.hostname, host.port), timeout=20) as connection:
        try:
            connection.sendall(request)
            if finish:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before the end of it; what was answered can still be read
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            pass
    while received.startswith(b"HTTP/1.1 100 "):
        received = received.partition(b"\r\n\r\n")[2]
    head, _, body = received.partition(b"\r\n\r\n")
    return Answer(int(head.split()[1]) if head else 0, head, body)


def head(client: Client, start: str, *lines: str, key: str | None = None) -> bytes:
    """The head of a request with this user's key that ends the connection after it."""
    token = base64.b64encode(f"api:{key or client.api_key}".encode()).decode()
    fixed = (start, "Host: x", f"Authorization: Basic {token}", "Connection: close")
    return "\r\n".join((*fixed, *lines, "", "")).encode("latin-1")


def refusal(response: Any) -> str:
    """The text of a refusal, which is a 4xx in the one form that clients show, and no longer than it has to be."""
    assert 400 <= response.status_code < 500, (response.status_code, response.text[:300])
    assert len(response.content) < 60_000, "a refusal does not send back what it refuses"
    errors = response.json()["errors"]
    text = "; ".join(error["message"] for error in errors)
    assert text and "Traceback" not in text
    return text


def memory(pid: int) -> int:
    """How many bytes of memory a process has."""
    found: int = psutil.Process(pid).memory_info().rss
    return found
