"""Rows about the local server by itself, judged by the real client: long lists, long histories, room on disk."""

from __future__ import annotations

import json
import random
import sqlite3
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psutil

from runtap_local.program.home import Home
from runtap_local.store import projects, runs
from runtap_local.store.database import Database
from runtap_local.store.users import by_key
from runtap_local.times import now_us
from tests.bench import seed
from tests.bench.measure import Sample, middle, run_script
from tests.support.local_server import LocalServer

SCRIPTS: Final = Path(__file__).with_name("scripts")
LISTS, HISTORIES = "bench-lists", "bench-histories"
KEYS, PART, PAGES = 10, 1000, 100
_PAGE = """
query HistoryPage($entity: String!, $project: String!, $run: String!, $minStep: Int64!, $maxStep: Int64!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { history(minStep: $minStep, maxStep: $maxStep, samples: 1000) }
  }
}"""


class LocalRows:
    """A server, and the environment in which the real client reads from it."""

    def __init__(self, server: LocalServer, env: Mapping[str, str], rounds: int) -> None:
        self._server, self._env, self._rounds = server, dict(env), rounds
        self._process = psutil.Process(server.pid)

    def lists(self, count: int) -> list[str]:
        """Lists of many runs, with configs and summaries of about 30 keys each."""
        took = seed_runs(self._server, LISTS, count)
        best: dict[str, Any] = {
            "filters": {"config.learning_rate": {"$gt": 0.001}, "state": "finished"},
            "order": "-summary_metrics.metric_0",
        }
        whole = {"lazy": False, "per_page": 1000}
        lines = self._heading(f"The local server and the real client: lists of {count:,} runs")
        path = f"{self._server.entity}/{LISTS}"
        for name, options in (
            ("`lazy=False, per_page=1000`", whole),
            ("as by default: lazy, 50 a page", {}),
            ("filtered by config and state, by a metric, `lazy=False, per_page=1000`", {**best, **whole}),
            ("the same as by default", best),
        ):
            lines.append(self._row(name, "list_runs.py", path, json.dumps(options)))
        return [*lines, "", f"Seeding through the store took {took:.1f} s.", ""]

    def histories(self, steps: int) -> list[str]:
        """A long history: how it is taken in, the room it takes, and how it is read."""
        before = bytes_of(self._server)
        took = self._log(steps)
        room = (bytes_of(self._server) - before) / 1e6
        per_page_ms, cpu_ms = self._pages(steps)
        lines = self._heading(
            f"The local server and the real client: a history of {steps:,} steps x {KEYS} keys"
        )
        path = f"{self._server.entity}/{HISTORIES}/long"
        lines.append(self._row("`scan_history()`", "scan.py", path))
        lines.append(self._row("`scan_history(keys=[one])`", "scan.py", path, "metric_0"))
        return [
            *lines,
            "",
            f"On disk: {room:.1f} MB. Logged in {took:.1f} s, {PART} rows a request. A page of 1,000 rows asked for "
            f"without the client: {per_page_ms:.1f} ms (median of {PAGES}), of which the server computed {cpu_ms:.1f}.",
            "",
        ]

    def _heading(self, title: str) -> list[str]:
        return [
            f"### {title}",
            "",
            "| | read | from `Api()` | requests | server's CPU | client's peak memory | server's memory |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        ]

    def _row(self, name: str, script: str, *arguments: str) -> str:
        samples: list[Sample] = []
        before = self._cpu_s()
        for _ in range(self._rounds):
            samples.append(run_script(SCRIPTS / script, ["wandb", *arguments], self._env, self._served))
        cpu_s = (self._cpu_s() - before) / self._rounds
        m, held = middle(samples), self._process.memory_info().rss / 2**20
        return (
            f"| {name} | {m.found} | {m.from_api_s:.2f} s | {m.requests} | {cpu_s:.2f} s "
            f"| {m.peak_mib:.0f} MiB | {held:.0f} MiB |"
        )

    def _served(self) -> int:
        return seed.requests_served(self._server)

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def _log(self, steps: int) -> float:
        """Log as the SDK does: lines of JSON with full floats, in file_stream requests."""
        draw = random.Random(0)
        session = seed.session_of(self._server)
        seed.upsert(session, self._server, HISTORIES, "long", {}, {})
        address = f"{self._server.url}/files/{self._server.entity}/{HISTORIES}/long/file_stream"
        began = time.perf_counter()
        for start in range(0, steps, PART):
            rows = [a_row(draw, step) for step in range(start, min(start + PART, steps))]
            chunk = {"offset": start, "content": [json.dumps(row) for row in rows]}
            body = {"files": {"wandb-history.jsonl": chunk}}
            session.post(address, json=body, timeout=60).raise_for_status()
        took = time.perf_counter() - began
        session.post(address, json={"complete": True, "exitcode": 0}, timeout=60).raise_for_status()
        return took

    def _pages(self, steps: int) -> tuple[float, float]:
        """(milliseconds of a page seen from outside, milliseconds of the server's CPU)."""
        session = seed.session_of(self._server)
        variables: dict[str, Any] = {"entity": self._server.entity, "project": HISTORIES, "run": "long"}
        took = []
        before = self._cpu_s()
        for number in range(PAGES):
            first = number * PART % steps
            variables |= {"minStep": first, "maxStep": first + PART}
            began = time.perf_counter()
            answer = session.post(
                f"{self._server.url}/graphql", json={"query": _PAGE, "variables": variables}, timeout=60
            )
            took.append(time.perf_counter() - began)
            assert len(answer.json()["data"]["project"]["run"]["history"]) == min(PART, steps)
        return statistics.median(took) * 1000, (self._cpu_s() - before) / PAGES * 1000


def a_row(draw: random.Random, step: int) -> dict[str, Any]:
    """What a training loop logs in a step."""
    own = {"_step": step, "_timestamp": 1.79e9 + step, "_runtime": float(step)}
    return own | {f"metric_{i}": draw.gauss(1, 0.1) for i in range(KEYS)}


def bytes_of(server: LocalServer) -> int:
    """How large the database is once everything in its log has found its place."""
    path = Home(server.home).database
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.stat().st_size


def seed_runs(server: LocalServer, project: str, count: int) -> float:
    """Make finished runs in the database itself, beside the server: what is measured is how they are read."""
    began = time.perf_counter()
    draw = random.Random(0)
    database = Database(Home(server.home).database)
    with database.write() as connection:
        user = by_key(connection, server.api_key)
        assert user is not None
        row, _ = projects.upsert(connection, user.entity, project, user.pk, now_us())
        for number in range(count):
            config, summary = seed.documents(draw, number)
            keys = {key: {"typeCounts": [{"type": "number", "count": 1000}]} for key in summary}
            values = {
                "state": draw.choice(["finished", "finished", "failed"]),
                "config": json.dumps(config),
                "summary_metrics": json.dumps(summary),
                "system_metrics": json.dumps({"system.cpu": draw.random(), "system.memory": draw.random()}),
                "history_keys": json.dumps(keys),
                "history_line_count": 1000,
                "last_step": 999,
                "tags": json.dumps(draw.sample(["a", "b", "c"], 2)),
            }
            runs.create(connection, row.pk, f"run{number:05d}", user.pk, now_us() + number, values)
    database.close()
    return time.perf_counter() - began
