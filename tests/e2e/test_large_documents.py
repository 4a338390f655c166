"""A run with an 11 MB summary lists and reads; in Python nobody notices that it travels apart."""

from __future__ import annotations

import json

import pytest
import requests

from tests.e2e.conftest import World

PROJECT = "large"
UPSERT = """
mutation U($entity: String, $project: String, $name: String, $summary: JSONString, $config: JSONString) {
  upsertBucket(input: {entityName: $entity, modelName: $project, name: $name, summaryMetrics: $summary,
                       config: $config}) { bucket { id } }
}"""


@pytest.fixture(scope="module", autouse=True)
def seeded(world: World) -> dict[str, float]:
    summary: dict[str, float] = {f"metric/{i:06d}": i / 7 for i in range(360_000)}
    with requests.Session() as session:
        session.auth = ("api", world.server.api_key)
        for name, document in (("small1", {"a": 1}), ("large1", summary), ("small2", {"a": 2})):
            text = json.dumps(document, separators=(",", ":"))
            assert name != "large1" or len(text) > 11_000_000
            variables = {
                "entity": world.server.entity,
                "project": PROJECT,
                "name": name,
                "summary": text,
                "config": '{"lr": {"value": 1}}',
            }
            answer = session.post(
                f"{world.server.url}/graphql", json={"query": UPSERT, "variables": variables}
            )
            assert answer.status_code == 200 and "errors" not in answer.json(), answer.text[:300]
    return summary


def test_lists_reads_and_changes_as_any_run(world: World) -> None:
    out = world.python(
        f"""
import json, runtap
api = runtap.Api()
runs = api.runs("{world.path(PROJECT)}", order="+created_at")
print(json.dumps([run.id for run in runs]), len(runs))
large = runs[1]
print(len(large.summary), large.summary["metric/000007"], large.config["lr"])
del large.summary["metric/000007"]
large.summary["added"] = 1
large.summary.update()
again = runtap.Api()
again.flush()
fresh = again.run("{world.path(PROJECT)}/large1")
print(len(fresh.summary), fresh.summary["added"], "metric/000007" in fresh.summary)
"""
    ).stdout.splitlines()
    assert out[0] == '["small1", "large1", "small2"] 3'
    assert out[1] == "360000 1.0 1"
    assert out[2] == "360000 1 False"


def test_no_message_is_larger_than_two_mebibytes(world: World) -> None:
    out = world.python(
        f"""
import runtap
from runtap.v1 import runs_pb2 as pb
daemon = runtap.connect(account=runtap.Api().client.account)
listed = daemon.runs.ListRuns(pb.ListRunsRequest(project="{world.path(PROJECT)}"))
sizes = [listed.ByteSize()]
large = next(run for run in listed.runs if run.omitted)
print(large.run_id, large.HasField("summary_json"), [(o.document, o.size_bytes > 11_000_000) for o in large.omitted])
request = pb.ReadDocumentRequest(path=large.path, document=pb.DOCUMENT_SUMMARY, etag=large.etag)
parts = list(daemon.runs.ReadDocument(request))
sizes += [part.ByteSize() for part in parts]
streamed = list(daemon.runs.StreamRuns(pb.StreamRunsRequest(project="{world.path(PROJECT)}")))
sizes += [message.ByteSize() for message in streamed]
print(len(b"".join(part.data for part in parts)) == parts[0].total_bytes, max(sizes) < 2 * 2**20)
"""
    ).stdout.splitlines()
    assert out == ["large1 False [(2, True)]", "True True"]
