"""Summary: a dict with attributes, whose changes are its own until they are sent."""

from __future__ import annotations

import json
import math
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

import runtap
from tests.support.scripted_daemon import ScriptedDaemon, scripted_daemon


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    with scripted_daemon(tmp_path, monkeypatch) as script:
        script.add_run("r1", summary={"loss": 0.5, "val": {"acc": 0.9, "deep": {"x": 1}}, "old_name": 3})
        yield script


@pytest.fixture
def summary(daemon: ScriptedDaemon) -> runtap.Summary:
    return runtap.Api().run("ada/digits/r1").summary


def sent(daemon: ScriptedDaemon) -> list[tuple[str, Any]]:
    return [
        (".".join(edit.path), "unset" if edit.unset else json.loads(edit.set_json))
        for edit in daemon.last("runs.UpdateRun").summary
    ]


def test_reads_as_a_dict(summary: runtap.Summary) -> None:
    assert summary["loss"] == 0.5
    assert summary.get("none", 7) == 7
    assert "loss" in summary
    assert "none" not in summary
    assert list(summary) == list(summary.keys()) == ["loss", "val", "old_name"]
    assert len(summary) == 3
    assert dict(summary.items())["old_name"] == 3
    assert 0.5 in summary.values()
    assert summary
    with pytest.raises(KeyError):
        summary["none"]
    with pytest.raises(KeyError):
        del summary["none"]


def test_nested_values_by_key_and_by_attribute(summary: runtap.Summary) -> None:
    assert summary["val"]["acc"] == summary.val.acc == 0.9
    assert summary.val.deep.x == summary["val"]["deep"]["x"] == 1
    assert isinstance(summary["val"], dict)
    assert summary.get("val", {}).get("deep").x == 1
    assert [value.x for key, value in summary.val.items() if key == "deep"] == [1]
    assert json.dumps(summary["val"]) == '{"acc": 0.9, "deep": {"x": 1}}'
    with pytest.raises(AttributeError, match="no key 'nothing'"):
        summary.nothing  # noqa: B018
    assert not hasattr(summary.val, "nothing")


def test_the_plain_dict_behind_it(summary: runtap.Summary) -> None:
    assert summary._json_dict == {"loss": 0.5, "val": {"acc": 0.9, "deep": {"x": 1}}, "old_name": 3}
    assert type(summary._json_dict) is dict


def test_changes_stay_here_until_sent(daemon: ScriptedDaemon, summary: runtap.Summary) -> None:
    summary["acc"] = 1
    summary.val.acc = 0.95
    summary.new = {"a": 1}
    assert daemon.count("runs.UpdateRun") == 0
    summary.update()
    assert sent(daemon) == [("val.acc", 0.95), ("acc", 1), ("new", {"a": 1})]
    assert summary.new.a == 1


def test_the_guides_rename(daemon: ScriptedDaemon, summary: runtap.Summary) -> None:
    summary["new_name"] = summary["old_name"]
    del summary["old_name"]
    assert summary.get("old_name") is None
    summary.update()
    assert sent(daemon) == [("new_name", 3), ("old_name", "unset")]
    assert "old_name" not in summary


def test_nested_keys_can_be_deleted_unread(daemon: ScriptedDaemon, summary: runtap.Summary) -> None:
    del summary["val"]["deep"]
    del summary["val"]["acc"]
    summary.update()
    assert sent(daemon) == [("val.acc", "unset"), ("val.deep", "unset")]
    assert summary["val"] == {}


def test_update_merges_and_sends(daemon: ScriptedDaemon, summary: runtap.Summary) -> None:
    summary.update({"key": 1, "loss": 0.4})
    assert sent(daemon) == [("loss", 0.4), ("key", 1)]
    summary.update({"key": 2, "third": 3}, overwrite=False)
    assert sent(daemon) == [("third", 3)]


def test_the_guides_histogram(daemon: ScriptedDaemon, summary: runtap.Summary) -> None:
    summary["h"] = runtap.Histogram(numpy.arange(100))
    summary["np"] = runtap.Histogram(np_histogram=numpy.histogram([1, 2, 3], bins=3))
    summary.update()
    stored = dict(sent(daemon))
    assert stored["h"]["_type"] == "histogram"
    assert (sum(stored["h"]["values"]), len(stored["h"]["values"]), len(stored["h"]["bins"])) == (100, 64, 65)
    assert stored["np"]["values"] == [1, 1, 1]
    assert summary["h"]["_type"] == "histogram"


def test_the_histogram_of_the_sdk_is_understood(daemon: ScriptedDaemon, summary: runtap.Summary) -> None:
    class SdkHistogram:
        """Shaped as `wandb.Histogram`."""

        histogram = (1, 2)
        bins = (0.0, 0.5, 1.0)

    summary.update({"h": SdkHistogram()})
    assert sent(daemon) == [("h", {"_type": "histogram", "values": [1, 2], "bins": [0.0, 0.5, 1.0]})]


def test_numbers_of_numpy_and_nan(daemon: ScriptedDaemon, summary: runtap.Summary) -> None:
    summary.update({"a": numpy.float64(0.25), "b": numpy.arange(3), "c": math.nan, "d": math.inf})
    assert sent(daemon) == [("a", 0.25), ("b", [0, 1, 2]), ("c", "NaN"), ("d", "Infinity")]
    assert math.isnan(summary["c"])
    assert summary["d"] == math.inf
    assert summary.update() is None


def test_pickles_with_its_run(summary: runtap.Summary) -> None:
    summary["acc"] = 1
    assert summary.val.acc == 0.9
    twin = pickle.loads(pickle.dumps(summary))
    assert dict(twin) == dict(summary)
    assert repr(twin) == repr(summary)


def test_histograms_without_numpy_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [0.5, 3, 1, 3, [2, 2]]
    with_numpy = runtap.Histogram(numpy.array([0.5, 3, 1, 3, 2, 2]), num_bins=5)
    same_number = runtap.Histogram([4, 4], num_bins=2)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert runtap.Histogram(numbers, num_bins=5) == with_numpy
    assert runtap.Histogram([4, 4], num_bins=2) == same_number
    assert sum(runtap.Histogram([]).histogram) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "needs a sequence"),
        ({"sequence": [1, 2], "num_bins": 513}, "between 1 and 512"),
        ({"sequence": [1, math.nan]}, "finite numbers"),
        ({"np_histogram": ([1], [0])}, "need 2 edges"),
        ({"np_histogram": ([1] * 513, [0] * 514)}, "at most 512 bins"),
        ({"np_histogram": ([1],)}, "a pair of counts and edges"),
    ],
)
def test_histograms_that_make_no_sense(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        runtap.Histogram(**arguments)
