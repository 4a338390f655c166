"""How few requests a server sees: the first promise of the daemon, in numbers.

A real daemon, a scripted server over HTTP, and Python processes of their own where the promise speaks of processes.
Every case holds on servers that tell when a run was last changed, and on those that do not. Asking who the user is, and
what a server refuses once because it lacks a field, are counted apart.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from runtap.v1 import runs_pb2
from tests.support.daemon import Daemon, eventually
from tests.support.scripted_world import DEADLINE_S, PROJECT, World, make_world, options
from tests.support.upstream import ENTITY, KEY, Request, ScriptedUpstream

PATH = f"{ENTITY}/{PROJECT}"
LIST_LIMIT_S = 10.0
CSV = f"""
import pandas as pd
import runtap as wandb
api = wandb.Api()
runs = api.runs("{PATH}")
summary_list, config_list, name_list = [], [], []
for run in runs:
    summary_list.append(run.summary._json_dict)
    config_list.append({{k: v for k, v in run.config.items() if not k.startswith("_")}})
    name_list.append(run.name)
frame = pd.DataFrame({{"summary": summary_list, "config": config_list, "name": name_list}})
frame.to_csv("project.csv")
"""
READ_ALL = f"""
import json, sys, time
import runtap
api = runtap.Api()
if "later" in sys.argv:
    api.flush()  # what was fetched before this process began to read is too old for it, as ten seconds later
began = time.time()
seen = {{run.id: [run.config, run.summary._json_dict, run.tags] for run in api.runs("{PATH}")}}
print(json.dumps({{"began": began, "seen": seen}}))
"""
READ_ONE = f"""
import json
import runtap
api = runtap.Api()
api.flush()
run = api.run("{PATH}/r0001")
print(json.dumps([run.tags, run.config, run.summary._json_dict]))
"""


@pytest.fixture(params=[False, True], ids=["updatedAt", "no updatedAt"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(lacks_updated_at=request.param) as server:
        yield server


@dataclass
class Counted:
    """A daemon, its server, and processes of the user's."""

    world: World
    folder: Path

    @property
    def server(self) -> ScriptedUpstream:
        return self.world.server

    def process(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Starts Python as a user would; the daemon is there already."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
        own = {"WANDB_BASE_URL": self.server.url, "WANDB_API_KEY": KEY, "HOME": str(self.folder)}
        own |= {"RUNTAP_HOME": str(self.world.daemon.home), "RUNTAP_AUTOSTART": "0"}
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env=kept | own,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *arguments: str) -> str:
        """Runs Python to its end; returns what it printed."""
        return printed(self.process(script, *arguments))

    def asked(self, since: int = 0) -> list[Request]:
        """The requests for runs since the first so many of all."""
        return [
            request
            for request in self.server.requests[since:]
            if request.operation in ("Run", "Runs", "RunsGlance") and not self._refused(request)
        ]

    def _refused(self, request: Request) -> bool:
        return self.server.lacks_updated_at and "updatedAt" in request.document

    def refused(self) -> int:
        """How many requests were sent in vain, to learn what this server lacks."""
        return sum(map(self._refused, self.server.requests))

    def brought(self, since: int) -> list[str]:
        """The runs that came with their documents since then, by how often; the server must not have changed."""
        ids = []
        for request in self.asked(since):
            if request.operation == "Run":
                ids.append(request.variables["name"])
            elif request.operation == "Runs":
                page = self.server.answer(request)["data"]["project"]["runs"]
                ids += [edge["node"]["name"] for edge in page["edges"]]
        return sorted(ids)

    def edit(self, run_id: str, **wire: Any) -> None:
        """Somebody else changes a run; a server that can, says when."""
        node = self.server.projects[ENTITY, PROJECT][run_id]
        node.update(wire, updatedAt=f"2026-01-03T00:00:00.{len(self.server.requests):06}Z")


def printed(process: subprocess.Popen[str]) -> str:
    """What a process printed; it must have ended well."""
    try:
        out, err = process.communicate(timeout=50)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, err
    assert KEY not in out + err
    return out


@pytest.fixture
def counted(server: ScriptedUpstream, start: Callable[..., Daemon], tmp_path: Path) -> Counted:
    return Counted(make_world(server, start), tmp_path)


def add_runs(counted: Counted, count: int) -> None:
    for i in range(count):
        counted.server.add_run(
            ENTITY, PROJECT, f"r{i:04}", config={"lr": {"value": i}}, summary={"loss": i / 4}, tags=["base"]
        )


def now() -> Timestamp:
    moment = Timestamp()
    moment.FromNanoseconds(time.time_ns())
    return moment


@pytest.mark.parametrize(("page_cap", "cold", "warm"), [(None, 3, 1), (50, 20, 20)])
def test_the_guides_export_of_a_thousand_runs(
    counted: Counted, page_cap: int | None, cold: int, warm: int
) -> None:
    counted.server.page_cap = page_cap
    add_runs(counted, 1000)
    counted.run(CSV)
    with open(counted.folder / "project.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [f"name of r{i:04}" for i in reversed(range(1000))]
    assert rows[0]["config"] == "{'lr': 999}" and rows[0]["summary"] == "{'loss': 249.75}"
    assert len(counted.asked()) <= cold
    assert counted.refused() <= 1
    before = len(counted.server.requests)
    seen = json.loads(counted.run(READ_ALL, "later"))["seen"]
    assert len(seen) == 1000 and seen["r0999"] == [{"lr": 999}, {"loss": 249.75}, ["base"]]
    assert len(counted.asked(before)) <= warm


def test_the_first_run_costs_a_page_of_fifty(counted: Counted) -> None:
    add_runs(counted, 120)
    script = f"import runtap; print(runtap.Api().runs('{PATH}')[0].id)"
    assert counted.run(script).strip() == "r0119"
    (request,) = counted.asked()
    assert (request.operation, request.variables["first"]) == ("Runs", 50)


def test_processes_that_start_soon_add_nothing_and_one_that_starts_later_one(counted: Counted) -> None:
    add_runs(counted, 120)
    first = json.loads(counted.run(READ_ALL))
    assert len(first["seen"]) == 120
    cold = len(counted.asked())
    assert cold <= 2
    with ExitStack() as ending:
        others = [counted.process(READ_ALL) for _ in range(7)]
        for process in others:
            ending.callback(process.kill)
        answers = [json.loads(printed(process)) for process in others]
    assert all(answer["seen"] == first["seen"] for answer in answers)
    # On a machine that is very busy, some may have come too late; each of those may ask once.
    late = sum(answer["began"] > first["began"] + LIST_LIMIT_S for answer in answers)
    assert len(counted.asked()) - cold <= late
    before = len(counted.server.requests)
    assert json.loads(counted.run(READ_ALL, "later"))["seen"] == first["seen"]
    assert len(counted.asked(before)) == 1


@pytest.mark.slow
def test_a_process_ten_seconds_later_adds_one(counted: Counted) -> None:
    add_runs(counted, 120)
    first = json.loads(counted.run(READ_ALL))
    time.sleep(LIST_LIMIT_S + 1)
    before = len(counted.server.requests)
    assert json.loads(counted.run(READ_ALL))["seen"] == first["seen"]
    assert len(counted.asked(before)) == 1


def test_fifty_who_ask_for_a_run_at_once_are_one_request(counted: Counted) -> None:
    add_runs(counted, 1)
    gate = counted.server.hold("Run")
    stub = counted.world.runs()
    request = runs_pb2.GetRunRequest(path=f"{PATH}/r0000")
    calls = [stub.GetRun.future(request, timeout=DEADLINE_S) for _ in range(50)]
    eventually(lambda: counted.server.count("Run") == 1, "the request arrives")
    time.sleep(0.1)  # for those that would be a second request
    gate.set()
    assert {call.result().run.run_id for call in calls} == {"r0000"}
    assert len(counted.asked()) == 1


def listed(counted: Counted, **wished: Any) -> dict[str, runs_pb2.Run]:
    answers = counted.world.stream(options=options(**wished))
    return {run.run_id: run for answer in answers for run in answer.runs}


def test_only_the_run_that_changed_is_read_again(counted: Counted) -> None:
    add_runs(counted, 120)
    listed(counted)
    counted.edit("r0007", tags=["base", "new"], summaryMetrics='{"loss": 9}')
    before = len(counted.server.requests)
    runs = listed(counted, not_before=now())
    assert len(runs) == 120
    assert (list(runs["r0007"].tags), runs["r0007"].summary_json) == (["base", "new"], '{"loss": 9}')
    if counted.server.lacks_updated_at:
        # Nothing but reading them tells that no other run's documents have changed since then.
        assert (len(counted.brought(before)), len(counted.asked(before))) == (120, 1)
    else:
        assert counted.brought(before) == ["r0007"]
        assert len(counted.asked(before)) == 2


@pytest.mark.slow
def test_only_the_run_that_changed_is_read_again_when_the_list_is_ten_seconds_old(counted: Counted) -> None:
    add_runs(counted, 120)
    listed(counted)
    counted.edit("r0007", tags=["base", "new"], summaryMetrics='{"loss": 9}')
    before = len(counted.server.requests)
    time.sleep(LIST_LIMIT_S + 1)
    run = listed(counted)["r0007"]
    assert (list(run.tags), run.summary_json) == (["base", "new"], '{"loss": 9}')
    assert counted.brought(before) == ["r0007"]
    assert len(counted.asked(before)) == 2


@pytest.mark.parametrize("edited", ["tag", "config", "summary"])
def test_a_new_process_sees_what_somebody_changed_in_a_finished_run(counted: Counted, edited: str) -> None:
    add_runs(counted, 3)
    json.loads(counted.run(READ_ALL))
    expected: list[Any] = [["base"], {"lr": 1}, {"loss": 0.25}]
    assert json.loads(counted.run(READ_ONE)) == expected
    name, wire, place, value = {
        "tag": ("tags", ["base", "theirs"], 0, ["base", "theirs"]),
        "config": ("config", '{"lr": {"value": 5}}', 1, {"lr": 5}),
        "summary": ("summaryMetrics", '{"loss": 7}', 2, {"loss": 7}),
    }[edited]
    counted.edit("r0001", **{name: wire})
    expected[place] = value
    assert json.loads(counted.run(READ_ONE)) == expected
    tags, config, summary = expected
    assert json.loads(counted.run(READ_ALL, "later"))["seen"]["r0001"] == [config, summary, tags]
