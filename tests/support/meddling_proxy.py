"""A real HTTP proxy in front of a server that meddles with GraphQL operations as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

Meddler = Callable[["Exchange"], None]


class Exchange:
    """One request on its way: a meddler forwards it or not, and answers or not."""

    def __init__(self, handler: BaseHTTPRequestHandler, target: str, body: bytes) -> None:
        self._handler = handler
        self._target = target
        self._body = body

    def forward(self) -> tuple[int, bytes]:
        """Sends the request on; returns what the server answers."""
        headers = {
            name: value
            for name, value in self._handler.headers.items()
            if name.lower() in ("authorization", "content-type")
        }
        url = self._target + self._handler.path
        answer = requests.request(self._handler.command, url, data=self._body, headers=headers, timeout=20)
        return answer.status_code, answer.content

    def answer(self, status: int, body: bytes) -> None:
        """Answers the client."""
        self._handler.send_response(status)
        self._handler.send_header("content-type", "application/json")
        self._handler.send_header("content-length", str(len(body)))
        self._handler.end_headers()
        self._handler.wfile.write(body)

    def hang_up(self) -> None:
        """Ends the connection without a word."""
        self._handler.close_connection = True


def pass_on(exchange: Exchange) -> None:
    """Meddles with nothing."""
    exchange.answer(*exchange.forward())


def lose_answer(exchange: Exchange) -> None:
    """The server has the request, the client hears nothing."""
    exchange.forward()
    exchange.hang_up()


def refuse(status: int, words: str) -> Meddler:
    """The server never sees the request."""
    body = json.dumps({"errors": [{"message": words}]}).encode()
    return lambda exchange: exchange.answer(status, body)


def rewrite(change: Callable[[Any], None]) -> Meddler:
    """The answer's data is changed on its way back."""

    def meddle(exchange: Exchange) -> None:
        status, body = exchange.forward()
        parsed = json.loads(body)
        change(parsed["data"])
        exchange.answer(status, json.dumps(parsed).encode())

    return meddle


class MeddlingProxy:
    """Speaks HTTP on `url`; operations without a meddler pass."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.counts: dict[str, int] = {}
        self._meddlers: dict[str, list[Meddler]] = {}
        self._always: dict[str, Meddler] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler_class())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def once(self, operation: str, *meddlers: Meddler) -> None:
        """The next requests of this operation go through these, one each."""
        self._meddlers.setdefault(operation, []).extend(meddlers)

    def always(self, operation: str, meddler: Meddler | None) -> None:
        """All requests of this operation go through this one; None ends that."""
        if meddler is None:
            self._always.pop(operation, None)
        else:
            self._always[operation] = meddler

    @contextmanager
    def running(self) -> Iterator[MeddlingProxy]:
        """Serves for the length of a block."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def _meddle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        operation = json.loads(body)["operationName"] if body else ""
        with self._lock:
            self.counts[operation] = self.counts.get(operation, 0) + 1
            queued = self._meddlers.get(operation)
            meddler = queued.pop(0) if queued else self._always.get(operation, pass_on)
        meddler(Exchange(handler, self.target, body))

    def _handler_class(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                proxy._meddle(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
