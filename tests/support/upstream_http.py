"""How a scripted upstream speaks HTTP: it takes requests apart, and sends answers, or what shall go wrong with them."""

from __future__ import annotations

import base64
import gzip
import json
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from tests.support.upstream_faults import (
    CutShort,
    Delay,
    Drip,
    Empty,
    Html,
    Refuse,
    ResetBefore,
    ResetInside,
    ShortBody,
    Slow,
    Status,
    UpstreamFailure,
)

_OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)")
_POLL_S = 0.01


@dataclass
class Request:
    """One request that arrived."""

    operation: str
    variables: dict[str, Any]
    key: str
    document: str


class Script(Protocol):
    """What an answer depends on."""

    compress: bool
    latency_s: float
    users: dict[str, dict[str, Any]]
    abandoned: int

    @property
    def on_request(self) -> Callable[[Request], None]: ...

    @property
    def closing(self) -> bool: ...

    def take(self, request: Request) -> UpstreamFailure | None: ...

    def gate(self, operation: str) -> threading.Event | None: ...

    def answer(self, request: Request) -> dict[str, Any]: ...

    def poisoned(self, request: Request, answer: dict[str, Any]) -> UpstreamFailure | None: ...

    def spelled(self, answer: dict[str, Any]) -> Sequence[bytes]: ...


class Server(ThreadingHTTPServer):
    """A thread for each connection, so that no answer holds up another."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no news."""


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    owner: Script
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        raw = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = _OPERATION.search(raw["query"])
        request = Request(name[1] if name else "", raw.get("variables") or {}, self._key(), raw["query"])
        failure = self.owner.take(request)
        self.owner.on_request(request)
        if not self._waited(request, failure):
            return
        if request.key not in self.owner.users:
            failure = Status(401, b'{"errors":[{"message":"unauthorized"}]}')
        if isinstance(failure, Refuse):
            self._send(json.dumps({"data": None, "errors": [{"message": failure.message}]}).encode())
        elif isinstance(failure, Status):
            self._send(failure.body, failure.code, dict(failure.headers))
        elif isinstance(failure, ResetBefore):
            self._reset()
        elif isinstance(failure, Html):
            self._send(b"<html><body>Please sign in</body></html>", headers={"Content-Type": "text/html"})
        elif isinstance(failure, Empty):
            self._send(b"")
        else:
            self._send_answer(request, failure)

    def _send_answer(self, request: Request, failure: UpstreamFailure | None) -> None:
        answer = self.owner.answer(request)
        poison = self.owner.poisoned(request, answer)
        if isinstance(poison, Delay):
            self._waited(request, poison)
            return
        if isinstance(poison, Status):
            self._send(poison.body, poison.code)
            return
        pieces = self.owner.spelled(answer)
        if failure is None and not self.owner.compress:
            self._send_head(200, {}, sum(map(len, pieces)))
            for piece in pieces:
                self.wfile.write(piece)
            return
        body = b"".join(pieces)
        if isinstance(failure, ResetInside):
            self._send(body, part=0.5)
            self._reset()
        elif isinstance(failure, CutShort):
            self._send(body[: len(body) // 2])
        elif isinstance(failure, ShortBody):
            self._send(body, part=0.5)
            self.close_connection = True
        elif isinstance(failure, Drip):
            self._send(body, part=0.0)
            self._drip(body, failure.pause_s)
        elif isinstance(failure, Slow):
            self._send(body, part=0.0)
            self._drip(body, 0.02, max(1, int(failure.bytes_per_s * 0.02)))
        else:
            self._send(body)

    def _send(
        self, body: bytes, status: int = 200, headers: dict[str, str] | None = None, part: float = 1.0
    ) -> None:
        if self.owner.compress:
            body = gzip.compress(body)
            headers = {"Content-Encoding": "gzip"} | (headers or {})
        self._send_head(status, headers or {}, len(body))
        self.wfile.write(body[: int(len(body) * part)])
        self.wfile.flush()

    def _send_head(self, status: int, headers: dict[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _drip(self, body: bytes, pause_s: float, at_once: int = 1) -> None:
        if self.owner.compress:
            body = gzip.compress(body)
        for i in range(0, len(body), at_once):
            if self._left(pause_s):
                self.close_connection = True
                return
            self.wfile.write(body[i : i + at_once])
            self.wfile.flush()

    def _waited(self, request: Request, failure: UpstreamFailure | None) -> bool:
        """Waits as scripted; False when the client left meanwhile."""
        seconds = self.owner.latency_s + (failure.seconds if isinstance(failure, Delay) else 0)
        until = time.monotonic() + seconds
        gate = self.owner.gate(request.operation)
        while (left := until - time.monotonic()) > 0 or (gate is not None and not gate.is_set()):
            if self._left(min(left, _POLL_S) if left > 0 else _POLL_S):
                self.close_connection = True
                return False
        return True

    def _left(self, seconds: float) -> bool:
        """Waits so long; True when the client left (or the server ends)."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        gone = self.owner.closing
        if readable:
            try:
                gone = self.connection.recv(1, socket.MSG_PEEK) == b""
            except OSError:
                gone = True
        if gone:
            self.owner.abandoned += 1
        return gone

    def _reset(self) -> None:
        # Lingering for no time makes closing a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _key(self) -> str:
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        return base64.b64decode(rest).decode().partition(":")[2] if scheme == "Basic" else ""
