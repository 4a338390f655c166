"""What is read under faults: each kind of read with what it must bring, told from the server's own state.

Every kind has projects of its own, so that readers meet the faults of their project and nobody else's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from runtap.v1 import common_pb2, projects_pb2, projects_pb2_grpc, runs_pb2, sweeps_pb2, sweeps_pb2_grpc
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.scripted_world import World
from tests.support.upstream import ENTITY

COUNT = 45
PAGE = 20
_SWEEP = "method: random\nmetric: {name: loss}\n"
Read = Callable[[World, str, common_pb2.ReadOptions, float], Any]


def now(**fields: Any) -> common_pb2.ReadOptions:
    """What a process asks that begins now and trusts nothing from before."""
    moment = Timestamp()
    moment.FromNanoseconds(time.time_ns())
    return common_pb2.ReadOptions(not_before=moment, **fields)


def fill(server: FaultyUpstream, project: str, count: int = COUNT) -> None:
    """Gives a project runs with configs and summaries, of one sweep."""
    server.add_sweep(ENTITY, project, "s1", _SWEEP)
    server.add_sweep(ENTITY, project, "s2", _SWEEP)
    server.add_project(project, project)  # an entity of its own that owns a project
    for i in range(count):
        server.add_run(
            ENTITY, project, f"r{i:04}", id=f"{project}-{i:04}", config={"lr": {"value": i / 8}},
            summary={"loss": (i * 7) % count}, sweepName="s1",
        )  # fmt: skip


def change(server: FaultyUpstream, project: str) -> None:
    """Somebody else changes some runs, adds one and renames a sweep."""
    runs = server.projects[ENTITY, project]
    for number, run_id in enumerate(list(runs)[:3]):
        runs[run_id]["summaryMetrics"] = json.dumps({"loss": -number, "changed": True})
        runs[run_id]["updatedAt"] = "2026-01-03T00:00:00Z"
    server.add_run(ENTITY, project, "new", id=f"{project}-new", summary={"loss": 99}, sweepName="s1")
    server.sweep_nodes[f"{ENTITY}/{project}"][0]["state"] = "FINISHED"
    server.add_project(project, f"{project}-more")


def shown(runs: Iterator[Any] | Sequence[Any]) -> list[tuple[str, Any, Any]]:
    """Runs as they were given: id, config, summary."""
    return [(run.run_id, json.loads(run.config_json), json.loads(run.summary_json)) for run in runs]


def held(server: FaultyUpstream, project: str, order: str = "-created_at") -> list[tuple[str, Any, Any]]:
    """The same of the runs that the server has, in that order."""
    nodes = sorted(
        server.projects[ENTITY, project].values(), key=lambda node: node["createdAt"], reverse=order[0] == "-"
    )
    return [(node["name"], json.loads(node["config"]), json.loads(node["summaryMetrics"])) for node in nodes]


def run_path(project: str) -> str:
    """The run that is changed first."""
    return f"{ENTITY}/{project}/r0000"


def _get_run(world: World, project: str, options: common_pb2.ReadOptions, timeout: float) -> Any:
    request = runs_pb2.GetRunRequest(path=run_path(project), options=options)
    return shown([world.runs().GetRun(request, timeout=timeout).run])


def _list_runs(world: World, project: str, options: common_pb2.ReadOptions, timeout: float) -> Any:
    pages = list(world.pages(project=f"{ENTITY}/{project}", page_size=PAGE, options=options, timeout=timeout))
    assert not any(page.incomplete_reason or page.errors for page in pages), pages[-1]
    return shown([run for page in pages for run in page.runs])


def _stream_runs(world: World, project: str, options: common_pb2.ReadOptions, timeout: float) -> Any:
    messages = world.stream(project=f"{ENTITY}/{project}", options=options, timeout=timeout)
    assert not any(message.incomplete_reason or message.errors for message in messages), messages[-1]
    return shown([run for message in messages for run in message.runs])


def _judged(world: World, project: str, options: common_pb2.ReadOptions, timeout: float) -> Any:
    query = {"filter_json": '{"summary.loss": {"$gte": 0}}', "order": "+config.lr"}
    messages = world.stream(project=f"{ENTITY}/{project}", options=options, timeout=timeout, **query)
    assert not any(message.incomplete_reason or message.errors for message in messages), messages[-1]
    return shown([run for message in messages for run in message.runs])


def _held_and_judged(server: FaultyUpstream, project: str) -> Any:
    runs = [run for run in held(server, project) if run[2]["loss"] >= 0]
    return sorted(runs, key=lambda run: run[1].get("lr", {}).get("value", 1e9))


def _read_document(world: World, project: str, options: common_pb2.ReadOptions, timeout: float) -> Any:
    request = runs_pb2.ReadDocumentRequest(
        path=run_path(project), document=runs_pb2.DOCUMENT_SUMMARY, options=options
    )
    return json.loads(b"".join(part.data for part in world.runs().ReadDocument(request, timeout=timeout)))


def _list_projects(world: World, project: str, options: common_pb2.ReadOptions, timeout: float) -> Any:
    stub = projects_pb2_grpc.ProjectServiceStub(world.channel())
    request = projects_pb2.ListProjectsRequest(entity=project, options=options)
    return [found.name for found in stub.ListProjects(request, timeout=timeout).projects]


def _list_sweeps(world: World, project: str, options: common_pb2.ReadOptions, timeout: float) -> Any:
    stub = sweeps_pb2_grpc.SweepServiceStub(world.channel())
    request = sweeps_pb2.ListSweepsRequest(project=f"{ENTITY}/{project}", options=options)
    return [(s.sweep_id, s.state) for s in stub.ListSweeps(request, timeout=timeout).sweeps]


def _get_best_run(world: World, project: str, options: common_pb2.ReadOptions, timeout: float) -> Any:
    stub = sweeps_pb2_grpc.SweepServiceStub(world.channel())
    request = sweeps_pb2.GetBestRunRequest(path=f"{ENTITY}/{project}/s1", options=options)
    answer = stub.GetBestRun(request, timeout=timeout)
    assert not answer.warning
    return answer.run.run_id, answer.value


def _held_best(server: FaultyUpstream, project: str) -> Any:
    run_id, _, summary = min(held(server, project), key=lambda run: run[2]["loss"])
    return run_id, summary["loss"]


@dataclass(frozen=True)
class Reading:
    """A kind of read."""

    read: Read
    expected: Callable[[FaultyUpstream, str], Any]


READINGS = {
    "GetRun": Reading(_get_run, lambda s, p: [run for run in held(s, p) if run[0] == "r0000"]),
    "ListRuns": Reading(_list_runs, held),
    "StreamRuns": Reading(_stream_runs, held),
    "judged": Reading(_judged, _held_and_judged),
    "ReadDocument": Reading(
        _read_document, lambda s, p: json.loads(s.projects[ENTITY, p]["r0000"]["summaryMetrics"])
    ),
    "ListProjects": Reading(_list_projects, lambda s, p: [node["name"] for node in s.project_nodes[p]]),
    "ListSweeps": Reading(
        _list_sweeps, lambda s, p: [(n["name"], n["state"]) for n in s.sweep_nodes[f"{ENTITY}/{p}"]]
    ),
    "GetBestRun": Reading(_get_best_run, _held_best),
}
