"""All rows as columns: order, kinds, what is missing, and nothing rounded."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pandas
import pyarrow as pa
import pytest

import runtap
from runtap.errors import InvalidRequestError, StaleWarning
from runtap.history import UnknownKeyWarning
from runtap.history_table import HistoryTable
from runtap.v1 import common_pb2, history_pb2
from tests.support.scripted_daemon import Fault, ScriptedDaemon, scripted_daemon

PATH = "ada/digits/r1"
HUGE = 2**53 + 1
REWRITTEN = Fault(grpc.StatusCode.FAILED_PRECONDITION, "HISTORY_REWRITTEN", "rows changed")


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


def row(step: int) -> dict[str, Any]:
    """A row as a program logs it: loss always, acc every fourth time."""
    acc = {"acc": float(step)} if step % 4 == 0 else {}
    return {
        "_step": step,
        "loss": step / 10,
        "n": step,
        **acc,
        "_runtime": step * 2,
        "_timestamp": 1e3 + step,
    }


def values(daemon: ScriptedDaemon, *cells: Any) -> None:
    """Lets the run have logged these values of `x`; `...` where it logged none."""
    daemon.rows[PATH] = [
        {"_step": step} if cell is ... else {"_step": step, "x": cell} for step, cell in enumerate(cells)
    ]


def table(run: runtap.Run, **arguments: Any) -> HistoryTable:
    return run.history_table(**arguments)


def test_all_rows_and_columns_in_order(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    read = table(run)
    assert len(read) == 10
    assert read.column_names == ["_step", "loss", "n", "acc", "_runtime", "_timestamp"]
    assert list(read) == list(read.rows()) == daemon.rows[PATH]
    assert repr(read) == "<HistoryTable of ada/digits/r1 (10 rows x 6 columns)>"
    assert read.exact
    assert read.freshness is not None
    assert read.freshness.source == "upstream"
    assert daemon.count("history.ReadHistory") == 1


def test_a_frame_is_the_callers_own(run: runtap.Run) -> None:
    frame = table(run).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == table(run).column_names
    assert frame["n"].tolist() == list(range(10))
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "_step": "int64",
        "loss": "float64",
        "n": "int64",
        "acc": "float64",
        "_runtime": "int64",
        "_timestamp": "float64",
    }
    assert frame["acc"].notna().tolist() == [step % 4 == 0 for step in range(10)]
    assert list(frame.index) == list(range(10))


@pytest.mark.parametrize("group_rows", [3, 1000])
def test_frames_can_be_written_to_and_do_not_change_the_table(
    daemon: ScriptedDaemon, run: runtap.Run, group_rows: int
) -> None:
    daemon.group_rows = group_rows
    read = table(run)
    frame = read.to_pandas()
    frame.loc[0, "loss"] = 7.0
    frame["n"] += 1
    assert frame.loc[0, "loss"] == 7.0
    assert read.to_pandas().loc[0, "loss"] == 0.0
    assert next(iter(read))["n"] == 0


def test_arrow_columns(run: runtap.Run) -> None:
    arrow = table(run).to_arrow()
    arrow.validate(full=True)
    assert arrow.schema.names == table(run).column_names
    assert [str(kind) for kind in arrow.schema.types] == [
        "int64",
        "double",
        "int64",
        "double",
        "int64",
        "double",
    ]
    assert arrow["acc"].to_pylist() == [0.0, None, None, None, 4.0, None, None, None, 8.0, None]


def test_keys_are_the_columns(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    read = table(run, keys=["acc", "loss"])
    assert (read.column_names, len(read)) == (["_step", "acc", "loss"], 10)
    request = daemon.last("history.ReadHistory")
    assert (list(request.keys), request.join) == (["acc", "loss"], history_pb2.HISTORY_JOIN_OUTER)

    read = table(run, keys=["acc", "_step"])
    assert [at["_step"] for at in read] == [0, 4, 8]
    assert table(run, keys=["_step"]).column_names == ["_step"]
    assert len(table(run, keys=["loss", "acc"], how="inner")) == 3


def test_ranges_and_the_last_rows(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    assert table(run, min_step=3, max_step=6).to_arrow()["_step"].to_pylist() == [3, 4, 5]
    assert table(run, last=2).to_arrow()["_step"].to_pylist() == [8, 9]
    assert table(run, keys=["acc"], last=2).to_arrow()["acc"].to_pylist() == [4.0, 8.0]


def test_missing_null_and_nan_are_three_things(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    values(daemon, 1.5, None, ..., math.nan, 2.0, ..., None)
    read = table(run)
    assert read.missing("x") == [2, 5]
    assert read.nulls("x") == [1, 6]
    frame = read.to_pandas()
    assert frame["x"].isna().tolist() == [False, True, True, True, False, True, True]
    assert frame["x"].iloc[read.nulls("x")].isna().all()
    arrow = read.to_arrow()
    assert arrow["x"].take(pa.array([0, 3, 4])).is_valid().to_pylist() == [True, True, True]
    assert arrow.schema.field("x").metadata == {b"runtap.nulls": b"1,6"}
    assert arrow.take(pa.array(read.missing("x")))["_step"].to_pylist() == [2, 5]
    assert (read.missing("_step"), read.nulls("_step")) == ([], [])
    with pytest.raises(KeyError, match="no column 'y' here; there are _step, x"):
        read.missing("y")
    with pytest.raises(KeyError, match="no column 'y'"):
        read.nulls("y")


def test_integers_and_doubles_are_doubles_where_that_loses_nothing(
    daemon: ScriptedDaemon, run: runtap.Run
) -> None:
    values(daemon, 1, 2, 2**53, 3.5, ..., 4.5)
    read = table(run)
    assert read.to_arrow()["x"].to_pylist() == [1.0, 2.0, 2.0**53, 3.5, None, 4.5]
    frame = read.to_pandas()
    assert frame["x"].dtype == "float64"

    values(daemon, 1, 2, HUGE, 3.5, ..., math.nan)
    read = table(run)
    field = read.to_arrow().schema.field("x")
    assert (field.type, field.metadata) == (pa.string(), {b"runtap.json": b"1"})
    assert read.to_arrow()["x"].to_pylist() == ["1", "2", str(HUGE), "3.5", None, '"NaN"']
    cells = read.to_pandas()["x"].tolist()
    assert cells[:4] == [1, 2, HUGE, 3.5]
    assert [type(cell) for cell in cells[:4]] == [int, int, int, float]
    assert [math.isnan(cell) for cell in cells[4:]] == [True, True]


def test_large_integers_are_not_rounded(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    values(daemon, HUGE, 2**63 - 1, -HUGE)
    assert table(run).to_pandas()["x"].dtype == "int64"
    assert table(run).to_pandas()["x"].tolist() == [HUGE, 2**63 - 1, -HUGE]

    values(daemon, HUGE, ..., 2**63 - 1, ..., None)
    frame = table(run).to_pandas()
    assert str(frame["x"].dtype) == "Int64"
    assert frame["x"].isna().tolist() == [False, True, False, True, True]
    assert frame["x"].dropna().tolist() == [HUGE, 2**63 - 1]

    values(daemon, 5, ..., 2**53)
    assert table(run).to_pandas()["x"].dtype == "float64"


def test_values_of_all_kinds_keep_their_kind(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    logged: list[Any] = [1, "text", {"deep": [1, None, {"a": 2.5}]}, True, 2.5, "more", ..., None, [1]]
    for group_rows in (1, 2, 3, 100):
        daemon.group_rows = group_rows
        values(daemon, *logged)
        read = table(run)
        present = [cell for cell in logged if cell is not ... and cell is not None]
        assert [cell for cell in read.to_pandas()["x"] if cell == cell] == present
        texts = read.to_arrow()["x"].to_pylist()
        assert [json.loads(text) for text in texts if text is not None] == present
        assert (read.missing("x"), read.nulls("x")) == ([6], [7])
        assert list(read) == daemon.rows[PATH]


def test_texts_and_truths(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    values(daemon, "a", ..., "c", "d")
    frame = table(run).to_pandas()
    assert frame["x"].isna().tolist() == [False, True, False, False]
    assert frame["x"].tolist()[2:] == ["c", "d"]
    values(daemon, True, False, True, False)
    assert table(run).to_pandas()["x"].dtype == bool
    values(daemon, True, False, ..., None)
    cells = table(run).to_pandas()["x"].tolist()
    assert cells[:2] == [True, False]
    assert all(math.isnan(cell) for cell in cells[2:])


def test_a_key_that_was_only_ever_null(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    values(daemon, None, ..., None, ..., "late")
    read = table(run)
    assert read.to_arrow()["x"].to_pylist() == [None, None, None, None, "late"]
    assert list(read) == daemon.rows[PATH]
    values(daemon, None, ...)
    assert table(run).to_arrow().schema.field("x").type == pa.float64()
    assert table(run).to_pandas()["x"].isna().all()


def test_an_empty_history(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.rows[PATH] = []
    read = table(run)
    assert (len(read), read.column_names, list(read)) == (0, [], [])
    assert read.to_pandas().empty
    assert read.to_arrow().num_rows == 0
    with pytest.warns(UnknownKeyWarning, match="never logged 'loss'"):
        frame = table(run, keys=["loss"]).to_pandas()
    assert list(frame.columns) == ["_step", "loss"]


def test_a_key_nobody_logged_is_a_column_and_the_nearest_are_named(run: runtap.Run) -> None:
    with pytest.warns(UnknownKeyWarning, match="never logged 'los'; nearest: 'loss'") as told:
        read = table(run, keys=["los", "acc"])
    assert [warning.filename for warning in told] == [__file__]
    assert read.column_names == ["_step", "los", "acc"]
    assert read.missing("los") == [0, 1, 2]
    assert read.to_pandas()["los"].isna().all()
    with pytest.warns(UnknownKeyWarning, match="never logged 'los'; nearest: 'loss'"):
        list(run.scan_history(keys=["los"]))


def test_system_metrics_have_no_step(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.exact = False
    daemon.rows[PATH] = [{"system.cpu": 1.0, "_runtime": 2, "_timestamp": 3.0}]
    for name in ("events", "system"):
        read = table(run, stream=name)
        assert read.column_names == ["system.cpu", "_runtime", "_timestamp"]
        assert not read.exact
        assert "1 rows x 3 columns, a sample" in repr(read)
    assert table(run, stream="events", keys=["system.cpu"]).column_names == ["system.cpu"]
    assert daemon.last("history.ReadHistory").stream == history_pb2.HISTORY_STREAM_SYSTEM


def test_broken_streams_go_on(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    for number in range(1, 7):
        daemon.break_history_after = number
        assert table(run).to_arrow()["_step"].to_pylist() == list(range(10))


def test_a_history_that_was_rewritten_under_way_is_read_anew_once(
    daemon: ScriptedDaemon, run: runtap.Run
) -> None:
    daemon.fail("history.ReadHistory", REWRITTEN)
    assert len(table(run)) == 10
    daemon.fail("history.ReadHistory", REWRITTEN, REWRITTEN)
    with pytest.raises(runtap.CommError, match="rows changed"):
        table(run)


def test_stale_rows_are_warned_of_once(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.freshness.stale = True
    daemon.freshness.source = common_pb2.FRESHNESS_SOURCE_DISK
    with pytest.warns(StaleWarning, match="the history of ada/digits/r1 is . s old") as told:
        read = table(run)
    assert [warning.filename for warning in told] == [__file__]
    assert read.freshness is not None
    assert (read.freshness.stale, read.freshness.source) == (True, "disk")
    with pytest.warns(StaleWarning):
        list(run.scan_history())


def test_tables_pickle(run: runtap.Run) -> None:
    read = table(run)
    copy = pickle.loads(pickle.dumps(read))
    assert list(copy) == list(read)
    assert copy.to_pandas().equals(read.to_pandas())
    assert copy.freshness == read.freshness


FORKS = """
import os, warnings
import runtap
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads; the server's are in another process
run = runtap.Api().run("ada/digits/r1")
table = run.history_table()
frame = table.to_pandas()
rows = iter(run.scan_history())
first = next(rows)
child = os.fork()
if child == 0:
    same = [read.to_pandas().equals(frame) for read in (table, run.history_table())]
    os._exit(0 if same == [True, True] and len(list(run.scan_history())) == 10 else 1)
print(os.waitpid(child, 0)[1], len([first, *rows]))
"""


def test_a_forked_child_reads_on_beside_its_parent(daemon: ScriptedDaemon) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], env=dict(os.environ), capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 10\n", "")


def test_threads_share_a_table(run: runtap.Run) -> None:
    read = table(run)
    frame = read.to_pandas()
    with ThreadPoolExecutor(4) as threads:
        same = threads.map(lambda _: read.to_pandas().equals(frame) and len(table(run)) == 10, range(8))
    assert all(same)


def test_without_pandas_the_cure_is_said(run: runtap.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_pandas\(\) needs pandas.*pip install 'runtap\[pandas\]'"):
        table(run).to_pandas()
    assert table(run).to_arrow().num_rows == 10


def test_polars_is_given_the_arrow_table(run: runtap.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    polars = types.ModuleType("polars")
    polars.from_arrow = lambda arrow: ("a polars frame", arrow.num_rows)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "polars", polars)
    assert table(run).to_polars() == ("a polars frame", 10)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match=r"pip install 'runtap\[polars\]'"):
        table(run).to_polars()


@pytest.mark.parametrize(
    "arguments",
    [
        {"keys": "loss"},
        {"how": "left"},
        {"how": ["outer"]},
        {"stream": "metrics"},
        {"min_step": "0"},
        {"max_step": 0.5},
        {"last": 0},
    ],
)
def test_arguments_that_mean_nothing_are_refused(run: runtap.Run, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))) as caught:
        table(run, **arguments)
    assert isinstance(caught.value, InvalidRequestError)
