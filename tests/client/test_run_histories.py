"""The rows of many runs in one call."""

from __future__ import annotations

import pickle
import re
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pandas
import pytest

import runtap
from runtap.errors import IncompleteError, InvalidRequestError, StaleWarning
from runtap.frames import SampledWarning
from runtap.history import UnknownKeyWarning
from runtap.v1 import common_pb2, history_pb2
from tests.support.scripted_daemon import Fault, ScriptedDaemon, scripted_daemon

PROJECT = "ada/digits"


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    with scripted_daemon(tmp_path, monkeypatch) as script:
        script.group_rows = 3
        for number in (3, 1, 2):
            script.add_run(f"r{number}")
            script.rows[f"{PROJECT}/r{number}"] = [row(number, step) for step in range(4 + number)]
        yield script


@pytest.fixture
def runs(daemon: ScriptedDaemon) -> runtap.Runs:
    return runtap.Api().runs(PROJECT)


def row(number: int, step: int) -> dict[str, Any]:
    """A row as a program logs it: loss always, acc every other time, and a key of its own."""
    acc = {"acc": float(step)} if step % 2 else {}
    own = {f"own{number}": number} if step == 0 else {}
    return {"_step": step, "loss": number + step / 10, **acc, **own, "_timestamp": 1000.0 + step}


def unreadable(run_id: str) -> common_pb2.ItemError:
    return common_pb2.ItemError(
        item=f"{PROJECT}/{run_id}", code=14, reason="UPSTREAM_UNAVAILABLE", message="HTTP 524"
    )


def test_rows_of_all_runs_in_the_order_of_the_runs(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    rows = runs.histories()
    assert [at["run_id"] for at in rows] == ["r3"] * 7 + ["r1"] * 5 + ["r2"] * 6
    assert rows == [
        {"run_id": f"r{number}", **row(number, step)} for number in (3, 1, 2) for step in range(4 + number)
    ]
    assert next(iter(rows[0])) == "run_id"
    assert daemon.count("history.ReadHistories") == 1
    request = daemon.last("history.ReadHistories")
    assert list(request.paths) == [f"{PROJECT}/r{number}" for number in (3, 1, 2)]
    assert (request.samples, list(request.keys)) == (500, [])


def test_a_frame_in_long_form(runs: runtap.Runs) -> None:
    frame = runs.histories(format="pandas")
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["run_id", "_step", "loss", "own3", "acc", "own1", "own2", "_timestamp"]
    assert list(frame.index) == list(range(18))
    assert frame.groupby("run_id")["_step"].max().to_dict() == {"r1": 4, "r2": 5, "r3": 6}
    assert frame["own1"].notna().sum() == 1
    arrow = runs.histories(format="arrow")
    assert arrow.schema.names == list(frame.columns)
    assert arrow["run_id"].to_pylist() == frame["run_id"].tolist()


def test_polars(runs: runtap.Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    polars = types.ModuleType("polars")
    polars.from_arrow = lambda arrow: ("a polars frame", arrow.num_rows)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "polars", polars)
    assert runs.histories(format="polars") == ("a polars frame", 18)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_without_the_library_nothing_is_read(
    daemon: ScriptedDaemon, runs: runtap.Runs, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"pip install 'runtap\[{library}\]'"):
        runs.histories(format=library)
    assert daemon.count("runs.ListRuns") == 0


def test_keys_give_rows_with_at_least_one(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    frame = runs.histories(keys=["acc", "own1"], format="pandas")
    assert list(frame.columns) == ["run_id", "_step", "acc", "own1", "_timestamp"]
    assert frame["_step"].tolist() == [1, 3, 5, 0, 1, 3, 1, 3, 5]
    request = daemon.last("history.ReadHistories")
    assert (list(request.keys), request.samples) == (["acc", "own1", "_timestamp"], 500)
    assert request.join == history_pb2.HISTORY_JOIN_OUTER
    assert list(runs.histories(keys=["acc"])[0]) == ["run_id", "_step", "acc", "_timestamp"]
    frame = runs.histories(keys=["acc", "_timestamp"], x_axis="_timestamp", format="pandas")
    assert list(frame.columns) == ["run_id", "_timestamp", "acc"]


def test_another_x_axis_comes_along_and_decides_nothing(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    frame = runs.histories(keys=["acc"], x_axis="loss", format="pandas", samples=2)
    assert list(frame.columns) == ["run_id", "loss", "acc", "_timestamp"]
    assert frame["acc"].tolist() == [1, 5, 1, 3, 1, 5]
    request = daemon.last("history.ReadHistories")
    assert (list(request.keys), request.samples, request.x_axis) == (["acc", "_timestamp"], 2, "loss")
    assert runs.histories(keys=["acc"], x_axis="loss", samples=1)[0]["acc"] == 5
    frame = runs.histories(keys=["acc"], x_axis="loss", format="pandas", samples=None)
    assert frame["acc"].tolist() == [1, 3, 5, 1, 3, 1, 3, 5]
    request = daemon.last("history.ReadHistories")
    assert (list(request.keys), request.samples, request.x_axis) == (["loss", "acc", "_timestamp"], 0, "")


def test_samples(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    daemon.rows[f"{PROJECT}/r1"] = [row(1, step) for step in range(700)]
    with pytest.warns(SampledWarning, match=r"samples=None\) gives all rows") as told:
        rows = runs.histories()
    assert [warning.filename for warning in told] == [__file__]
    assert len(rows) < 700
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(runs.histories(samples=None)) == 713
        assert daemon.last("history.ReadHistories").samples == 0
        assert len(runs.histories(samples=400)) == 413


def test_runs_that_cannot_be_read_hide_no_others(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    daemon.history_errors[f"{PROJECT}/r1"] = unreadable("r1")
    daemon.bad_runs.append(unreadable("r4"))
    with pytest.raises(IncompleteError, match="2 of 4 runs could not be read, the first because:") as caught:
        runs.histories(format="pandas")
    assert [str(error) for error in caught.value.errors] == [
        f"{PROJECT}/r4: HTTP 524",
        f"{PROJECT}/r1: HTTP 524",
    ]
    assert sorted(set(caught.value.partial["run_id"])) == ["r2", "r3"]
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.partial.equals(caught.value.partial)

    tolerant = runtap.Api().runs(PROJECT, on_error="warn")
    with pytest.warns(UserWarning, match="2 of 4 runs could not be read"):
        frame = tolerant.histories(format="pandas")
    assert len(frame) == 13


def test_a_list_that_lacks_runs_is_warned_of(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    daemon.incomplete_reason = "runs came and went"
    with pytest.warns(UserWarning, match="runs are missing: runs came and went"):
        assert len(runs.histories()) == 18


def test_a_broken_stream_is_gone_on_with(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    for number in range(1, 9):
        daemon.break_history_after = number
        assert len(runs.histories()) == 18
    daemon.break_history_after = 6  # in the middle of the second run that comes
    runs.histories()
    rest = daemon.last("history.ReadHistories")
    assert list(rest.paths) == [f"{PROJECT}/r3", f"{PROJECT}/r1"], "what came whole is not asked for again"
    daemon.break_history_after = 1
    daemon.breaks_always = True
    with pytest.raises(runtap.CommError):
        runs.histories()


def test_many_runs_are_asked_for_in_parts(daemon: ScriptedDaemon) -> None:
    for number in range(1100):
        daemon.add_run(f"many{number}")
    runs = runtap.Api().runs(PROJECT)
    assert len(runs.histories()) == 18
    assert daemon.count("history.ReadHistories") == 2


def test_system_metrics_are_read_run_by_run(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    for number in (1, 2, 3):
        daemon.rows[f"{PROJECT}/r{number}"] = [
            {"system.cpu": float(at), "_runtime": at, "_timestamp": 1e3 + at} for at in range(10 * number)
        ]
    frame = runs.histories(stream="events", format="pandas", samples=10)
    assert list(frame.columns) == ["run_id", "system.cpu", "_runtime", "_timestamp"]
    assert frame["run_id"].tolist() == ["r3"] * 10 + ["r1"] * 10 + ["r2"] * 10
    assert frame["_runtime"].tolist()[:10:9] == [0, 29]
    assert daemon.last("history.SampleHistory").stream == history_pb2.HISTORY_STREAM_SYSTEM
    every = runs.histories(stream="events", keys=["system.cpu"], x_axis="_runtime", samples=None)
    assert (len(every), list(every[0])) == (60, ["run_id", "_runtime", "system.cpu", "_timestamp"])
    assert daemon.last("history.ReadHistory").stream == history_pb2.HISTORY_STREAM_SYSTEM
    frame = runs.histories(stream="events", keys=["system.cpu"], format="pandas")
    assert list(frame.columns) == ["run_id", "system.cpu", "_timestamp"]


def test_system_metrics_of_runs_that_cannot_be_read(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    gone = Fault(grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND", "no run r3 any more")
    for method, samples in (("history.SampleHistory", 500), ("history.ReadHistory", None)):
        daemon.fail(method, gone)
        with pytest.raises(IncompleteError, match="no run r3 any more") as caught:
            runs.histories(stream="system", keys=["loss"], samples=samples)
        assert {at["run_id"] for at in caught.value.partial} == {"r1", "r2"}
    assert daemon.count("history.ReadHistories") == 0


def test_a_logged_run_id_gives_way(daemon: ScriptedDaemon) -> None:
    daemon.runs.clear()
    daemon.add_run("r9")
    daemon.rows[f"{PROJECT}/r9"] = [{"_step": 0, "run_id": {"own": 1}}, {"_step": 1, "run_id": None}]
    runs = runtap.Api().runs(PROJECT)
    assert runs.histories() == [{"run_id": "r9", "_step": 0}, {"run_id": "r9", "_step": 1}]
    assert runs.histories(format="arrow")["run_id"].to_pylist() == ["r9", "r9"]


def test_no_runs_and_no_rows(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    daemon.rows.clear()
    assert runs.histories() == []
    with pytest.warns(UnknownKeyWarning, match="none of these runs logged 'loss'$"):
        frame = runs.histories(keys=["loss"], format="pandas")
    assert list(frame.columns) == ["run_id", "_step", "loss", "_timestamp"]
    daemon.runs.clear()
    none = runtap.Api().runs(PROJECT)
    assert none.histories() == []
    assert none.histories(format="pandas").empty
    assert none.histories(format="arrow").num_rows == 0


def test_keys_that_no_run_has_are_told_with_the_nearest(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    said = f"none of these runs logged 'losss', 'stepp'; nearest in {PROJECT}/r3: 'loss', '_step'"
    with pytest.warns(UnknownKeyWarning, match=re.escape(said)) as told:
        runs.histories(keys=["loss", "losss"], x_axis="stepp")
    assert len(told) == 1


def test_stale_histories_are_warned_of_once(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    assert len(runs) == 3
    daemon.freshness.stale = True
    with pytest.warns(StaleWarning, match="the oldest of these histories is . s old") as told:
        runs.histories()
    assert len(told) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"format": "csv"},
        {"format": None},
        {"samples": 0},
        {"samples": "all"},
        {"keys": "loss"},
        {"x_axis": 1},
        {"stream": "metrics"},
    ],
)
def test_arguments_that_mean_nothing_are_refused(
    daemon: ScriptedDaemon, runs: runtap.Runs, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))) as caught:
        runs.histories(**arguments)
    assert isinstance(caught.value, InvalidRequestError)
    assert daemon.count("runs.ListRuns") == 0
