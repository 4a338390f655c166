"""The proxy of the bench: each request is held back and counted, and none waits for another."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from tests.support.far_server import FarServer

DELAY_S = 0.2
CLIENTS = 16


class _Echo(BaseHTTPRequestHandler):
    """Gives back what it gets, to all clients at once."""

    protocol_version = "HTTP/1.1"
    together = threading.Barrier(CLIENTS, timeout=20)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.together.wait()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_requests_are_counted_and_held_back_but_not_by_each_other() -> None:
    echo = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=echo.serve_forever, args=(0.02,)).start()
    try:
        with FarServer(f"http://127.0.0.1:{echo.server_address[1]}", DELAY_S).running() as far:
            large = b"x" * 3_000_000

            def two_requests(number: int) -> float:
                with requests.Session() as session:
                    session.trust_env = False
                    began = time.monotonic()
                    assert session.post(far.url, data=large, timeout=20).content == large
                    assert session.post(far.url, data=b"%d" % number, timeout=20).content == b"%d" % number
                    return time.monotonic() - began

            with ThreadPoolExecutor(CLIENTS) as threads:
                each = list(threads.map(two_requests, range(CLIENTS)))
            assert far.requests == 2 * CLIENTS
            assert min(each) >= 2 * DELAY_S
    finally:
        echo.shutdown()
        echo.server_close()


def test_a_server_that_is_not_there_is_a_connection_that_ends() -> None:
    with FarServer("http://127.0.0.1:9", 0).running() as far:
        try:
            requests.get(far.url, timeout=10)
        except requests.ConnectionError:
            return
        raise AssertionError("somebody answered")
