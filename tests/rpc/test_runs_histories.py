"""`runs.histories()` with a real daemon in front of a scripted server: frames, requests, runs that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas
import pytest

import runtap
from runtap.errors import IncompleteError
from runtap.frames import SampledWarning
from tests.support.daemon import Daemon
from tests.support.history_shapes import rows
from tests.support.history_world import HistoryWorld, world_of
from tests.support.upstream import ENTITY, KEY
from tests.support.upstream_faults import Refuse
from tests.support.upstream_histories import PROJECT, HistoriesUpstream

PATH = f"{ENTITY}/{PROJECT}"
RUNS = [f"r{i:02}" for i in reversed(range(50))]
"""Newest first, as lists come."""


@pytest.fixture
def world(start: Callable[..., Daemon], monkeypatch: pytest.MonkeyPatch) -> Iterator[HistoryWorld]:
    with HistoriesUpstream() as server:
        daemon = start(secrets=[KEY])
        monkeypatch.setenv("RUNTAP_HOME", str(daemon.home))
        monkeypatch.setenv("RUNTAP_AUTOSTART", "0")
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        for name in reversed(RUNS):
            number = int(name[1:])
            own = {"own": number} if number % 10 == 0 else {}
            server.run(rows(range(20 + number), **own), name, tags=[f"t{number % 2}"])
        yield world_of(server, daemon)


def asked(world: HistoryWorld) -> dict[str, int]:
    """The requests since this was last asked, but who the user is."""
    found = {name: n for name, n in world.server.counts().items() if name != "Viewer"}
    world.server.requests.clear()
    return found


def test_fifty_runs_are_a_frame_in_few_requests(world: HistoryWorld) -> None:
    frame = runtap.Api().runs(PATH).histories(format="pandas")
    assert list(frame.columns) == ["run_id", "_step", "loss", "own", "_runtime", "_timestamp"]
    assert list(dict.fromkeys(frame["run_id"])) == RUNS
    assert frame.groupby("run_id").size().to_dict() == {name: 20 + int(name[1:]) for name in RUNS}
    assert asked(world) == {"Runs": 1, "HistoryPage": 50}
    again = runtap.Api()
    again.flush()
    pandas.testing.assert_frame_equal(again.runs(PATH).histories(format="pandas"), frame)
    assert set(asked(world)) <= {"Runs", "RunsGlance"}


def test_runs_that_were_read_already(world: HistoryWorld) -> None:
    runs = runtap.Api().runs(PATH, filters={"tags": "t1"})
    names = [run.id for run in runs]
    assert asked(world) == {"Runs": 1}
    found = runs.histories(keys=["loss"], samples=None)
    assert list(dict.fromkeys(row["run_id"] for row in found)) == names and len(names) == 25
    assert [row["_step"] for row in found if row["run_id"] == "r07"] == list(range(27))
    assert list(found[0]) == ["run_id", "_step", "loss", "_timestamp"]
    assert asked(world) == {"HistoryPage": 25}, "what the list told a moment ago is believed"


def test_samples_are_those_of_each_run(world: HistoryWorld) -> None:
    api = runtap.Api()
    found = api.runs(PATH).histories(samples=10, keys=["loss"])
    of_run = [{k: v for k, v in row.items() if k != "run_id"} for row in found if row["run_id"] == "r49"]
    alone = api.run(f"{PATH}/r49").history(samples=10, keys=["loss"], pandas=False)
    assert of_run == alone and len(found) == 500
    world.server.run(rows(range(900)), "longest")
    with pytest.warns(SampledWarning, match="500 rows of each longer history"):
        assert len(runtap.Api(max_age=0).runs(PATH, filters={"name": "longest"}).histories()) == 500


def test_runs_that_cannot_be_read_hide_no_others(world: HistoryWorld) -> None:
    world.server.poison = {"r07"}
    world.server.fail("HistoryPage", Refuse("too large"))
    with pytest.raises(IncompleteError, match="2 of 50 runs could not be read") as caught:
        runtap.Api().runs(PATH).histories(format="pandas")
    assert caught.value.partial["run_id"].nunique() == 48
    with pytest.warns(UserWarning, match="1 of 50 runs could not be read"):
        frame = runtap.Api().runs(PATH, on_error="warn").histories(format="pandas")
    assert frame["run_id"].nunique() == 49 and "r07" not in set(frame["run_id"])
