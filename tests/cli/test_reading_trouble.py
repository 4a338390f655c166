"""Reading commands when the server cannot give everything: what it gives is shown, one line says what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Place, new_place
from tests.support.upstream import KEY, ScriptedUpstream


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as made:
        for number in range(5):
            made.add_run("team", "vision", f"r{number}", summary={"loss": number})
        yield made


@pytest.fixture
def place(server: ScriptedUpstream, tmp_path: Path) -> Iterator[Place]:
    with new_place(tmp_path, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY) as made:
        yield made


@pytest.mark.parametrize(
    ("poison", "read", "said"),
    [
        ({"r2"}, ["r4", "r3", "r1", "r0"], "one run could not be read: team/vision/r2: http"),
        ({"r2", "r3"}, ["r4", "r1", "r0"], "2 runs could not be read, the first is team/vision/r3: http"),
    ],
)
def test_a_run_that_cannot_be_read_hides_no_other(
    server: ScriptedUpstream, place: Place, poison: set[str], read: list[str], said: str
) -> None:
    server.poison = poison
    table = place.runtap("runs", "vision", "-c", "summary.loss")
    assert [line.split()[0] for line in table.out.splitlines()[3:]] == read
    listed = place.runtap("runs", "vision", "--json")
    assert [run["id"] for run in json.loads(listed.out)] == read
    for done in (table, listed):
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert done.err.startswith(f"runtap: {said}")


def test_runs_that_a_server_counts_and_does_not_give_are_missed(
    server: ScriptedUpstream, place: Place
) -> None:
    server.counts_wrongly_by = 2
    done = place.runtap("runs", "vision")
    assert len(done.out.splitlines()) == 8
    assert done.code == 1
    assert done.err.startswith("runtap: runs are missing: ") and done.err.count("\n") == 1
