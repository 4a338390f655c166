"""Keys that a history does not have: which warnings come, once, with which nearest keys, and at what price."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import runtap
from runtap.history import UnknownKeyWarning
from runtap.history_keys import nearest, span_of
from tests.support.scripted_daemon import Fault, ScriptedDaemon, scripted_daemon

PATH = "ada/digits/r1"


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    with scripted_daemon(tmp_path, monkeypatch) as script:
        script.add_run("r1")
        script.rows[PATH] = [
            {
                "_step": step,
                "val_loss": 0.5,
                "n": step,
                "_timestamp": 1.0,
                **({"acc": 1.0} if step == 7 else {}),
            }
            for step in range(10)
        ]
        yield script


@pytest.fixture
def run(daemon: ScriptedDaemon) -> runtap.Run:
    return runtap.Api().run(PATH)


def told(read: Any) -> str:
    """The one warning that reading gives, which points here."""
    with pytest.warns(UnknownKeyWarning) as caught:
        read()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    return str(caught[0].message)


def test_nothing_is_asked_or_said_when_all_is_well(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(run.scan_history())
        list(run.scan_history(keys=["val_loss", "n"]))
        run.history(keys=["val_loss", "acc"])
        run.history(keys=["acc"], x_axis="n", how="inner")
        run.history(keys=["val_loss"], x_axis="_timestamp")
    assert daemon.count("history.GetHistoryKeys") == 0


@pytest.mark.parametrize("how", ["scan", "history"])
def test_a_key_never_logged_is_told_with_the_nearest(
    daemon: ScriptedDaemon, run: runtap.Run, how: str
) -> None:
    def read(*keys: str) -> str:
        return told(lambda: list(run.scan_history(keys=keys)) if how == "scan" else run.history(keys=keys))

    assert read("vall_loss") == f"{PATH} never logged 'vall_loss'; nearest: 'val_loss'"
    assert read("val_loss", "ACC") == f"{PATH} never logged 'ACC'; nearest: 'acc'"
    assert read("loss!", "N") == f"{PATH} never logged 'loss!', 'N'; nearest: 'val_loss', 'n'"
    assert read("other things") == f"{PATH} never logged 'other things'; it logged 'acc', 'n', 'val_loss'"
    assert daemon.count("history.GetHistoryKeys") == 4


def test_many_unknown_keys_are_counted_and_long_ones_cut(run: runtap.Run) -> None:
    text = told(lambda: run.history(keys=[f"{number} things" for number in range(1234)]))
    assert text.startswith(
        f"{PATH} never logged '0 things', '1 things', '2 things', '3 things', '4 things' and 1,229"
    )
    long = "q\n" * 5000
    assert f"never logged {long[:60]!r}...; it logged" in told(lambda: run.history(keys=[long]))


def test_an_x_axis_never_logged_is_told_too(run: runtap.Run) -> None:
    text = told(lambda: run.history(keys=["val_loss"], x_axis="m"))
    assert text.startswith(f"{PATH} never logged 'm'; it logged")
    assert told(lambda: run.history(x_axis="accc")) == f"{PATH} never logged 'accc'; nearest: 'acc'"


def test_an_x_axis_that_only_the_sample_lacks_is_not_called_unknown(
    daemon: ScriptedDaemon, run: runtap.Run
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "acc" not in run.history(samples=2, x_axis="acc")
    assert daemon.count("history.GetHistoryKeys") == 1


def test_a_key_logged_elsewhere_is_not_called_unknown(run: runtap.Run) -> None:
    for fields, span in (
        ({"min_step": 0, "max_step": 5}, "in the steps 0 to 4"),
        ({"min_step": 8}, "from step 8 on"),
        ({"max_step": 3}, "before step 3"),
    ):
        text = told(lambda fields=fields: list(run.scan_history(keys=["acc"], **fields)))
        assert text == f"no row of {PATH} {span} has 'acc', which it logged in other steps"
    text = told(lambda: list(run.scan_history(keys=["acc", "typo"], min_step=8)))
    assert text.startswith(f"{PATH} never logged 'typo'; it logged")
    assert span_of(None, None) == ""


def test_keys_never_in_the_same_row(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.rows[PATH] = [{"_step": step, "ab"[step % 3 == 0]: 1, "c": 1} for step in range(1500)]
    both = f"no row of {PATH} has all of 'a' (1,000 times), 'b' (500 times): each was logged, but never in the same row"
    scan = told(lambda: list(run.scan_history(keys=["a", "b"])))
    assert scan == both + "; history(keys=...) gives rows that have at least one"
    inner = told(lambda: run.history(keys=["a", "b"], how="inner"))
    assert inner == both + '; how="outer" gives rows that have at least one'
    assert told(lambda: run.history(samples=9, keys=["a", "b"])) == both + "; every row lacks some"
    assert "all of 'a' (1,000 times), 'b'" in told(lambda: run.history(samples=9, keys=["a"], x_axis="b"))
    all_keys = told(lambda: list(run.scan_history(keys=["_step", "a", "c", "b"])))
    assert "has all of 'a' (1,000 times), 'c' (1,500 times), 'b' (500 times): each" in all_keys
    assert "never all in the same row" in all_keys
    ranged = told(lambda: list(run.scan_history(keys=["a", "b"], min_step=1)))
    assert ranged.startswith(f"no row of {PATH} from step 1 on has all of 'a', 'b': ")


def test_tables_are_told_the_same(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    assert (
        told(lambda: run.history_table(keys=["vall_loss"]))
        == f"{PATH} never logged 'vall_loss'; nearest: 'val_loss'"
    )
    text = told(lambda: run.history_table(keys=["acc"], min_step=8))
    assert text == f"no row of {PATH} from step 8 on has 'acc', which it logged in other steps"
    daemon.rows[PATH] = [{"_step": step, "ab"[step % 2]: 1} for step in range(4)]
    both = f"no row of {PATH} has all of 'a' (2 times), 'b' (2 times): "
    assert told(lambda: run.history_table(keys=["a", "b"], how="inner")).startswith(both)
    assert told(lambda: run.history_table(keys=["a", "b"], how="inner", last=2)).startswith(both)


def test_system_metrics_are_no_keys_of_the_history(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.rows[PATH] = [{"system.cpu": 1.0, "_timestamp": 3.0}, {"system.gpu": 1.0, "_timestamp": 4.0}]
    text = told(lambda: run.history(keys=["system.cpuu"], stream="system"))
    assert text == f"{PATH} has no system metrics 'system.cpuu'"
    apart = told(lambda: run.history(keys=["system.cpu", "system.gpu"], stream="system"))
    assert apart.startswith(f"no row of {PATH} has all of 'system.cpu', 'system.gpu'")
    assert daemon.count("history.GetHistoryKeys") == 0


def test_keys_on_many_pages(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.keys_page = 2
    assert told(lambda: run.history(keys=["vall_loss"])).endswith("nearest: 'val_loss'")
    assert daemon.count("history.GetHistoryKeys") == 3


def test_the_warning_comes_also_when_the_keys_cannot_be_had(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.fail("history.GetHistoryKeys", Fault(grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED"))
    assert told(lambda: run.history(keys=["typo"])) == f"{PATH} never logged 'typo'"
    daemon.fail("history.GetHistoryKeys", Fault(grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED"))
    text = told(lambda: list(run.scan_history(keys=["acc"], max_step=3)))
    assert text == f"no row of {PATH} before step 3 has 'acc'"
    daemon.rows[PATH] = [{"_step": 0, "a": 1}, {"_step": 1, "b": 1}]
    daemon.fail("history.GetHistoryKeys", Fault(grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE"))
    assert "all of 'a', 'b': each" in told(lambda: list(run.scan_history(keys=["a", "b"])))


def test_a_loop_over_runs_is_told_once_a_line_and_key(daemon: ScriptedDaemon) -> None:
    api = runtap.Api()
    for name in ("r1", "r2", "r3"):
        daemon.add_run(name)
        daemon.rows[f"ada/digits/{name}"] = [
            {"_step": step, "loss": 1.0} for step in range(501 + len(daemon.rows))
        ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for key in ("losss", "typo"):
            for run in api.runs("ada/digits"):
                run.history(samples=20, keys=[key])
        for run in api.runs("ada/digits"):
            run.history()
    texts = [str(one.message) for one in caught]
    assert [text.split(",")[0].split("; ")[0] for text in texts] == [
        f"{PATH} never logged 'losss'",
        f"{PATH} never logged 'typo'",
        f"history() returned 500 of {len(daemon.rows[PATH])} rows of {PATH}",
    ]


@pytest.mark.parametrize(
    ("wanted", "known", "expected"),
    [
        ("vall_loss", ["val_loss", "train_loss", "acc"], ["val_loss", "train_loss"]),
        ("loss", ["train/loss", "val.loss", "acc"], ["val.loss", "train/loss"]),
        ("train/loss", ["loss", "n"], ["loss"]),
        ("LOSS", ["Loss"], ["Loss"]),
        ("x", [], []),
        ("", ["a", ""], [""]),
        ("a" * 5000, ["a" * 5001, "b"], ["a" * 5001]),
        ("loss", [f"loss{number}" for number in range(9)], ["loss8", "loss7", "loss6"]),
    ],
)
def test_the_nearest_keys(wanted: str, known: list[str], expected: list[str]) -> None:
    assert nearest(wanted, known) == expected
