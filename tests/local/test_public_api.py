"""Every method of the real ``wandb.Api()`` 0.31 that has to do with a server, driven by one script on one run."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtap_local.graphql.refusals import ARTIFACTS
from tests.local.documents.runs import new_user
from tests.local.sdk import Program
from tests.support.local_server import LocalServer

OWN = {"_step", "_timestamp", "_runtime", "_wandb"}


@pytest.fixture(scope="module")
def program(server: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The script, run to its end by a user of its own."""
    made = Program(server, new_user(server), tmp_path_factory.mktemp("public_api"))
    made.run("public_api.py")
    return made


@pytest.fixture(scope="module")
def entity(program: Program) -> str:
    """The user's entity."""
    return program.client.entity


@pytest.fixture(scope="module")
def read(program: Program) -> Any:
    """What it wrote down."""
    return program.record("read.json")


def test_a_run_that_logs_artifacts_and_alerts_ends_well(read: Any, program: Program) -> None:
    logging = read["logging"]
    assert all(ARTIFACTS in logging[name] for name in ("wait", "use", "link"))
    assert logging["finish_s"] < 10  # nothing is sent again and again; a refusal takes milliseconds
    log = (program.server.home / "local.log").read_text()
    path = f"{program.client.entity}/papers/first"
    assert log.count(f"alert of run {path}: WARN: a title: a text") == 1


def test_accounts(read: Any, entity: str) -> None:
    account = read["account"]
    assert account["viewer"] == [entity, entity, False, [], [entity]]
    assert account["user"] == entity and account["users"] == [entity] and account["nobody"] == [None, []]
    assert account["team"] == [entity, [entity]]
    assert "runtap local user add" in account["create_user"]


def test_projects(read: Any, program: Program, entity: str) -> None:
    projects = read["projects"]
    assert projects["names"] == ["made", "papers"] and projects["first"] == "made"
    url = f"{program.server.url}/{entity}/made/workspace"
    assert projects["made"] == ["made", entity, [entity, "made"], entity, False, url]
    assert projects["is_created"] == "20"
    assert projects["none"] == "ValueError: Project none not found"
    assert projects["sweeps"][0] == 0 and "Could not find sweep" in projects["sweeps"][1]
    assert projects["reports"] == [[], 0]
    assert projects["from_path"] == [f"<Project {entity}/papers>", f"<Run {entity}/papers/first (finished)>"]


def test_lists_of_runs(read: Any) -> None:
    runs = read["runs"]
    assert runs["ids"] == ["first", "made0", "made1", "made2", "made3"]
    assert runs["len"] == [5, 5, 2]
    assert runs["indexed"] == ["made3", "first", ["made0", "made1"]]
    assert "IndexError" in runs["beyond"]
    config = {"lr": 0.1, "deep": {"a": 1, "b": [1, None]}, "gone": 1}
    assert runs["lazily"] == config and runs["upgraded"] == config
    # The run without a score comes last.
    assert runs["ordered"] == ["made3", "made2", "made1", "made0", "first"]
    assert runs["histories"] == [["_step", "loss", "run_id"], 6, ["first"]] and runs["as_lists"] == 3
    assert runs["no_project"] == "ValueError: Could not find project none"
    assert "unknown column 'confg.lr'; did you mean" in runs["bad_filter"]


def test_what_is_read_of_a_run(read: Any, program: Program, entity: str) -> None:
    run = read["one_run"]
    assert run["paths"] == ["first", "first", "first"]
    url = f"{program.server.url}/{entity}/papers/runs/first"
    names = ["first", "shown", "shown", "finished", entity, "papers", [entity, "papers", "first"], url]
    assert run["names"] == names
    assert run["words"] == [["x", "y"], "n", "g", "train", None, None, False]
    assert run["user"] == [entity, entity, entity]
    created, heard = run["times"]
    assert created < heard and created.endswith("Z")
    assert run["config"] == {"lr": 0.1, "deep": {"a": 1, "b": [1, None]}, "gone": 1}
    assert run["raw"] == run["json_config"] == ["_wandb", "deep", "gone", "lr"]
    summary = {key: value for key, value in run["summary"].items() if key not in OWN}
    assert summary == {"loss": 1 / 6, "step2": 10} and run["summary"]["_step"] == 5
    assert run["system"] and run["storage_id"] and run["html"]
    assert "Could not find run" in run["no_run"] and "Could not find run" in run["no_project"]


def test_histories_files_and_lines_of_a_run(read: Any) -> None:
    run = read["one_run"]
    assert run["last"] == 5 and run["keys"]["lastStep"] == 5
    assert run["keys"]["keys"]["loss"]["typeCounts"] == [{"type": "number", "count": 6}]
    assert run["history"] == [6, [2, 5]] and run["keyed"] == ["_step", "loss"]
    assert run["scan"] == [6, [1, 2, 3, 4]]
    assert run["exports"] == []
    assert run["console"] == [[step, "", f"step {step}"] for step in range(6)]
    assert run["tail"] == ["step 4", "step 5"]
    assert run["metadata"] == [True, False]
    assert run["artifacts"] == [[], [], 0]


def test_a_run_is_changed(read: Any) -> None:
    edited = read["edited"]
    assert edited["config"] == {"lr": 0.5, "deep": {"a": 1, "b": [1, None]}, "new": {"x": [1, "ü"]}}
    assert edited["internal"] is True
    # A tag given twice is there once, and the order stays.
    assert edited["words"] == [["x", "y", "z"], "other", "more", "words", "h", "eval"]
    summary = {key: value for key, value in edited["summary"].items() if key not in OWN}
    histogram = summary.pop("histogram")
    assert histogram["_type"] == "histogram" and sum(histogram["values"]) == 3
    assert summary.pop("nan") is None or math.isnan(summary.pop("nan"))
    assert summary == {"loss": 7, "half": 0.5, "array": [0, 1, 2], "nested": {"a": {"b": 1}}, "padded": True}
    assert edited["state"] == "finished" and edited["reloaded"] == "other"


def test_files(read: Any) -> None:
    files = read["files"]
    assert files["one"] == ["folder/3.png", 3, "image/png", "9WGq9u8L8U1CCLtGpMyzrQ==", True, True]
    assert files["repr"] == "<File folder/3.png (image/png) 3.0B>" and files["bytes"] == 3
    assert "already exists" in files["again"] and files["exist_ok"].endswith("down/folder/3.png")
    assert (
        files["missing"][0] == 0
        and "404" in files["missing"][1]
        and "no file 'none.txt'" in files["missing"][1]
    )
    assert files["pattern"] == [f"folder/{number}.png" for number in range(5)]
    assert files["named"] == ["output.log", "folder/0.png"] and files["len"] == 10
    assert "both names and pattern" in files["both"]
    # A loop that deletes as it reads meets every file.
    kept = ["config.yaml", "output.log", "requirements.txt", "wandb-metadata.json", "wandb-summary.json"]
    assert files["left"] == kept


def test_lives(read: Any) -> None:
    lives = read["lives"]
    assert lives["made"] == ["running", "life"]
    assert lives["failed"] is True and lives["pending"] is True
    assert lives["states"][0] == "pending" and "not to 'finished'" in lives["states"][1]
    assert lives["later"] == ["pending", "pending"]
    assert "run first is finished: only" in lives["refused"]
    assert "Could not find run" in lives["deleted"] and "/life not found" in lives["twice"]
    assert lives["again"] == [0, -1, {}, "running"]
    assert read["runs_after"] == ["first", "life", "made0", "made1", "made2", "made3"]


def test_what_there_is_not_is_said(read: Any) -> None:
    refused = read["refused"]
    about_artifacts = (
        "artifact",
        "artifact_type",
        "artifact_collection",
        "artifacts",
        "artifact_collections",
    )
    assert all(refused[name].endswith(ARTIFACTS) for name in about_artifacts)
    assert "not found" in refused["job"]
    assert all("no automations" in refused[name] for name in ("automations", "integrations"))
    assert "no launch queues" in refused["queue"] and "no web pages" in refused["chart"]
    assert refused["exists"] == [False, False]
    assert refused["types"] == [[], []] and refused["collections"] == []


def test_forks_and_rewinds_are_refused_and_make_no_run(read: Any) -> None:
    assert "this server cannot fork a run" in read["forks"]["fork"]
    assert "this server cannot rewind a run" in read["forks"]["rewind"]
    assert "forked" not in read["runs_after"]


@pytest.mark.slow
def test_commands_that_read(program: Program, entity: str) -> None:
    def wandb(*arguments: str) -> "subprocess.CompletedProcess[str]":
        env = program.environment(WANDB_SILENT="false")
        command = [sys.executable, "-m", "wandb", *arguments]
        return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=50)

    folder = Path(program.folder / "commands")
    folder.mkdir()
    login = wandb("login", "--verify")
    assert login.returncode == 0 and f"logged in as: {entity}" in login.stderr
    status = wandb("status")
    assert status.returncode == 0 and program.server.url in status.stdout
    pull = wandb("pull", "--project", "papers", "--entity", entity, "first")
    assert pull.returncode == 0, pull.stderr
    assert (folder / "output.log").read_text().startswith("step 0")
    restore = wandb("restore", "--no-git", f"{entity}/papers:first")
    assert restore.returncode == 0 and "Restored config" in restore.stderr
