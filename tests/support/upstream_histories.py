"""The scripted upstream with histories that change under way, and servers that do not answer all that is asked.

Owns what a history is at a moment and how much of it an answer holds. Rows are kept as the texts a server would send,
so that every spelling is possible; which of them a request wants is `history_questions`', Parquet files are
`exporting_upstream`'s.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.exporting_upstream import ExportingUpstream
from tests.support.history_questions import Question, questions
from tests.support.parquet_files import parquet
from tests.support.upstream import ENTITY, Node, Request
from tests.support.upstream_faults import Status, UpstreamFailure

PROJECT = "vision"
RUN = "r1"
Line = dict[str, Any] | str
"""A row, as a value or as the very text that a server sends."""


@dataclass
class HistoriesUpstream(ExportingUpstream):
    """A server of runs that log; each change moves heartbeat, counts and keys as servers do."""

    sampling: Literal["even", "random"] = "even"
    """Which rows an answer holds when there are more than were asked for; random ones are others each time."""
    answers_more: float = 1.0
    """So many times as many rows come as were asked for, when there are that many (1.048: 524 of 500)."""
    hidden_cap: int | None = None
    """No answer ever holds more rows, whatever was asked for."""
    cap_gives: Literal["sample", "first"] = "sample"
    """Whether a capped answer holds rows spread over the range, or the first ones."""
    fails_over_rows: int | None = None
    """Answers that would hold more rows fail with `too_large`."""
    fails_over_bytes: int | None = None
    too_large: UpstreamFailure = field(default_factory=lambda: Status(524, b"a timeout occurred"))
    tells_lines: Callable[[int], int | None] = lambda count: count
    """What `historyLineCount` says of so many rows."""
    tells_last: Callable[[int | None], int | None] = lambda last: last
    """What `historyKeys.lastStep` says."""
    tells_keys: bool = True
    """False: `historyKeys` is null."""
    exports: bool = False
    """Whether it offers histories as files; else `parquetHistory` is a field this server has not."""
    exported: dict[str, int] = field(default_factory=dict)
    """How many rows, in step order, are not live any more, by `entity/project/run_id`."""
    lines: dict[str, list[str]] = field(default_factory=dict)
    """Rows by `entity/project/run_id`, in the order in which they arrived."""
    event_lines: dict[str, list[str]] = field(default_factory=dict)
    _moments: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _plans: list[tuple[int, Callable[[], object]]] = field(default_factory=list)
    _rows_asked: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(4))
    _sorted: dict[str, tuple[int, list[tuple[int, str]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._unscripted = set() if self.exports else {("Run", "parquetHistory")}

    # What it holds

    def run(self, rows: Sequence[Line] = (), run_id: str = RUN, **fields: Any) -> str:
        """Adds a run that logged these rows; returns its path."""
        self.add_run(ENTITY, PROJECT, run_id, heartbeatAt="2026-01-02T00:00:00Z", **fields)
        path = f"{ENTITY}/{PROJECT}/{run_id}"
        self.lines[path] = [text_of(row) for row in rows]
        return path

    def log(self, path: str, rows: Sequence[Line]) -> None:
        """The run logs more, at its end or (a resumed run) at steps it had before."""
        with self._lock:
            self.lines[path] = self.lines[path] + [text_of(row) for row in rows]
            self._moved(path)

    def rewrite(self, path: str, rows: Sequence[Line]) -> None:
        """The history becomes another one: rewound (fewer rows), or with other values in as many rows."""
        with self._lock:
            self.lines[path] = [text_of(row) for row in rows]
            self._moved(path)

    def recreate(self, path: str, rows: Sequence[Line]) -> None:
        """The run is deleted, and another one made under its path."""
        with self._lock:
            node = self._node(path)
            node["id"] = f"{node['id']}-again"
            self.lines[path] = [text_of(row) for row in rows]
            self._moved(path)

    def set_state(self, path: str, state: str) -> None:
        """The run ends, crashes, or runs again."""
        with self._lock:
            self._node(path)["state"] = state
            self._moved(path)

    def meanwhile(self, requests: int, change: Callable[[], object]) -> None:
        """The change happens before the answer to so many more requests for rows is made (1: the next one)."""
        with self._lock:
            self._plans.append((self._rows_asked + requests, change))

    def catch_up(self) -> None:
        """What was to happen meanwhile and has not happened yet happens now."""
        with self._lock:
            while self._plans:
                self._plans.pop(0)[1]()

    def steps(self, path: str) -> list[int]:
        """The steps of all rows, in order."""
        return [step for step, _ in self.stepped(path)]

    def export(self, path: str, *cuts: int) -> None:
        """Makes Parquet files of the rows there are now: so many rows in the first, up to so many in the second, ...
        What is behind the last cut is live."""
        texts = [text for _, text in self.stepped(path)]
        bodies = [parquet(texts[low:high]) for low, high in itertools.pairwise((0, *cuts))]
        with self._lock:
            self.withdraw(path)
            self.add_parts(path, bodies)
            self.exported[path] = cuts[-1] if cuts else 0

    # What it saw

    @property
    def rows_asked(self) -> int:
        """How many requests for rows arrived so far."""
        return self._rows_asked

    # Answering

    def _answerer(self, request: Request) -> Callable[[Request], dict[str, Any]] | None:
        return self._answer_rows if questions(request.document) else super()._answerer(request)

    def _answer_rows(self, request: Request) -> dict[str, Any]:
        project = self._project(request)
        path = self._path(request)
        if project is None or request.variables["name"] not in project:
            return {"data": {"project": project and {"run": None}}}
        asked = [question.with_values(request.variables) for question in questions(request.document)]
        if any(question.field != "parquetHistory" for question in asked):
            self._rows_asked += 1
            for plan in [plan for plan in self._plans if plan[0] <= self._rows_asked]:
                self._plans.remove(plan)
                plan[1]()
        run = dict(self._told(self._node(path)) or {})
        run |= {question.alias: self._answer_to(question, path) for question in asked}
        return {"data": {"project": {"run": run}}}

    def _answer_to(self, question: Question, path: str) -> Any:
        if question.field == "parquetHistory":
            return self._parquet_history(path)
        if question.field == "sampledHistory":
            return [spec.rows(self.stepped(path), self._chosen) for spec in question.specs()]
        if question.field == "events":
            return self._chosen(self.event_lines.get(path, []), question.samples)
        low, high = question.range()
        wanted = [text for step, text in self.stepped(path) if low <= step < high]
        return self._chosen(wanted, question.samples)

    def _live(self, path: str) -> list[Any]:
        stepped = self.stepped(path)[self.exported.get(path, 0) :] if self.parts.get(path) else []
        return [{"_step": step} for step, _ in stepped]

    def _chosen(self, rows: list[Any], samples: int) -> list[Any]:
        """What an answer holds of these rows."""
        count = samples if len(rows) <= samples else int(samples * self.answers_more)
        if self.hidden_cap is not None and len(rows) > self.hidden_cap and count >= self.hidden_cap:
            count = self.hidden_cap
            if self.cap_gives == "first":
                return rows[:count]
        if len(rows) <= count:
            return rows
        if self.sampling == "random":
            return [rows[i] for i in sorted(self._random.sample(range(len(rows)), count))]
        return [rows[i * (len(rows) - 1) // max(1, count - 1)] for i in range(count)]

    def poisoned(self, request: Request, answer: dict[str, Any]) -> UpstreamFailure | None:
        """What goes wrong with an answer that is too large."""
        asked = questions(request.document)
        run = ((answer.get("data") or {}).get("project") or {}).get("run") or {}
        for rows in (run.get(question.alias) for question in asked if question.field == "history"):
            if self.fails_over_rows is not None and len(rows or ()) > self.fails_over_rows:
                return self.too_large
            if self.fails_over_bytes is not None and sum(map(len, rows or ())) > self.fails_over_bytes:
                return self.too_large
        return super().poisoned(request, answer)

    # What it tells of a run

    def _told(self, node: Node | None) -> Node | None:
        if node is None:
            return None
        path = next((p for p in self.lines if self._node(p) is node), None)
        if path is not None:
            steps = self.steps(path)
            last = self.tells_last(steps[-1] if steps else None)
            keys = {"keys": self._type_counts(path), "lastStep": last}
            node["historyLineCount"] = self.tells_lines(len(steps))
            node["historyKeys"] = json.dumps(keys) if self.tells_keys else None
        return super()._told(node)

    def _type_counts(self, path: str) -> dict[str, Any]:
        """Keys of the first row, as numbers: what `historyKeys` says of types is proven elsewhere."""
        first = self.stepped(path)[:1]
        keys = {key for _, text in first for key in json.loads(text)}
        return {key: {"typeCounts": [{"type": "number", "count": len(self.lines[path])}]} for key in keys}

    def stepped(self, path: str) -> list[tuple[int, str]]:
        """The rows with their steps, in step order, those of one step as they arrived."""
        lines = self.lines[path]
        known = self._sorted.get(path)
        if known is None or known[0] != id(lines):
            stepped = sorted(((step_of(text), text) for text in lines), key=lambda pair: pair[0])
            known = self._sorted[path] = (id(lines), stepped)
        return known[1]

    def _node(self, path: str) -> Node:
        entity, project, run_id = path.split("/")
        return self.projects[entity, project][run_id]

    def _moved(self, path: str) -> None:
        moment = next(self._moments)
        node = self._node(path)
        node["heartbeatAt"] = f"2026-01-02T{moment // 3600:02}:{moment // 60 % 60:02}:{moment % 60:02}Z"
        node["updatedAt"] = node["heartbeatAt"]


def text_of(row: Line) -> str:
    """A row as a server sends it."""
    return row if isinstance(row, str) else json.dumps(row)


def step_of(text: str) -> int:
    """The step of a row."""
    return int(json.loads(text).get("_step", 0))
