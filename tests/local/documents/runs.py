"""Runs to hold documents against, one with everything and one with nothing, and what both have in common."""

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from runtap_local.program.home import Home
from runtap_local.program.manage import add_user
from tests.local.client import Client
from tests.local.documents.shapes import Json, Null, Shape, check, moment, whole
from tests.support.local_server import LocalServer

USER: Shape = {"name": str, "username": Null(str)}
LIGHT_RUN: Shape = {
    "id": str,
    "tags": [str],
    "name": str,
    "displayName": str,
    "sweepName": Null(str, rare=True),
    "state": str,
    "group": Null(str),
    "jobType": Null(str),
    "commit": Null(str),
    "readOnly": Null(bool),
    "createdAt": moment,
    "heartbeatAt": Null(moment),
    "description": Null(str),
    "notes": Null(str),
    "historyLineCount": Null(int),
    "user": USER,
}
FULL_RUN: Shape = {
    **LIGHT_RUN,
    "config": Null(Json(dict)),
    "systemMetrics": Null(Json(dict)),
    "summaryMetrics": Null(Json(dict)),
    "historyKeys": Null({"sets": lambda sets: sets == [], "keys": dict, "lastStep": int}),
}
LIGHT_FIELDS = " ".join(name for name in LIGHT_RUN if name != "user") + " user { name username }"
FULL_FIELDS = LIGHT_FIELDS + " config systemMetrics summaryMetrics historyKeys"
FILE: Shape = {
    "id": str,
    "name": str,
    "url": str,
    "sizeBytes": whole,
    "mimetype": Null(str),
    "updatedAt": Null(moment),
    "md5": Null(str),
}


@dataclass(frozen=True)
class Row:
    """One row of a table: a document, its variables beside the names of the run, and the shape of the answer.

    ``bare`` says that the run with nothing answers as well, with nulls and empty lists where the table allows them.
    """

    name: str
    document: str
    shape: Shape
    variables: dict[str, Any] = field(default_factory=dict)
    bare: bool = False

    def send(self, client: Client, run: str) -> Any:
        """The answer about a run."""
        names = {"project": client.project, "entity": client.entity, "name": run}
        names["id"] = client.run(run, "id")["id"]
        return client.query(self.document, **{**names, **self.variables})

    def check(self, client: Client) -> None:
        """Fails unless all runs that should be answered are, in the right shape."""
        check(self.send(client, "full"), self.shape, full=True)
        if self.bare:
            check(self.send(client, "bare"), self.shape)


def new_user(server: LocalServer) -> Client:
    """A new user, for more than one test."""
    user, key = add_user(Home(server.home), "u" + uuid.uuid4().hex[:10], None)
    return Client(server.url, user.entity, key)


def populated_user(server: LocalServer) -> Client:
    """A new user with the runs ``full`` and ``bare``."""
    client = new_user(server)
    client.upsert(
        "full",
        displayName="shown",
        description="described",
        notes="noted",
        commit="c0ffee",
        tags=["a", "b"],
        groupName="g",
        jobType="train",
        config={"lr": {"value": 0.1, "desc": None}, "_wandb": {"value": {"t": {"1": [1]}}}},
        summaryMetrics={"loss": 0.5},
    )
    client.log("full", 0, [{"_step": step, "loss": 1 / (step + 1)} for step in range(4)])
    events = [json.dumps({"_wandb": True, "_timestamp": 1.5, "system.cpu": 3})]
    console = ["2026-01-01T00:00:00.000000 hello", "ERROR 2026-01-01T00:00:01.000000 alas"]
    client.stream(
        "full",
        files={
            "wandb-events.jsonl": {"offset": 0, "content": events},
            "output.log": {"offset": 0, "content": console},
        },
    )
    for name in ("a.txt", "media/b.json"):
        client.request("PUT", f"/files/{client.entity}/{client.project}/full/{name}", data=b"content")
    client.upsert("bare")
    return client
