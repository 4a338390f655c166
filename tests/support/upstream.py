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

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.http_host import Host
from tests.support.upstream_faults import Delay, Status, UpstreamFailure
from tests.support.upstream_http import GraphQLHandler
from tests.support.upstream_http import Request as Request
from tests.support.upstream_judging import matching
from tests.support.upstream_schema import asked, introspected

KEY = "canary0scripted0key0of0the0first0user0000"
ENTITY = "team"
_COLUMNS = {"created_at": "createdAt", "display_name": "displayName", "name": "name", "state": "state"}
_DOCUMENTS = frozenset(("config", "summaryMetrics", "systemMetrics", "historyKeys"))
Node = dict[str, Any]


@dataclass
class ScriptedUpstream(Host):
    """A server of one test; faults and gates are named by operation."""

    lacks: set[tuple[str, str]] = field(default_factory=set)
    """Fields that it has not, each with its type: documents that ask for one are refused, as older servers do."""
    lacks_updated_at: bool = False
    """The same for `updatedAt` of runs."""
    refuses_introspection: bool = False
    """Documents that ask for types are refused, as many servers do."""
    poison: set[str] = field(default_factory=set)
    """Ids of runs whose documents (config, summary, ...) the server cannot give; without them a run can be had."""
    poison_mode: Literal["status", "hang", "null"] = "status"
    """What becomes of an answer with such a run: HTTP 500, never an answer, or null for the run and an error."""
    page_cap: int | None = None
    """Lists never hold more runs a page, whatever was asked for."""
    history_cap: int | None = None
    """Histories never hold more rows an answer, whatever was asked for."""
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
    projects: dict[tuple[str, str], dict[str, Node]] = field(default_factory=dict)
    histories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Rows by `entity/project/run_id`, in step order."""
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    users: dict[str, Node] = field(default_factory=dict)
    """Viewers by key."""
    _handler = GraphQLHandler
    _unscripted: set[tuple[str, str]] = field(
        default_factory=lambda: {("Run", "sampledHistory"), ("Run", "parquetHistory")}
    )
    """What it could not answer."""

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

    # Answering; called by the handler

    def take(self, request: Request) -> UpstreamFailure | None:
        """Notes a request and returns what shall go wrong with it."""
        asked = f"{request.variables.get('filters')} {request.variables.get('order')}"
        with self._lock:
            self.requests.append(request)
            if request.operation in ("Runs", "RunsGlance") and any(word in asked for word in self.refuses):
                return Status(400, b'{"errors":[{"message":"invalid filter"}]}')
            return self.failure(request.operation)

    def answer(self, request: Request) -> dict[str, Any]:
        """The right answer."""
        if missing := sorted(asked(request.document) & self._lacking):
            kind, name = missing[0]
            return {"errors": [{"message": f"Cannot query field {name} on type {kind}"}]}
        with self._lock:
            answerer = self._answerer(request)
            if answerer is None:
                return {"errors": [{"message": f"unknown operation {request.operation}"}]}
            return answerer(request)

    def _answerer(self, request: Request) -> Callable[[Request], dict[str, Any]] | None:
        """What answers a request."""
        found: Callable[[Request], dict[str, Any]] | None
        found = getattr(self, f"_answer_{request.operation.lower()}", None)
        return found

    def poisoned(self, request: Request, answer: dict[str, Any]) -> UpstreamFailure | None:
        """What goes wrong with a right answer because of the runs in it; may change the answer."""
        if request.operation not in ("Run", "Runs") or not self.poison:
            return None
        if not any(("Run", name) in asked(request.document) for name in _DOCUMENTS):
            return None
        project = answer.get("data", {}).get("project") or {}
        edges = project.get("runs", {}).get("edges", ())
        places: list[tuple[dict[str, Any], str, list[str | int]]] = [
            (edge, "node", ["project", "runs", "edges", i, "node"]) for i, edge in enumerate(edges)
        ]
        places.append((project, "run", ["project", "run"]))
        bad = [place for place in places if (place[0].get(place[1]) or {}).get("name") in self.poison]
        if bad and self.poison_mode != "null":
            return Status(500) if self.poison_mode == "status" else Delay(math.inf)
        for holder, name, path in bad:
            holder[name] = None
            answer.setdefault("errors", []).append({"message": "internal error", "path": path})
        return None

    def spelled(self, answer: dict[str, Any]) -> Sequence[bytes]:
        """An answer as it is sent, in pieces."""
        return [json.dumps(answer).encode()]

    @property
    def _lacking(self) -> set[tuple[str, str]]:
        lacks = self.lacks | self._unscripted
        return lacks | {("Run", "updatedAt")} if self.lacks_updated_at else lacks

    def _answer_viewer(self, request: Request) -> dict[str, Any]:
        types = introspected(request.document, self._lacking)
        if types and self.refuses_introspection:
            return {"errors": [{"message": "introspection is not allowed"}]}
        return {"data": {"viewer": self.users[request.key], **types}}

    def _answer_run(self, request: Request) -> dict[str, Any]:
        project = self._project(request)
        run = self._told((project or {}).get(request.variables["name"]))
        return {"data": {"project": None if project is None else {"run": run}}}

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
            {"node": self._told(node), "cursor": str(start + i + 1)}
            for i, node in enumerate(found[start : start + size])
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
                    node["updatedAt"] = f"2026-01-02T00:00:01.{len(self.requests):06}Z"
                    return {"data": {"upsertBucket": {"bucket": self._told(node)}}}
        return {"errors": [{"message": "no such run"}]}

    def _told(self, node: Node | None) -> Node | None:
        """A run as it is at this moment, without what this server lacks."""
        return node and {name: value for name, value in node.items() if ("Run", name) not in self._lacking}

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
