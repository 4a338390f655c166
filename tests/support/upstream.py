"""A scripted upstream over real HTTP: runs, histories and users as a test sets them, counted, and failing on demand.

It answers the operations the daemon sends, told apart by their name in the document; what a real schema does is
`runtap_local`'s job. All state may be changed while it runs.

    with ScriptedUpstream() as server:
        server.add_run("team", "vision", "r1", config={"lr": {"value": 0.1}})
        server.fail("Run", Status(503), times=2)
        ...
        assert server.count("Run") == 3
"""

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
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

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
    Status,
    UpstreamFailure,
)
from tests.support.upstream_judging import matching

KEY = "canary0scripted0key0of0the0first0user0000"
ENTITY = "team"
_OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)")
_COLUMNS = {"created_at": "createdAt", "display_name": "displayName", "name": "name", "state": "state"}
_DOCUMENTS = frozenset(("config", "summaryMetrics", "systemMetrics", "historyKeys"))
Node = dict[str, Any]


@dataclass
class Request:
    """One request that arrived."""

    operation: str
    variables: dict[str, Any]
    key: str
    document: str


@dataclass
class ScriptedUpstream:
    """A server of one test; enter it to start it."""

    lacks_updated_at: bool = False
    """Refuses documents that ask for `updatedAt`, as older servers do."""
    page_cap: int | None = None
    """Lists never hold more runs a page, whatever was asked for."""
    history_cap: int | None = None
    """Histories never hold more rows an answer, whatever was asked for."""
    compress: bool = False
    counts_wrongly_by: int = 0
    """`runCount` is off by so much."""
    ignores_order: bool = False
    """Lists come as the runs were added."""
    refuses: tuple[str, ...] = ()
    """Words; lists whose filter or order has one are answered with HTTP 400."""
    misjudges: tuple[str, ...] = ()
    """Words; filters that have one match no run."""
    on_request: Callable[[Request], None] = lambda request: None
    """Called before each answer is made, in a thread of the server."""
    requests: list[Request] = field(default_factory=list)
    abandoned: int = 0
    """Requests whose client left before the answer was sent."""
    projects: dict[tuple[str, str], dict[str, Node]] = field(default_factory=dict)
    histories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Rows by `entity/project/run_id`, in step order."""
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    users: dict[str, Node] = field(default_factory=dict)
    """Viewers by key."""
    _faults: dict[str, deque[UpstreamFailure]] = field(default_factory=dict)
    _gates: dict[str, threading.Event] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _server: ThreadingHTTPServer | None = None
    _closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.add_user(KEY, "ada", ENTITY)

    # What it holds

    def add_user(self, key: str, username: str, entity: str) -> None:
        """Lets this key in."""
        self.users[key] = {
            "id": f"user-{username}",
            "username": username,
            "entity": entity,
            "email": f"{username}@example.org",
            "teams": {"edges": [{"node": {"name": entity}}]},
        }

    def add_run(self, entity: str, project: str, run_id: str, **fields: Any) -> Node:
        """Adds a run; `config`, `summary` and `history_keys` may be values, everything else is the wire's field."""
        number = sum(len(runs) for runs in self.projects.values())
        node: Node = {
            "id": f"storage-{run_id}",
            "name": run_id,
            "displayName": f"name of {run_id}",
            "state": "finished",
            "tags": [],
            "createdAt": f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
            "updatedAt": "2026-01-02T00:00:00Z",
            "user": {"name": "Ada", "username": "ada"},
            "config": "{}",
            "summaryMetrics": "{}",
            "readOnly": False,
            "projectId": "7",
        }
        for name, value in fields.items():
            wire = {"summary": "summaryMetrics", "history_keys": "historyKeys"}.get(name, name)
            node[wire] = json.dumps(value) if wire in _DOCUMENTS and not isinstance(value, str) else value
        with self._lock:
            self.projects.setdefault((entity, project), {})[run_id] = node
        return node

    def add_history(self, entity: str, project: str, run_id: str, rows: list[dict[str, Any]]) -> None:
        """Gives a run these rows, and its run the counts that go with them."""
        node = self.projects[entity, project][run_id]
        self.histories[f"{entity}/{project}/{run_id}"] = rows
        last = rows[-1]["_step"] if rows else None
        keys = {key: {"typeCounts": [{"type": "number", "count": 1}]} for row in rows for key in row}
        node["historyLineCount"] = len(rows)
        node["historyKeys"] = json.dumps({"keys": keys, "lastStep": last})

    # What goes wrong

    def fail(self, operation: str, failure: UpstreamFailure, times: int = 1) -> None:
        """The next answers to this operation (`*`: to any) go wrong so."""
        with self._lock:
            self._faults.setdefault(operation, deque()).extend([failure] * times)

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._faults.clear()
            for gate in self._gates.values():
                gate.set()
            self._gates.clear()

    def hold(self, operation: str) -> threading.Event:
        """Answers to this operation wait until the returned event is set."""
        return self._gates.setdefault(operation, threading.Event())

    # What it saw

    def count(self, operation: str | None = None) -> int:
        """How many requests arrived, of this operation or in all."""
        with self._lock:
            return sum(operation in (None, request.operation) for request in self.requests)

    def counts(self) -> Counter[str]:
        """How many requests arrived, by operation."""
        with self._lock:
            return Counter(request.operation for request in self.requests)

    def last(self, operation: str) -> Request:
        """The last request of this operation."""
        with self._lock:
            return next(request for request in reversed(self.requests) if request.operation == operation)

    # Life

    @property
    def url(self) -> str:
        """Its address."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ScriptedUpstream:
        upstream = self

        class Handler(_Handler):
            owner = upstream

        self._server = _Server(("127.0.0.1", 0), Handler)
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

    # Answering; called by the handler

    def take(self, request: Request) -> UpstreamFailure | None:
        """Notes a request and returns what shall go wrong with it."""
        asked = f"{request.variables.get('filters')} {request.variables.get('order')}"
        with self._lock:
            self.requests.append(request)
            if request.operation in ("Runs", "RunsGlance") and any(word in asked for word in self.refuses):
                return Status(400, b'{"errors":[{"message":"invalid filter"}]}')
            for name in (request.operation, "*"):
                if self._faults.get(name):
                    return self._faults[name].popleft()
        return None

    def gate(self, operation: str) -> threading.Event | None:
        """What answers to this operation must wait for."""
        return self._gates.get(operation)

    @property
    def closing(self) -> bool:
        """True while it shuts down."""
        return self._closing.is_set()

    def answer(self, request: Request) -> dict[str, Any]:
        """The right answer."""
        if self.lacks_updated_at and "updatedAt" in request.document:
            return {"errors": [{"message": "Cannot query field updatedAt on type Run"}]}
        with self._lock:
            answer = getattr(self, f"_answer_{request.operation.lower()}", None)
            if answer is None:
                return {"errors": [{"message": f"unknown operation {request.operation}"}]}
            data: dict[str, Any] = answer(request)
            return data

    def _answer_viewer(self, request: Request) -> dict[str, Any]:
        return {"data": {"viewer": self.users[request.key]}}

    def _answer_run(self, request: Request) -> dict[str, Any]:
        project = self._project(request)
        return {
            "data": {"project": None if project is None else {"run": project.get(request.variables["name"])}}
        }

    def _answer_runs(self, request: Request) -> dict[str, Any]:
        project = self._project(request)
        if project is None:
            return {"data": {"project": None}}
        filters = request.variables.get("filters") or "{}"
        found = matching(project.values(), filters, self.misjudges)
        order = request.variables.get("order") or "-created_at"
        column = _COLUMNS.get(order[1:], "createdAt")
        if not self.ignores_order:
            found.sort(key=lambda node: (node[column], node["name"]), reverse=order[0] == "-")
        start = int(request.variables.get("cursor") or 0)
        size = min(request.variables["first"], self.page_cap or 10**9)
        edges = [
            {"node": node, "cursor": str(start + i + 1)} for i, node in enumerate(found[start : start + size])
        ]
        page = {"edges": edges, "pageInfo": {"hasNextPage": start + len(edges) < len(found)}}
        return {"data": {"project": {"runCount": len(found) + self.counts_wrongly_by, "runs": page}}}

    def _answer_runsglance(self, request: Request) -> dict[str, Any]:
        answer = self._answer_runs(request)
        for edge in ((answer["data"]["project"] or {}).get("runs") or {}).get("edges", ()):
            edge["node"] = {name: value for name, value in edge["node"].items() if name not in _DOCUMENTS}
        return answer

    def _answer_historypage(self, request: Request) -> dict[str, Any]:
        low, high = request.variables["minStep"], request.variables["maxStep"]
        rows = [row for row in self.histories.get(self._path(request), []) if low <= row["_step"] < high]
        return self._rows(request, "history", rows)

    def _answer_runevents(self, request: Request) -> dict[str, Any]:
        return self._rows(request, "events", self.events.get(self._path(request), []))

    def _answer_upsertbucket(self, request: Request) -> dict[str, Any]:
        for project in self.projects.values():
            for node in project.values():
                if node["id"] == request.variables["id"]:
                    changes = {"groupName": "group", "jobType": "jobType"}
                    for name, value in request.variables.items():
                        if value is not None and name != "id":
                            node[changes.get(name, name)] = value
                    return {"data": {"upsertBucket": {"bucket": dict(node)}}}
        return {"errors": [{"message": "no such run"}]}

    def _rows(self, request: Request, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        project = self._project(request)
        if project is None or request.variables["name"] not in project:
            return {"data": {"project": {"run": None}}}
        samples = min(request.variables["samples"], self.history_cap or 10**9)
        if len(rows) > samples:
            rows = [rows[i * len(rows) // samples] for i in range(samples)]
        return {"data": {"project": {"run": {name: [json.dumps(row) for row in rows]}}}}

    def _project(self, request: Request) -> dict[str, Node] | None:
        return self.projects.get((request.variables["entity"], request.variables["project"]))

    @staticmethod
    def _path(request: Request) -> str:
        return "/".join(request.variables[part] for part in ("entity", "project", "name"))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no news."""


class _Handler(BaseHTTPRequestHandler):
    owner: ScriptedUpstream
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
            self._send_answer(json.dumps(self.owner.answer(request)).encode(), failure)

    def _send_answer(self, body: bytes, failure: UpstreamFailure | None) -> None:
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
        else:
            self._send(body)

    def _send(
        self, body: bytes, status: int = 200, headers: dict[str, str] | None = None, part: float = 1.0
    ) -> None:
        if self.owner.compress:
            body = gzip.compress(body)
            headers = {"Content-Encoding": "gzip"} | (headers or {})
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: int(len(body) * part)])
        self.wfile.flush()

    def _drip(self, body: bytes, pause_s: float) -> None:
        if self.owner.compress:
            body = gzip.compress(body)
        for i in range(len(body)):
            if self._left(pause_s):
                self.close_connection = True
                return
            self.wfile.write(body[i : i + 1])
            self.wfile.flush()

    def _waited(self, request: Request, failure: UpstreamFailure | None) -> bool:
        """Waits as scripted; False when the client left meanwhile."""
        until = time.monotonic() + (failure.seconds if isinstance(failure, Delay) else 0)
        gate = self.owner.gate(request.operation)
        while time.monotonic() < until or (gate is not None and not gate.is_set()):
            if self._left(0.01):
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
