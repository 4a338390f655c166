"""Many runs whose summaries are huge: they are listed completely, by a daemon that stays small."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import runtap
from runtap.v1 import runs_pb2
from tests.support.scripted_world import PROJECT, World
from tests.support.upstream import ENTITY, KEY, ScriptedUpstream

BINS = 800_000
SIZE = 11_000_000
MOST_MEMORY = 300 * 2**20
FEW, ALL = 8, 90
PLACE = rb"\"histogram\": []"


@dataclass
class LargeUpstream(ScriptedUpstream):
    """A server whose runs have summaries of 11 MB each. Their text is made once, so that it costs no time to send."""

    def __enter__(self) -> LargeUpstream:
        super().__enter__()
        self._bins = b'\\"histogram\\": [' + b"-0.123456789, " * BINS + b"0]"
        return self

    def spelled(self, answer: dict[str, Any]) -> Sequence[bytes]:
        """An answer with the histograms in their places; they are never copied."""
        pieces: list[bytes] = []
        for piece in json.dumps(answer).encode().split(PLACE):
            pieces += [piece, self._bins]
        return pieces[:-1]

    def add_runs(self, count: int) -> None:
        """Adds runs; the last one is the newest."""
        for i in range(count):
            self.add_run(
                ENTITY, PROJECT, f"r{i:04}", summary={"n": i, "histogram": []}, config={"n": {"value": i}}
            )


@pytest.fixture
def server() -> Iterator[LargeUpstream]:
    with LargeUpstream() as server:
        yield server


def peak(world: World) -> int:
    """The most memory that the daemon ever had, in bytes."""
    status = Path(f"/proc/{world.daemon.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def listed(answers: Sequence[Any], count: int) -> None:
    runs = [run for answer in answers for run in answer.runs]
    assert [run.run_id for run in runs] == [f"r{i:04}" for i in reversed(range(count))]
    assert [json.loads(run.config_json)["n"]["value"] for run in runs] == list(reversed(range(count)))
    assert all([o.document for o in run.omitted] == [runs_pb2.DOCUMENT_SUMMARY] for run in runs)
    assert all(run.omitted[0].size_bytes >= SIZE for run in runs)
    assert not any(answer.errors or answer.incomplete_reason for answer in answers)


COUNTS = [FEW, pytest.param(ALL, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "paged"])
def test_runs_with_huge_summaries_are_listed_in_little_memory(
    world: World, server: LargeUpstream, count: int, streamed: bool
) -> None:
    server.add_runs(count)
    listed(world.stream(timeout=200) if streamed else list(world.pages(timeout=200)), count)
    assert server.counts()["Runs"] <= count + 8
    path = f"{ENTITY}/{PROJECT}/r0003"
    request = runs_pb2.ReadDocumentRequest(path=path, document=runs_pb2.DOCUMENT_SUMMARY)
    text = b"".join(part.data for part in world.runs().ReadDocument(request, timeout=60))
    document = json.loads(text)
    assert (document["n"], len(document["histogram"])) == (3, BINS + 1) and len(text) >= SIZE
    assert server.count("Run") == 0
    listed(world.stream(timeout=200), count)
    assert peak(world) < MOST_MEMORY, f"{peak(world) / 2**20:.0f} MiB"


@pytest.mark.parametrize("count", COUNTS)
def test_the_client_lists_them_too(
    world: World, server: LargeUpstream, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_runs(count)
    monkeypatch.setenv("RUNTAP_HOME", str(world.daemon.home))
    monkeypatch.setenv("RUNTAP_AUTOSTART", "0")
    api = runtap.Api(base_url=server.url, api_key=KEY, timeout=200)
    runs = api.runs(f"{ENTITY}/{PROJECT}")
    assert [run.id for run in runs] == [f"r{i:04}" for i in reversed(range(count))] and runs.complete
    run = runs[count - 3]
    assert (run.summary["n"], len(run.summary["histogram"]), run.config["n"]) == (2, BINS + 1, 2)
    assert server.count("Run") == 0
    assert peak(world) < MOST_MEMORY, f"{peak(world) / 2**20:.0f} MiB"
