"""Fills a local server with runs, through the same protocol the SDK uses."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

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
