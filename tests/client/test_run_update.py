"""Run.update: sends what changed and nothing else, and says what became of it."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy
import pandas
import pytest

import runtap
from runtap.errors import (
    CommError,
    ConflictError,
    ConflictWarning,
    InvalidRequestError,
    NotHonouredError,
    WriteQueued,
)
from runtap.v1 import runs_pb2, writes_pb2
from tests.support.scripted_daemon import Fault, ScriptedDaemon, scripted_daemon


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    with scripted_daemon(tmp_path, monkeypatch) as script:
        script.add_run(
            "r1",
            config={"lr": {"value": 0.1}, "opt": {"value": {"name": "adam", "eps": 1}}, "n": {"value": 1}},
            summary={"loss": 0.5, "gone": 1, "nan": "NaN"},
            tags=["a", "b"],
            notes="old",
            group="g",
        )
        yield script


@pytest.fixture
def run(daemon: ScriptedDaemon) -> runtap.Run:
    return runtap.Api().run("ada/digits/r1")


def edits(messages: Any) -> list[tuple[list[str], Any, str]]:
    return [
        (list(edit.path), "unset" if edit.unset else json.loads(edit.set_json), edit.base_json)
        for edit in messages
    ]


def test_nothing_changed_sends_nothing(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    run.config["lr"] = 0.1
    run.config["n"] = 1.0
    run.summary["nan"] = math.nan
    run.name = run.name
    run.tags = list(run.tags)
    assert run.update() is None
    assert run.summary.update() is None
    assert daemon.count("runs.UpdateRun") == 0


def test_sends_only_what_changed_with_what_was_read(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    run.config["lr"] = 0.2
    run.config["opt"]["eps"] = 2
    run.config["new"] = {"deep": [1, None]}
    del run.config["n"]
    run.summary["acc"] = 0.9
    run.name = "better"
    write = run.update()

    request = daemon.last("runs.UpdateRun")
    assert edits(request.config) == [
        (["lr"], 0.2, "0.1"),
        (["opt", "eps"], 2, "1"),
        (["new"], {"deep": [1, None]}, ""),
        (["n"], "unset", "1"),
    ]
    assert edits(request.summary) == [(["acc"], 0.9, "")]
    assert list(request.update_mask.paths) == ["display_name"]
    assert request.fields.display_name == "better"
    assert request.wait_for == runs_pb2.WAIT_FOR_APPLIED
    assert request.wait_timeout.ToSeconds() == 30
    assert uuid.UUID(request.request_id)
    assert not request.tags_add
    assert write is not None
    assert (write.write_id, write.state) == ("w1", "applied")
    assert run.update() is None


def test_true_is_not_one(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    run.config["n"] = True
    run.update()
    assert edits(daemon.last("runs.UpdateRun").config) == [(["n"], True, "1")]


def test_texts_are_cleared_with_none_and_emptied_with_nothing(
    daemon: ScriptedDaemon, run: runtap.Run
) -> None:
    run.notes = None
    run.group = ""
    run.job_type = "train"
    run.update()
    request = daemon.last("runs.UpdateRun")
    assert sorted(request.update_mask.paths) == ["group", "job_type", "notes"]
    assert not request.fields.HasField("notes")
    assert (request.fields.group, request.fields.job_type) == ("", "train")
    assert (run.notes, run.group, run.job_type) == (None, "", "train")


@pytest.mark.parametrize(
    ("tags", "add", "remove", "replace"),
    [
        (["a", "b", "c"], ["c"], [], None),
        (["b"], [], ["a"], None),
        (["b", "c", "d"], ["c", "d"], ["a"], None),
        (["b", "a"], [], [], ["b", "a"]),
        (["c", "a", "b"], [], [], ["c", "a", "b"]),
        (["a", "b", "c", "c"], [], [], ["a", "b", "c", "c"]),
        ([], [], ["a", "b"], None),
    ],
)
def test_tags_are_added_and_removed_or_replaced(
    daemon: ScriptedDaemon,
    run: runtap.Run,
    tags: list[str],
    add: list[str],
    remove: list[str],
    replace: list[str] | None,
) -> None:
    run.tags = tags
    run.update()
    request = daemon.last("runs.UpdateRun")
    assert (list(request.tags_add), list(request.tags_remove)) == (add, remove)
    assert (list(request.tags_replace.tags) if request.HasField("tags_replace") else None) == replace
    assert run.tags == tags


def test_tags_change_in_place_too(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    run.tags += ["c"]
    run.tags.remove("a")
    run.save()
    request = daemon.last("runs.UpdateRun")
    assert (list(request.tags_add), list(request.tags_remove)) == (["c"], ["a"])


def test_the_object_holds_the_servers_answer_and_others_changes(
    daemon: ScriptedDaemon, run: runtap.Run
) -> None:
    config = run.config
    run.config["lr"] = 0.2
    theirs = json.loads(daemon.runs["ada/digits/r1"].config_json)
    theirs["theirs"] = {"value": 7}
    daemon.runs["ada/digits/r1"].config_json = json.dumps(theirs)
    daemon.runs["ada/digits/r1"].state = "crashed"
    before = run.freshness.fetched_at
    run.update()
    assert before is not None
    assert run.freshness.fetched_at is not None
    assert run.freshness.fetched_at > before
    assert run.config is config
    assert run.config == {"lr": 0.2, "opt": {"name": "adam", "eps": 1}, "n": 1, "theirs": 7}
    assert run.state == "crashed"


def test_summary_update_leaves_other_edits_for_later(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    run.config["lr"] = 0.2
    run.notes = "mine"
    run.tags.append("c")
    run.summary.update({"acc": 1})
    request = daemon.last("runs.UpdateRun")
    assert (len(request.config), len(request.update_mask.paths), len(request.tags_add)) == (0, 0, 0)
    assert (run.config["lr"], run.notes, run.tags) == (0.2, "mine", ["a", "b", "c"])

    run.update()
    request = daemon.last("runs.UpdateRun")
    assert edits(request.config) == [(["lr"], 0.2, "0.1")]
    assert edits(request.summary) == []
    assert request.fields.notes == "mine"
    assert request.base_fields.HasField("notes"), "so that somebody else's change is reported"
    assert list(request.tags_add) == ["c"]


def test_conflicts_are_warned_of_with_both_values(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.write.conflicts.add(field="config.lr", theirs_json="0.3", mine_json="0.2")
    daemon.write.conflicts.add(field="summary.x", mine_json="1")
    run.config["lr"] = 0.2
    with pytest.warns(ConflictWarning, match=r"config\.lr: theirs 0\.3, mine 0\.2\n.*theirs nothing, mine 1"):
        run.update()


def test_a_write_not_yet_at_the_server_is_said_to_be_queued(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.write = writes_pb2.Write(write_id="w7", state=writes_pb2.WRITE_STATE_SENDING, message="HTTP 503")
    run.config["lr"] = 0.2
    with pytest.raises(WriteQueued, match="saved on this machine") as caught:
        run.update()
    assert isinstance(caught.value, CommError)
    assert (caught.value.write_id, caught.value.cause) == ("w7", "HTTP 503")
    assert run.config["lr"] == 0.2
    assert run.update() is None
    assert daemon.count("runs.UpdateRun") == 1


def test_queuing_quietly_is_opt_in(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.write = writes_pb2.Write(
        write_id="w7", state=writes_pb2.WRITE_STATE_ACCEPTED, fields=["config.lr"]
    )
    daemon.runs["ada/digits/r1"].pending_writes = 1
    run.config["lr"] = 0.2
    before = run.freshness.fetched_at
    write = run.update(wait=False)
    assert (run.freshness.fetched_at, run.freshness.pending_writes) == (before, 1)
    assert write is not None
    assert (write.state, write.fields) == ("accepted", ("config.lr",))
    assert daemon.last("runs.UpdateRun").wait_for == runs_pb2.WAIT_FOR_ACCEPTED


def test_a_refused_update_keeps_the_edits(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    conflict = Fault(grpc.StatusCode.ABORTED, "WRITE_CONFLICT", "lr is 0.3", {"write_id": "w1"})
    other = Fault(grpc.StatusCode.FAILED_PRECONDITION, "WRITE_NOT_HONOURED", "the server keeps lr")
    daemon.fail("runs.UpdateRun", conflict, other)
    run.config["lr"] = 0.2
    with pytest.raises(ConflictError) as caught:
        run.update(expect={"config.lr": 0.1})
    assert caught.value.metadata["write_id"] == "w1"
    with pytest.raises(NotHonouredError):
        run.update()
    run.update()
    requests = [call.request for call in daemon.calls if call.method == "runs.UpdateRun"]
    assert len({request.request_id for request in requests}) == 3
    assert edits(requests[-1].config) == [(["lr"], 0.2, "0.1")]


def test_expectations_name_fields_and_keys(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    run.config["lr"] = 0.2
    run.update(expect={"config.opt.name": "adam", "summary.acc": None, "name": "run r1", "tags": ["a", "b"]})
    found = [
        (item.field, list(item.path), item.value_json if item.HasField("value_json") else None)
        for item in daemon.last("runs.UpdateRun").expect
    ]
    assert found == [
        ("config", ["opt", "name"], '"adam"'),
        ("summary", ["acc"], None),
        ("display_name", [], '"run r1"'),
        ("tags", [], '["a","b"]'),
    ]
    run.config["lr"] = 0.3
    for wrong in ("state", "config", "tags.0"):
        with pytest.raises(InvalidRequestError, match="expect does not know"):
            run.update(expect={wrong: 1})


def test_values_of_numpy_dates_and_paths_are_stored(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    import datetime

    run.config.update(
        {
            "f32": numpy.float32(0.5),
            "i64": numpy.int64(7),
            "flag": numpy.bool_(True),
            "array": numpy.arange(3),
            "tuple": (1, 2),
            "nan": math.nan,
            "inf": -math.inf,
            "day": datetime.date(2026, 1, 2),
            "file": Path("a/b"),
            "hist": runtap.Histogram([1, 2], num_bins=2),
            "keys": {1: "one"},
            "big": 3**60,
        }
    )
    run.update()
    sent = {path[0]: value for path, value, _ in edits(daemon.last("runs.UpdateRun").config)}
    assert sent == {
        "f32": 0.5,
        "i64": 7,
        "flag": True,
        "array": [0, 1, 2],
        "tuple": [1, 2],
        "nan": "NaN",
        "inf": "-Infinity",
        "day": "2026-01-02",
        "file": "a/b",
        "hist": {"_type": "histogram", "values": [1, 1], "bins": [1.0, 1.5, 2.0]},
        "keys": {"1": "one"},
        "big": 3**60,
    }


def test_the_loggers_own_record_is_dropped_and_never_sent(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.add_run("r2", config={"_wandb": {"value": {"cli_version": "0.1"}}, "lr": {"value": 7}})
    run.config.update(runtap.Api().run("ada/digits/r2").rawconfig)
    run.config["wandb_version"] = 1
    with pytest.warns(UserWarning, match="_wandb and wandb_version in run.config belong to the logger"):
        run.update()
    assert edits(daemon.last("runs.UpdateRun").config) == [(["lr"], 7, "0.1")]
    assert "_wandb" not in run.config
    assert run.update() is None

    run.config["_wandb"] = {}
    with pytest.warns(UserWarning, match="_wandb in run.config belong"):
        run.load()
    assert "_wandb" not in run.config


def test_a_wrapper_of_an_unusual_kind_is_one(daemon: ScriptedDaemon) -> None:
    daemon.add_run("r2", config={"x": {"value": {"a": 1}, "foo": 2}})
    run = runtap.Api().run("ada/digits/r2")
    run.config["x"]["a"] = 3
    run.update()
    assert edits(daemon.last("runs.UpdateRun").config) == [(["x", "a"], 3, "1")]
    assert run.config == {"x": {"a": 3}}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"k": value}
    return value


def test_what_contains_itself_or_is_too_deep_is_refused(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    endless: dict[str, Any] = {}
    endless["again"] = [endless]
    for value in (endless, nested(250), nested(5000)):
        run.config["deep"] = value
        with pytest.raises(InvalidRequestError, match=r"config\.deep\..* is nested deeper than 200 levels"):
            run.update()
        with pytest.raises(InvalidRequestError, match=r"summary\.deep\..* is nested deeper"):
            run.summary["deep"] = value
    run.config["deep"] = nested(190)
    run.update()
    assert daemon.count("runs.UpdateRun") == 1


def test_half_a_surrogate_pair_is_refused_by_name(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    half = "\ud800"
    for place in (run.config, run.summary):
        place["v"] = [half]
        with pytest.raises(InvalidRequestError, match=r"(config|summary)\.v has half a surrogate pair"):
            run.update()
        del place["v"]
        place[half] = 1
        with pytest.raises(InvalidRequestError, match=r"the key .* has half a surrogate pair"):
            run.update()
        del place[half]
    with pytest.raises(InvalidRequestError, match="notes has half"):
        run.notes = half
    with pytest.raises(InvalidRequestError, match="tags has half"):
        run.tags = [half]
    run.config["lr"] = 1
    with pytest.raises(InvalidRequestError, match=r"expect\['config.lr'\] has half"):
        run.update(expect={"config.lr": half})
    assert daemon.count("runs.UpdateRun") == 0


def test_half_a_surrogate_pair_of_the_server_is_in_nobodys_way(daemon: ScriptedDaemon) -> None:
    daemon.add_run("r2", summary={"theirs": "\ud800", "mine": 1})
    run = runtap.Api().run("ada/digits/r2")
    run.summary["mine"] = 2
    run.update()
    run.summary["theirs"] = "whole"
    run.update()
    (edit,) = daemon.last("runs.UpdateRun").summary
    assert (edit.set_json, edit.HasField("base_json")) == ('"whole"', False)


def test_an_update_too_large_for_a_message_names_its_largest_part(
    daemon: ScriptedDaemon, run: runtap.Run
) -> None:
    run.config["small"] = "x" * 1000
    run.summary["deep"] = {"large": "x" * (20 * 2**20)}
    with pytest.raises(InvalidRequestError, match=r"20,97.,... bytes.*16,711,680.*summary\.deep") as caught:
        run.update()
    assert caught.value.metadata["field"] == "summary.deep"
    del run.summary["deep"]
    run.notes = "x" * (20 * 2**20)
    with pytest.raises(InvalidRequestError, match="largest part is notes"):
        run.update()
    run.notes = "short"
    with pytest.raises(InvalidRequestError, match="largest part is expect"):
        run.update(expect={"config.lr": "x" * (20 * 2**20)})
    run.update()
    assert daemon.count("runs.UpdateRun") == 1


def test_a_large_value_may_replace_a_large_one(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    daemon.omit_over = 2**24
    run.summary["loss"] = run.notes = "x" * (5 * 2**20)
    run.update()
    run.summary["loss"] = run.notes = "y" * (5 * 2**20)
    run.config["lr"] = 3
    run.update()
    request = daemon.last("runs.UpdateRun")
    assert not request.summary[0].HasField("base_json")
    assert not request.base_fields.HasField("notes")
    assert edits(request.config) == [(["lr"], 3, "0.1")]


def test_numbers_json_lacks_go_there_and_back_and_are_no_change(
    daemon: ScriptedDaemon, run: runtap.Run
) -> None:
    run.config["opt"]["deep"] = [{"x": math.nan}, math.inf]
    run.config["least"] = -math.inf
    run.summary["val"] = {"acc": math.nan, "list": [math.inf, "text"]}
    run.update()
    assert edits(daemon.last("runs.UpdateRun").summary) == [
        (["val"], {"acc": "NaN", "list": ["Infinity", "text"]}, "")
    ]
    for there in (run, runtap.Api().run("ada/digits/r1")):
        assert math.isnan(there.config["opt"]["deep"][0]["x"])
        assert there.config["opt"]["deep"][1] == -there.config["least"] == math.inf
        assert math.isnan(there.summary["val"]["acc"])
        assert there.summary["val"]["list"] == [math.inf, "text"]
        assert there.update() is None
        assert there.load(force=True).update() is None
    assert daemon.count("runs.UpdateRun") == 1


def test_values_json_cannot_hold_are_named(daemon: ScriptedDaemon, run: runtap.Run) -> None:
    run.config["opt"]["thing"] = object()
    with pytest.raises(InvalidRequestError, match=r"config\.opt\.thing is of type object"):
        run.update()
    run.config["opt"]["thing"] = numpy.zeros(33)
    with pytest.raises(ValueError, match="array of 33 elements"):
        run.update()
    run.config["opt"]["thing"] = pandas.NaT
    with pytest.raises(InvalidRequestError, match=r"config\.opt\.thing is of type NaTType"):
        run.update()
    for wrong in ("abc", None, 5, [1]):
        with pytest.raises(InvalidRequestError, match="tags is a list of strings"):
            run.tags = wrong  # type: ignore[assignment]
    with pytest.raises(InvalidRequestError, match="the name of a run cannot be empty"):
        run.name = ""
    with pytest.raises(InvalidRequestError, match="notes is a text"):
        run.notes = 3  # type: ignore[assignment]
    with pytest.raises(InvalidRequestError, match="display_name"):
        run.name = None  # type: ignore[assignment]
    assert daemon.count("runs.UpdateRun") == 0
