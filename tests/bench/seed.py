"""Fills a local server: with runs through the same protocol the SDK uses, with histories in its database itself."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import requests

from runtap_local.program.home import Home
from runtap_local.store import lines, projects
from runtap_local.store import runs as stored_runs
from runtap_local.store.database import Database
from runtap_local.store.lines import Line, Stream
from runtap_local.store.users import by_key
from runtap_local.times import now_us
from tests.bench.series import Columns, Series
from tests.support.local_server import LocalServer

_UPSERT = """
mutation UpsertBucket($entity: String, $project: String, $name: String, $config: JSONString, $summary: JSONString) {
  upsertBucket(input: {entityName: $entity, modelName: $project, name: $name, config: $config,
                       summaryMetrics: $summary, state: "finished"}) { bucket { id } }
}"""


def session_of(server: LocalServer) -> requests.Session:
    """Returns an authenticated session."""
    session = requests.Session()
    session.trust_env = False
    session.auth = ("api", server.api_key)
    return session


def documents(draw: random.Random, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns a config and a summary of about 2 KB together, as an ordinary sweep leaves them."""
    config: dict[str, Any] = {
        "learning_rate": {"value": 10 ** draw.uniform(-5, -1)},
        "optimizer": {"value": {"name": draw.choice(["adam", "sgd"]), "betas": [0.9, 0.999]}},
        "seed": {"value": number},
        "_wandb": {"value": {"cli_version": "0.31.0", "t": {"1": [1, 5, 53]}}},
    }
    config |= {f"parameter_{i}": {"value": draw.random()} for i in range(20)}
    summary: dict[str, Any] = {f"metric_{i}": draw.random() for i in range(25)}
    summary |= {"_step": 1000, "_runtime": 60, "_timestamp": 1.79e9}
    return config, summary


def upsert(
    session: requests.Session,
    server: LocalServer,
    project: str,
    name: str,
    config: dict[str, Any],
    summary: dict[str, Any],
) -> None:
    """Makes a run."""
    variables = {
        "entity": server.entity,
        "project": project,
        "name": name,
        "config": json.dumps(config),
        "summary": json.dumps(summary),
    }
    answer = session.post(
        f"{server.url}/graphql", json={"query": _UPSERT, "variables": variables}, timeout=30
    )
    if answer.status_code != 200 or answer.json().get("errors"):
        raise SystemExit(f"seeding failed: {answer.text[:300]}")


def runs(server: LocalServer, project: str, count: int, *, ballast: int = 0) -> None:
    """Makes finished runs.

    `ballast` adds so many bytes to each summary.
    """
    draw = random.Random(0)
    session = session_of(server)

    def make(number: int) -> None:
        config, summary = documents(draw, number)
        if ballast:
            summary["ballast"] = "x" * ballast
        upsert(session, server, project, f"run{number:05d}", config, summary)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(count)))


def requests_served(server: LocalServer) -> int:
    """Returns how many requests the server has answered so far, this kind of question not counted."""
    return int(session_of(server).get(f"{server.url}/runtap/stats", timeout=10).json()["requests"])


def history(server: LocalServer, project: str, run: str, series: Series) -> None:
    """Makes a finished run with a history, beside the server: what is measured is how it is read, and a million rows
    would take the protocol half a minute."""
    database = Database(Home(server.home).database)
    keys: dict[str, int] = {}
    with database.write() as connection:
        user = by_key(connection, server.api_key)
        assert user is not None
        row, _ = projects.upsert(connection, user.entity, project, user.pk, now_us())
        pk = stored_runs.create(connection, row.pk, run, user.pk, now_us(), {"state": "finished"})
        logged = 0
        for part in series.parts():
            new = list(_logged(part, logged))
            lines.put(connection, pk, Stream.HISTORY, new)
            logged += len(new)
            for key, values in part.items():
                keys[key] = keys.get(key, 0) + int(np.count_nonzero(~np.isnan(values)))
        known: dict[str, Any] = {
            "summary_metrics": new[-1].text,
            "history_keys": json.dumps(
                {key: {"typeCounts": [{"type": "number", "count": n}]} for key, n in keys.items()}
            ),
            "history_line_count": series.rows,
            "last_step": series.last_step,
        }
        stored_runs.change(connection, pk, now_us(), known)
    database.close()


def _logged(part: Columns, first: int) -> Iterator[Line]:
    """Rows as the lines in which the SDK sends them."""
    return (
        Line(first + index, row["_step"], orjson.dumps(row).decode()) for index, row in enumerate(dicts(part))
    )


def dicts(columns: Columns) -> Iterator[dict[str, Any]]:
    """Rows as they are logged, and as they are to be read."""
    names = [key for key in columns if key != "_step"]
    steps = columns["_step"].astype(np.int64).tolist()
    values = zip(*(columns[key].tolist() for key in names), strict=True)
    for step, row in zip(steps, values, strict=True):
        found = {key: value for key, value in zip(names, row, strict=True) if value == value}
        found["_step"] = step
        yield found


_EXPORTS = """
query RunParquetHistory($entity: String!, $project: String!, $run: String!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { parquetHistory(liveKeys: ["_step"]) { parquetUrls } }
  }
}"""


def exported(server: LocalServer, project: str, run: str) -> None:
    """Waits until the server has made the Parquet parts of a run's history."""
    variables = {"entity": server.entity, "project": project, "run": run}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = session_of(server).post(
            f"{server.url}/graphql", json={"query": _EXPORTS, "variables": variables}, timeout=60
        )
        if answer.json()["data"]["project"]["run"]["parquetHistory"]["parquetUrls"]:
            return
    raise SystemExit("the server made no Parquet parts within a minute")
