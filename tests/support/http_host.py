"""How the scripted servers of tests speak HTTP: their life, and how answers are sent, or what shall go wrong with them.

`Host` is a server with its faults and gates, `Handler` sends for one; what a request is, and what the right answer to
it is, is for whoever derives from them.
"""

from __future__ import annotations

import functools
import gzip
import select
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self

from tests.support.upstream_faults import (
    CutShort,
    Delay,
    Drip,
    Empty,
    Html,
    ResetBefore,
    ResetInside,
    ShortBody,
    Slow,
    Status,
    UpstreamFailure,
)

_POLL_S = 0.01


@dataclass
class Host:
    """A server of one test, on a port of its own; enter it to start it. Everything may be changed while it runs."""

    latency_s: float = 0.0
    """Each answer comes so much later, without holding up other connections."""
    compress: bool = False
    abandoned: int = 0
    """Requests whose client left before the answer was sent."""
    _faults: dict[str, deque[UpstreamFailure]] = field(default_factory=dict)
    _gates: dict[str, threading.Event] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _closing: threading.Event = field(default_factory=threading.Event)
    _server: Server | None = None
    _handler: ClassVar[type[Handler]]

    # What goes wrong

    def fail(self, name: str, failure: UpstreamFailure, times: int = 1) -> None:
        """The next answers to what is called so (`*`: to anything) go wrong so."""
        with self._lock:
            self._faults.setdefault(name, deque()).extend([failure] * times)

    def heal(self) -> None:
        """Nothing goes wrong any more, and nothing waits."""
        with self._lock:
            self._faults.clear()
            for gate in self._gates.values():
                gate.set()
            self._gates.clear()

    def hold(self, name: str) -> threading.Event:
        """Answers to what is called so wait until the returned event is set."""
        return self._gates.setdefault(name, threading.Event())

    # Life

    @property
    def url(self) -> str:
        """Its address."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._server = Server(("127.0.0.1", 0), functools.partial(self._handler, self))
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self.heal()
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    # For the handler

    def gate(self, name: str) -> threading.Event | None:
        """What answers to what is called so must wait for."""
        return self._gates.get(name)

    def failure(self, name: str) -> UpstreamFailure | None:
        """What shall go wrong with the next answer to what is called so."""
        with self._lock:
            for planned in (self._faults.get(name), self._faults.get("*")):
                if planned:
                    return planned.popleft()
        return None

    @property
    def closing(self) -> bool:
        """True while it shuts down."""
        return self._closing.is_set()


class Server(ThreadingHTTPServer):
    """A thread for each connection, so that no answer holds up another."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no news."""


class Handler(BaseHTTPRequestHandler):
    """Sends what its server answers on one connection."""

    owner: Host
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, owner: Host, *connection: Any) -> None:
        self.owner = owner
        super().__init__(*connection)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def _failed(self, failure: UpstreamFailure | None) -> bool:
        """Sends what is no answer; False when it is an answer that is wanted."""
        if isinstance(failure, Status):
            self._send(failure.body, failure.code, dict(failure.headers))
        elif isinstance(failure, ResetBefore):
            self._reset()
        elif isinstance(failure, Html):
            self._send(b"<html><body>Please sign in</body></html>", headers={"Content-Type": "text/html"})
        elif isinstance(failure, Empty):
            self._send(b"")
        else:
            return False
        return True

    def _send_spoilt(self, body: bytes, failure: UpstreamFailure | None) -> None:
        """Sends an answer, or as much of it and as slowly as the failure says."""
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
            assert failure is None or isinstance(failure, Delay), failure
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

    def _waited(self, name: str, failure: UpstreamFailure | None) -> bool:
        """Waits as scripted; False when the client left meanwhile."""
        seconds = self.owner.latency_s + (failure.seconds if isinstance(failure, Delay) else 0)
        until = time.monotonic() + seconds
        gate = self.owner.gate(name)
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
            with self.owner._lock:
                self.owner.abandoned += 1
        return gone

    def _reset(self) -> None:
        # Lingering for no time makes closing a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
