"""Histories: frames, samples, scans, and values that are missing, null or NaN."""

from __future__ import annotations

import math
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy
import pandas
import pytest

import runtap
from runtap.errors import DaemonError, InvalidRequestError, StaleWarning
from runtap.frames import SampledWarning
from runtap.history import UnknownKeyWarning
from runtap.row_groups import MissingRowsWarning
from runtap.v1 import history_pb2
from tests.support.scripted_daemon import Fault, ScriptedDaemon, scripted_daemon

PATH = "ada/digits/r1"


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    with scripted_daemon(tmp_path, monkeypatch) as script:
        script.add_run("r1")
        script.group_rows = 3
        script.rows[PATH] = [row(step) for step in range(10)]
        yield script


@pytest.fixture
def run(daemon: ScriptedDaemon) -> runtap.Run:
    return runtap.Api().run(PATH)


def row(step: int, **more: Any) -> dict[str, Any]:
    """A row as a program logs it: loss always, acc every fourth time."""
    own: dict[str, Any] = {"_step": step, "loss": step / 10, "n": step}
    if step % 4 == 0:
        own["acc"] = float(step)
    return {**own, **more, "_runtime": step * 2, "_timestamp": 1000.0 + step}


def test_a_frame_as_in_the_guide(run: runtap.Run) -> None:
    frame = run.history()
    assert list(frame.columns) == ["_step", "loss", "n", "acc", "_runtime", "_timestamp"]
    assert len(frame) == 10
    assert list(frame.index) == list(range(10))
    assert frame["n"].dtype == "int64"
    assert frame["acc"].notna().tolist() == [step % 4 == 0 for step in range(10)]
    frame.loc[0, "loss"] = 7.0
    assert frame.loc[0, "loss"] == 7.0


def test_rows_instead_of_a_frame(run: runtap.Run) -> None:
    rows = run.history(pandas=False)
    assert rows == [row(step) for step in range(10)]
    assert isinstance(rows[0], dict)


def test_keys_give_rows_with_at_least_one_and_the_timestamp_last(run: runtap.Run) -> None:
    frame = run.history(keys=["acc"])
    assert list(frame.columns) == ["_step", "acc", "_timestamp"]
    assert frame["_step"].tolist() == [0, 4, 8]
    assert [(at["_timestamp"], at["acc"]) for _, at in frame.iterrows()] == [(1000, 0), (1004, 4), (1008, 8)]

    frame = run.history(keys=["acc", "loss"])
    assert len(frame) == 10
    assert frame["acc"].isna().sum() == 7


def test_keys_with_all_of_them(run: runtap.Run) -> None:
    frame = run.history(keys=["loss", "acc"], how="inner", columns="exact")
    assert list(frame.columns) == ["_step", "loss", "acc"]
    assert frame["acc"].tolist() == [0, 4, 8]


def test_another_x_axis_comes_first(run: runtap.Run) -> None:
    frame = run.history(keys=["acc"], x_axis="n")
    assert list(frame.columns) == ["n", "acc", "_timestamp"]
    assert frame["n"].tolist() == [0, 4, 8]
    assert list(run.history(keys=["loss"], x_axis="acc", how="inner", columns="exact").columns) == [
        "acc",
        "loss",
    ]


def test_what_every_row_has_decides_only_when_nothing_else_is_asked(run: runtap.Run) -> None:
    assert len(run.history(keys=["acc", "_timestamp", "_step"])) == 3
    frame = run.history(keys=["_runtime"])
    assert list(frame.columns) == ["_step", "_runtime", "_timestamp"]
    assert len(frame) == 10


def test_the_daemon_chooses_in_one_call(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    assert run.history(samples=4)["_step"].tolist() == [0, 3, 6, 9]
    assert [at["_step"] for at in run.history(samples=1, pandas=False)] == [9]
    assert run.history(samples=2, keys=["acc"], x_axis="n", how="inner")["acc"].tolist() == [0, 8]
    request = daemon.last("history.SampleHistory")
    assert (request.samples, list(request.keys), request.x_axis) == (2, ["acc", "_timestamp"], "n")
    assert request.join == history_pb2.HISTORY_JOIN_INNER
    assert (daemon.count("history.SampleHistory"), daemon.count("history.ReadHistory")) == (3, 0)


def test_a_sample_nobody_asked_for_is_said_to_be_one(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.group_rows = 1000
    daemon.rows[PATH] = [row(step) for step in range(600)]
    said = f"returned 500 of 600 rows of {PATH}, spread evenly; scan_history()"
    with pytest.warns(SampledWarning, match=re.escape(said)) as caught:
        frame = run.history()
    assert len(frame) == 500
    assert [warning.filename for warning in caught] == [__file__]
    both = f"returned 500 of 600 rows of {PATH}, spread evenly; history_table() gives all"
    with pytest.warns(SampledWarning, match=re.escape(both)):  # which scanning two keys does not
        run.history(keys=["loss", "acc"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(run.history(samples=100)) == 100
        assert len(run.history(samples=600)) == 600


def test_missing_null_and_nan(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.rows[PATH] = [
        {"_step": 0, "x": 1.5},
        {"_step": 1, "x": None},
        {"_step": 2},
        {"_step": 3, "x": math.nan},
    ]
    rows = list(run.scan_history())
    assert rows[:3] == daemon.rows[PATH][:3]
    assert math.isnan(rows[3]["x"])
    assert run.history()["x"].isna().tolist() == [False, True, True, True]
    assert [at["_step"] for at in run.history(keys=["x"], pandas=False)] == [0, 1, 3]


def test_values_of_several_kinds_keep_their_kind(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    values: list[Any] = [1, "text", {"deep": {"list": [1, None]}}, True, math.inf, None]
    daemon.rows[PATH] = [{"_step": step, "x": value} for step, value in enumerate(values)]
    assert [at["x"] for at in run.scan_history()] == values
    daemon.group_rows = 2
    assert [at["x"] for at in run.scan_history()] == values
    frame = run.history()
    assert frame["x"].tolist()[:5] == values[:5]
    assert math.isnan(frame["x"][5])


def test_nan_among_values_of_several_kinds_is_a_number(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.rows[PATH] = [{"_step": 0, "x": "NaN", "h": {}}, {"_step": 1, "x": 2}]
    rows = list(run.scan_history())
    assert math.isnan(rows[0]["x"])


def test_steps_beyond_all_steps_are_no_limit(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    assert len(list(run.scan_history(min_step=-(2**63), max_step=2**63, page_size=2**40))) == 10
    assert list(run.scan_history(min_step=2**70)) == []
    with pytest.raises(InvalidRequestError, match="keys has half a surrogate pair"):
        run.scan_history(keys=["\ud800"])


def test_rows_that_the_server_withholds_are_warned_of_once(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.exact = False
    for read in (lambda: list(run.scan_history()), lambda: run.history(keys=["acc"])):
        with pytest.warns(
            MissingRowsWarning, match=f"https://api.test did not give all rows of {PATH}"
        ) as told:
            read()
        assert len(told) == 1
        assert told[0].filename == __file__
    assert len(run.history(stream="events")) == 10


def test_nan_inside_of_values_is_a_number(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.rows[PATH] = [{"_step": 0, "x": {"deep": ["NaN", "-Infinity", "NaNs"]}}, {"_step": 1, "x": 2}]
    deep = next(iter(run.scan_history()))["x"]["deep"]
    assert math.isnan(deep[0])
    assert deep[1:] == [-math.inf, "NaNs"]
    assert math.isnan(run.history()["x"][0]["deep"][0])


def test_integers_and_floats_in_different_groups_are_numbers(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.rows[PATH] = [{"_step": step, "x": step if step < 3 else step + 0.5} for step in range(6)]
    frame = run.history()
    assert frame["x"].dtype == "float64"
    assert frame["x"].tolist() == [0, 1, 2, 3.5, 4.5, 5.5]


def test_texts_and_truths_with_gaps(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.rows[PATH] = [{"_step": 0, "s": "a", "b": True}, {"_step": 1}, {"_step": 2, "s": "c", "b": False}]
    frame = run.history()
    assert frame["s"].tolist()[::2] == ["a", "c"]
    assert frame["b"].tolist()[::2] == [True, False]
    assert frame.isna().loc[1].tolist() == [False, True, True]


def test_system_metrics_have_no_step(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.rows[PATH] = [{"system.cpu": 1.0, "_runtime": 2, "_timestamp": 3.0}]
    for name in ("events", "system"):
        frame = run.history(stream=name)
        assert list(frame.columns) == ["system.cpu", "_runtime", "_timestamp"]
        assert daemon.last("history.SampleHistory").stream == history_pb2.HISTORY_STREAM_SYSTEM
        assert list(run.history(keys=["system.cpu"], stream=name).columns) == ["system.cpu", "_timestamp"]


def test_an_empty_history(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.rows[PATH] = []
    assert run.history().empty
    assert run.history(pandas=False) == []
    assert list(run.scan_history()) == []
    with pytest.warns(UnknownKeyWarning, match="never logged 'loss'; its history is empty"):
        frame = run.history(keys=["loss"])
    assert list(frame.columns) == ["_step", "loss", "_timestamp"]
    assert len(frame) == 0


def test_scans_read_all_rows_and_begin_anew(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    scan = run.scan_history()
    assert [at["loss"] for at in scan] == [step / 10 for step in range(10)]
    assert [at["loss"] for at in scan] == [step / 10 for step in range(10)]
    assert next(scan)["_step"] == 0
    assert scan.next()["_step"] == 1
    assert len([1 for _ in scan for _ in scan]) == 100
    assert len(list(pickle.loads(pickle.dumps(scan)))) == 10


def test_scans_with_keys_have_all_of_them(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    rows = list(run.scan_history(keys=["acc", "loss"], page_size=100))
    assert rows == [{"_step": step, "loss": step / 10, "acc": float(step)} for step in (0, 4, 8)]
    request = daemon.last("history.ReadHistory")
    assert (list(request.keys), request.upstream_page_size) == (["acc", "loss"], 100)
    assert request.join == history_pb2.HISTORY_JOIN_INNER
    assert len(list(run.scan_history(keys=[]))) == 10


@pytest.mark.parametrize(
    "keys", [pandas.Index(["acc", "loss"]), numpy.array(["acc", "loss"]), {"acc": 1, "loss": 2}]
)
def test_keys_come_in_any_container(run: runtap.Run, keys: Any) -> None:
    assert [list(at) for at in run.scan_history(keys=keys)] == [["_step", "loss", "acc"]] * 3
    assert list(run.history(keys=keys, columns="exact").columns) == ["_step", "acc", "loss"]
    assert run.history_table(keys=iter(keys)).column_names == ["_step", "acc", "loss"]


@pytest.mark.parametrize("keys", ["loss", b"loss", 5, [1], 0])
def test_what_names_no_keys_is_refused(run: runtap.Run, keys: Any) -> None:
    for read in (run.history, run.scan_history, run.history_table):
        with pytest.raises(InvalidRequestError, match="keys is a list of strings"):
            read(keys=keys)


def test_the_daemon_chooses_the_pages_unless_told(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    for page_size, asked in ((None, 0), (1000, 0), (999, 999), (20_000_000, 20_000_000)):
        list(run.scan_history() if page_size is None else run.scan_history(page_size=page_size))
        assert daemon.last("history.ReadHistory").upstream_page_size == asked


def test_scans_of_a_range_of_steps(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    assert [at["_step"] for at in run.scan_history(min_step=3, max_step=6)] == [3, 4, 5]
    list(run.scan_history(use_cache=False))
    request = daemon.last("history.ReadHistory")
    assert request.options.no_cache
    assert not request.HasField("min_step")


def test_a_missing_key_of_a_row_says_what_to_do(run: runtap.Run) -> None:
    with pytest.raises(KeyError, match=r"'acc' was not logged in step 1; scan_history\(keys=\['acc'\]\)"):
        [at["acc"] for at in run.scan_history()]


def test_keys_never_logged_or_never_together_are_named(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    with pytest.warns(UnknownKeyWarning, match="never logged 'typo'"):
        assert list(run.scan_history(keys=["loss", "typo"])) == []
    with pytest.warns(UnknownKeyWarning, match="never logged 'typo'"):
        run.history(keys=["loss", "typo"])
    daemon.rows[PATH] = [{"_step": 0, "a": 1}, {"_step": 1, "b": 1}]
    with pytest.warns(UnknownKeyWarning, match="no row of ada/digits/r1 has all of 'a'"):
        assert list(run.scan_history(keys=["a", "b"])) == []


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("history", {"keys": "loss"}),
        ("history", {"keys": [1]}),
        ("history", {"samples": 0}),
        ("history", {"samples": "many"}),
        ("history", {"stream": "metrics"}),
        ("history", {"stream": ["system"]}),
        ("history", {"how": "left"}),
        ("history", {"columns": "all"}),
        ("scan_history", {"keys": "loss"}),
        ("scan_history", {"page_size": 0}),
        ("scan_history", {"page_size": True}),
        ("scan_history", {"min_step": 0.5}),
    ],
)
def test_arguments_that_mean_nothing_are_refused(
    run: runtap.Run, method: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))) as caught:
        getattr(run, method)(**arguments)
    assert isinstance(caught.value, InvalidRequestError)


def test_a_broken_stream_goes_on_where_it_was(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    for number in range(1, 7):
        daemon.break_history_after = number
        assert [at["_step"] for at in run.scan_history()] == list(range(10))
    daemon.break_history_after = 3
    assert len(run.history()) == 10


def test_a_stream_that_always_breaks_is_an_error(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.break_history_after = 1
    daemon.breaks_always = True
    with pytest.raises(DaemonError):
        list(run.scan_history())
    assert daemon.count("history.ReadHistory") == 2


def test_a_sample_that_breaks_off_is_asked_for_once_more(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.break_history_after = 1
    assert len(run.history()) == 10
    daemon.break_history_after, daemon.breaks_always = 1, True
    with pytest.raises(DaemonError):
        run.history()
    assert daemon.count("history.SampleHistory") == 4


def test_an_old_history_is_said_to_be_old(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.freshness.stale = True
    with pytest.warns(StaleWarning, match=f"the history of {PATH} is 0 s old"):
        run.history()


def test_integers_stay_exact(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.rows[PATH] = [{"_step": step, "n": 2**60 + step} for step in range(5)]
    assert run.history()["n"].tolist() == [2**60 + step for step in range(5)]
    del daemon.rows[PATH][3]["n"]
    numbers = run.history()["n"]
    assert numbers.dropna().tolist() == [2**60 + step for step in (0, 1, 2, 4)]
    assert numbers.isna().tolist() == [False, False, False, True, False]


def test_errors_of_a_scan_are_comm_errors(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.fail(
        "history.ReadHistory", Fault(grpc.StatusCode.FAILED_PRECONDITION, "HISTORY_REWRITTEN", "rows changed")
    )
    with pytest.raises(runtap.CommError, match="rows changed"):
        list(run.scan_history())


def test_without_pandas_the_cure_is_said(run: runtap.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'runtap\[pandas\]'"):
        run.history()
    assert len(run.history(pandas=False)) == 10


def test_frames_are_frames(run: runtap.Run, tmp_path: Path) -> None:
    frame = run.history()
    assert isinstance(frame, pandas.DataFrame)
    frame.to_csv(tmp_path / "out.csv")
    assert len(pandas.read_csv(tmp_path / "out.csv")) == 10


READS = """
import sys
import runtap
run = runtap.Api().run("ada/digits/r1")
print(len(list(run.scan_history())), len(run.history(pandas=False)), "pandas" in sys.modules)
"""


def test_rows_as_dicts_do_not_wait_for_pandas(daemon: ScriptedDaemon) -> None:
    done = subprocess.run([sys.executable, "-c", READS], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, "10 10 False\n", "")
