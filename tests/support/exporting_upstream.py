"""A scripted server that offers histories as files, and the storage host where the files lie.

with StorageHost() as storage, ExportingUpstream(storage=storage) as server:
    server.add_run("team", "vision", "r1")
    server.add_parts("team/vision/r1", [first, second])
    storage.fail(Status(500), times=2)
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tests.support.upstream import ScriptedUpstream
from tests.support.upstream_faults import (
    Delay,
    Drip,
    Html,
    ResetBefore,
    ResetInside,
    ShortBody,
    Status,
    UpstreamFailure,
)
from tests.support.upstream_http import Handler, Request, Server

SECRET = "canary0signature0of0an0address0"


@dataclass
class StorageHost:
    """Gives files to whoever has a good address; enter it to start it."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By path."""
    good: str = ""
    """What the signature of an address must be; empty: anything."""
    seen: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request, names in lower case, and its `path` with the query."""
    compress: bool = False
    latency_s: float = 0.0
    abandoned: int = 0
    at_once: int = 0
    most_at_once: int = 0
    closing: bool = False
    users: dict[str, Any] = field(default_factory=dict)
    gates: dict[str, threading.Event] = field(default_factory=dict)
    """Requests for these paths wait."""
    _faults: deque[UpstreamFailure] = field(default_factory=deque)
    _server: Server | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, failure: UpstreamFailure, times: int = 1) -> None:
        """The next answers go wrong so."""
        self._faults.extend([failure] * times)

    def take(self) -> UpstreamFailure | None:
        """What goes wrong with the next answer."""
        with self._lock:
            return self._faults.popleft() if self._faults else None

    def gate(self, operation: str) -> threading.Event | None:
        """What answers for this path must wait for."""
        return self.gates.get(operation)

    def came(self, by: int) -> None:
        """Counts those that are there."""
        with self._lock:
            self.at_once += by
            self.most_at_once = max(self.most_at_once, self.at_once)

    @property
    def url(self) -> str:
        """Its address."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> StorageHost:
        storage = self

        class Own(_Storing):
            owner = storage  # type: ignore[assignment]  # of a script, what `Handler` needs to send

        self._server = Server(("127.0.0.1", 0), Own)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing = True
        for gate in self.gates.values():
            gate.set()
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()


class _Storing(Handler):
    """Answers GET."""

    def do_GET(self) -> None:
        storage: StorageHost = self.owner  # type: ignore[assignment]
        storage.seen.append(
            {"path": self.path, **{name.lower(): value for name, value in self.headers.items()}}
        )
        path, _, query = self.path.partition("?")
        failure = storage.take()
        storage.came(1)
        waited = self._waited(Request(path, {}, "", ""), failure)
        storage.came(-1)  # before the answer: whoever has read it may be here again at once
        if not waited:
            return
        if isinstance(failure, Status):
            self._send(failure.body, failure.code, dict(failure.headers))
        elif path not in storage.files or storage.good not in query:
            words = f"<Error><Code>AccessDenied</Code><Url>{self.path}</Url></Error>"
            self._send(words.encode(), 403, {"Content-Type": "application/xml"})
        else:
            self._give(storage.files[path], failure)

    def _give(self, body: bytes, failure: UpstreamFailure | None) -> None:
        if isinstance(failure, ResetBefore):
            self._reset()
        elif isinstance(failure, Html):
            self._send(b"<html><body>Please sign in</body></html>", headers={"Content-Type": "text/html"})
        elif isinstance(failure, ResetInside | ShortBody):
            self._send(body, part=0.5)
            self.close_connection = True
            if isinstance(failure, ResetInside):
                self._reset()
        elif isinstance(failure, Drip):
            self._send(body, part=0.0)
            self._drip(body, failure.pause_s)
        else:
            assert failure is None or isinstance(failure, Delay)
            self._send(body)


@dataclass
class ExportingUpstream(ScriptedUpstream):
    """A server with `Run.parquetHistory`."""

    storage: StorageHost | None = None
    signature: str = SECRET
    """What its addresses are signed with."""
    parts: dict[str, list[str]] = field(default_factory=dict)
    """Addresses of files by `entity/project/run_id`, without their signature."""
    live: dict[str, list[Any] | None] = field(default_factory=dict)
    """Rows that are in no file, by the same."""
    cannot_export: set[str] = field(default_factory=set)
    """Runs for which the field fails."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._unscripted = self._unscripted - {("Run", "parquetHistory")}

    def add_parts(self, path: str, bodies: list[bytes]) -> None:
        """Gives a run these files, beside those it has."""
        assert self.storage is not None
        for body in bodies:
            place = f"/bucket/{len(self.storage.files)}.parquet"
            self.storage.files[place] = body
            self.parts.setdefault(path, []).append(self.storage.url + place)

    def _answer_runparquethistory(self, request: Request) -> dict[str, Any]:
        assert request.variables["liveKeys"] == ["_step"]
        path = self._path(request)
        project = self._project(request)
        if project is None or request.variables["name"] not in project:
            return {"data": {"project": {"run": None}}}
        if path in self.cannot_export:
            wrong = {"message": "internal error", "path": ["project", "run", "parquetHistory"]}
            return {"data": {"project": {"run": {"parquetHistory": None}}}, "errors": [wrong]}
        urls = [self._signed(url) for url in self.parts.get(path, ())]
        return {
            "data": {
                "project": {
                    "run": {"parquetHistory": {"parquetUrls": urls, "liveData": self.live.get(path, [])}}
                }
            }
        }

    def _signed(self, url: str) -> str:
        return f"{url}?X-Amz-Signature={self.signature}" if urlsplit(url).path else url
