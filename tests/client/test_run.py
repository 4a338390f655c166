"""Run: what it has, what it hides, and that attributes ask nobody."""

from __future__ import annotations

import copy
import math
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runtap
from runtap.errors import CommError, RunNotFoundError
from tests.support.scripted_daemon import ScriptedDaemon, scripted_daemon

CONFIG = {
    "_wandb": {"value": {"cli_version": "0.31"}},
    "lr": {"value": 0.1, "desc": None},
    "opt": {"value": {"name": "adam", "betas": [0.9, 0.99]}},
    "bare": 3,
    "inf": {"value": "Infinity"},
}
SUMMARY = {"loss": 0.5, "worst": "NaN", "best": "-Infinity", "deep": {"x": "NaN"}, "_step": 9}


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    with scripted_daemon(tmp_path, monkeypatch) as script:
        script.add_run(
            "r1",
            config=CONFIG,
            summary=SUMMARY,
            system_metrics={"system.cpu": 12},
            history_keys={"keys": {"loss": {}}, "lastStep": 9},
            tags=["a", "b"],
            notes="good",
            commit="deadbeef",
            sweep_name="s1",
            heartbeat_at="2026-01-02T03:05:00Z",
            history_line_count=10,
        )
        yield script


@pytest.fixture
def run(daemon: ScriptedDaemon) -> runtap.Run:
    return runtap.Api().run("ada/digits/r1")


def test_the_attributes_of_the_reference(run: runtap.Run, daemon: ScriptedDaemon) -> None:
    asked = len(daemon.calls)
    assert (run.id, run.name, run.entity, run.project, run.state) == (
        "r1",
        "run r1",
        "ada",
        "digits",
        "finished",
    )
    assert run.url == "https://app.test/ada/digits/r1"
    assert run.tags == ["a", "b"]
    assert (run.notes, run.description, run.group, run.job_type) == ("good", None, None, None)
    assert (run.created_at, run.heartbeat_at) == ("2026-01-02T03:04:05Z", "2026-01-02T03:05:00Z")
    assert (run.commit, run.sweep_name, run.storage_id, run.read_only) == ("deadbeef", "s1", "id-r1", False)
    assert run.system_metrics == {"system.cpu": 12}
    assert run.history_keys["keys"] == {"loss": {}}
    assert (run.last_history_step, run.history_line_count) == (9, 10)
    assert run.updated_at is None
    assert len(daemon.calls) == asked


def test_path_and_user_are_text_as_well(run: runtap.Run) -> None:
    assert run.path == ["ada", "digits", "r1"]
    assert "/".join(run.path) == str(run.path) == f"{run.path}" == "ada/digits/r1"
    assert (run.user.name, run.user.username, str(run.user)) == ("Ada Lovelace", "ada", "Ada Lovelace")
    assert run.username == "ada"


def test_camel_case_names_what_snake_case_does(run: runtap.Run) -> None:
    assert run.displayName == run.display_name == "run r1"
    assert run.createdAt == run.created_at
    assert run.historyKeys == run.history_keys
    assert run.lastHistoryStep == 9
    assert run.historyLineCount == 10
    assert run.summaryMetrics is run.summary_metrics
    run.displayName = "other"
    assert run.name == "other"


def test_other_names_are_attribute_errors(run: runtap.Run) -> None:
    for name in ("nothing", "noSuchThing", "_private", "__dunder__"):
        assert not hasattr(run, name)
    with pytest.raises(AttributeError, match="a run has no attribute 'metadatas'"):
        run.metadatas  # noqa: B018
    with pytest.raises(AttributeError):
        run.state = "finished"  # type: ignore[misc]


def test_config_is_a_plain_dict_without_internals(run: runtap.Run) -> None:
    assert type(run.config) is dict
    assert run.config == {
        "lr": 0.1,
        "opt": {"name": "adam", "betas": [0.9, 0.99]},
        "bare": 3,
        "inf": math.inf,
    }
    assert run.config is run.config
    assert list(run.rawconfig) == ["_wandb", "lr", "opt", "bare", "inf"]
    assert '"_wandb":{"value":{"cli_version":"0.31"},"desc":null}' in run.json_config


def test_summary_strings_that_spell_numbers_are_floats(run: runtap.Run) -> None:
    assert math.isnan(run.summary["worst"])
    assert run.summary["best"] == -math.inf
    assert math.isnan(run.summary["deep"]["x"])
    assert run.summary._json_dict["loss"] == 0.5


def test_a_run_without_anything(daemon: ScriptedDaemon) -> None:
    daemon.add_run("bare")
    run = runtap.Api().run("ada/digits/bare")
    assert (run.config, dict(run.summary), run.system_metrics, run.history_keys) == ({}, {}, {}, {})
    assert (run.lastHistoryStep, run.notes, run.commit, run.tags) == (-1, None, None, [])


def test_integers_of_any_size_survive(daemon: ScriptedDaemon) -> None:
    seed = 3**100
    daemon.add_run("big", config={"seed": {"value": seed}})
    assert runtap.Api().run("ada/digits/big").config["seed"] == seed


def test_documents_too_large_for_a_list_are_fetched_when_touched(daemon: ScriptedDaemon) -> None:
    daemon.omit_over = 20
    daemon.runs["ada/digits/r1"].summary_json = '{"text": "räksmörgås"}'
    daemon.runs["ada/digits/r1"].notes = "long " * 100
    runs = runtap.Api().runs("ada/digits")
    assert runs[0].id == "r1"
    assert daemon.count("runs.ReadDocument") == 0

    assert runs[0].summary.text == "räksmörgås"
    assert runs[0].summary["text"] == "räksmörgås"
    assert daemon.count("runs.ReadDocument") == 1
    assert runs[0].notes == "long " * 100
    assert runs[0].config["lr"] == 0.1
    runs[0].config["lr"] = 0.2
    runs[0].update()
    assert [list(edit.path) for edit in daemon.last("runs.UpdateRun").config] == [["lr"]]


def test_a_document_that_is_no_json_is_a_comm_error(daemon: ScriptedDaemon) -> None:
    daemon.runs["ada/digits/r1"].config_json = "{"
    with pytest.raises(CommError, match="config of ada/digits/r1 is not JSON"):
        runtap.Api().run("ada/digits/r1").config  # noqa: B018


def test_threads_get_the_same_config(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    found: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: found.append(run.config)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(config) for config in found}) == 1


def test_load_reads_again_and_keeps_unsaved_edits_and_dicts(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    config, opt = run.config, run.config["opt"]
    run.config["mine"] = 1
    opt["name"] = "sgd"
    run.summary["mine"] = 2
    run.tags.append("mine")
    run.notes = "mine"
    theirs = daemon.runs["ada/digits/r1"]
    theirs.config_json = '{"lr": {"value": 0.7}, "opt": {"value": {"name": "adam", "new": 1}}}'
    theirs.summary_json = '{"loss": 0.1}'
    theirs.tags[:] = ["b", "theirs"]
    theirs.state = "crashed"
    theirs.notes = theirs.display_name = "theirs"

    assert run.load(force=True) is run
    assert run.config is config
    assert run.config["opt"] is opt
    assert run.config == {"lr": 0.7, "opt": {"name": "sgd", "new": 1}, "mine": 1}
    assert dict(run.summary) == {"loss": 0.1, "mine": 2}
    assert run.tags == ["b", "theirs", "mine"]
    assert (run.state, run.notes, run.name) == ("crashed", "mine", "theirs")
    assert daemon.last("runs.GetRun").options.max_age.ToNanoseconds() == 0
    assert daemon.last("runs.GetRun").options.HasField("max_age")


def test_load_leaves_the_age_to_the_daemon_unless_forced(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    run.load()
    assert not daemon.last("runs.GetRun").options.HasField("max_age")
    del daemon.runs["ada/digits/r1"]
    with pytest.raises(RunNotFoundError):
        run.load()
    assert run.state == "finished"


def test_waiting_ends_with_any_end(daemon: ScriptedDaemon) -> None:
    theirs = daemon.runs["ada/digits/r1"]
    theirs.state = "preempted"
    run = runtap.Api().run("ada/digits/r1")
    timer = threading.Timer(0.2, lambda: setattr(theirs, "state", "killed"))
    timer.start()
    run.wait_until_finished(timeout=30, poll_s=0.02)
    timer.join()
    assert run.state == "killed"


def test_waiting_ends_with_its_timeout(daemon: ScriptedDaemon) -> None:
    daemon.runs["ada/digits/r1"].state = "running"
    run = runtap.Api().run("ada/digits/r1")
    with pytest.raises(TimeoutError, match="still running"):
        run.wait_until_finished(timeout=0.1, poll_s=0.02)


def test_reprs_say_state_and_pending_writes(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    assert repr(run) == "<Run ada/digits/r1 (finished)>"
    daemon.runs["ada/digits/r1"].pending_writes = 1
    assert repr(run.load()) == "<Run ada/digits/r1 (finished, pending write)>"


def test_pickles_and_copies_with_its_edits(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    run.config["lr"] = 9
    run.summary["acc"] = 1
    run.tags.append("c")
    run.name = "new"
    for twin in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run)):
        assert twin == run
        assert (twin.config["lr"], twin.summary.acc, twin.tags, twin.name) == (9, 1, ["a", "b", "c"], "new")
        assert twin.summary.update() is not None
    request = daemon.last("runs.UpdateRun")
    assert [list(edit.path) for edit in request.summary] == [["acc"]]


def test_diff_names_the_keys_that_differ(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.add_run(
        "r2", config={"lr": {"value": 0.1}, "opt": {"value": {"name": "sgd", "betas": [0.9, 0.99]}}}
    )
    other = runtap.Api().run("ada/digits/r2")
    other.config["only"] = True
    assert run.diff(other) == {
        "bare": (3, None),
        "inf": (math.inf, None),
        "only": (None, True),
        "opt.name": ("adam", "sgd"),
    }
    assert run.diff(run) == {}


def test_two_configs_make_the_guides_frame(run: runtap.Run) -> None:
    import pandas

    frame = pandas.DataFrame([run.config, run.config]).transpose()
    assert list(frame.index) == ["lr", "opt", "bare", "inf"]
