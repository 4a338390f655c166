"""The real SDK logs whole runs to the server, and the real ``wandb.Api()`` reads the same values back."""

import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.client import Client
from tests.local.conftest import check_no_leaks
from tests.support.local_server import LocalServer, local_server, log_run

# An interval below one second is ignored by the SDK: it falls back to its 15 seconds.
QUICK = """
import json, math, pathlib, sys, time
import wandb
quick = wandb.Settings(x_file_stream_transmit_interval=1.0, x_stats_sampling_interval=0.3, init_timeout=60)
"""
LOG = (
    QUICK
    + """
run = wandb.init(
    project="mnist", id="first", name="my run", group="g", job_type="train", notes="a note", tags=["x", "y"],
    config={"lr": 0.1, "n": 3, "big": 2**60, "flag": True, "none": None, "text": "ü",
            "nested": {"a": {"b": [1, 2.5, {"c": None}]}}, "dotted.key": 1},
    settings=quick)
for step in range(0, 40, 2):
    row = {"loss": 1 / (step + 1), "nan": math.nan, "inf": math.inf, "deep": {"x": step}}
    if step % 8 == 0:
        row["rare"] = step
    run.log(row, step=step)
    print("step", step)
    time.sleep(0.02)
print("to stderr", file=sys.stderr)
run.log({"hist": wandb.Histogram([1, 2, 3])}, step=40)
run.log({"table": wandb.Table(columns=["a"], data=[[1]])}, step=41)
run.summary["best"] = 0.5
pathlib.Path("saved.txt").write_text("saved content")
run.save("saved.txt", policy="now")
run.finish()
"""
)
READ = """
import json, math
import wandb
api = wandb.Api()
run = api.run("local/mnist/first")
runs = api.runs("local/mnist", lazy=False)
def plain(value):
    return json.loads(json.dumps(value, default=str))
print("OUT" + json.dumps({
    "viewer": api.viewer.username, "entity": api.default_entity,
    "projects": [project.name for project in api.projects()],
    "count": len(runs), "listed": [plain(dict(one.config)) for one in runs],
    "lazy": [plain(dict(one.config)) for one in api.runs("local/mnist")],
    "id": run.id, "name": run.name, "state": run.state, "tags": run.tags, "group": run.group,
    "job_type": run.job_type, "notes": run.notes, "user": run.user.username, "path": run.path,
    "config": plain(dict(run.config)), "summary": plain(run.summary._json_dict),
    "history": plain(run.history(pandas=False)),
    "keyed": plain(run.history(keys=["loss", "rare"], pandas=False)),
    "scan": plain(list(run.scan_history())), "scan_keys": plain(list(run.scan_history(keys=["nan", "deep.x"]))),
    "pages": plain(list(run.scan_history(page_size=7, min_step=4, max_step=30))),
    "events": plain(run.history(stream="events", pandas=False)), "system": plain(run.system_metrics),
    "last_step": run.lastHistoryStep,
    "files": sorted((file.name, file.size) for file in run.files()), "file_count": len(run.files()),
    "saved": run.file("saved.txt").download(root="down").read(),
    "log": run.file("output.log").download(root="down").read(),
    "metadata": run.metadata,
    "filtered": [one.id for one in api.runs("local/mnist", filters={"config.lr": {"$lt": 1}, "tags": "x"},
                                            order="-summary_metrics.best")],
    "none": len(api.runs("local/mnist", filters={"config.lr": {"$gt": 1}})),
}))
"""


def output(done: subprocess.CompletedProcess[str]) -> Any:
    """What a script printed as JSON."""
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.partition("OUT")[2])


@pytest.fixture(scope="module")
def sdk_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server of this module's own: its first user's entity is ``local``, as on anybody's machine."""
    with local_server(tmp_path_factory.mktemp("sdk") / "home", crash_after_s=3) as running:
        yield running
    check_no_leaks(running, [running.api_key])


@pytest.fixture(scope="module")
def read(sdk_server: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One run logged by the real SDK, as the real Public API reads it."""
    folder = tmp_path_factory.mktemp("first")
    done = log_run(sdk_server, folder, LOG)
    assert done.returncode == 0, done.stderr[-3000:]
    return output(log_run(sdk_server, folder, READ))


def test_a_logged_run_reads_back(read: Any) -> None:
    assert (read["viewer"], read["entity"], read["projects"], read["count"]) == (
        "local",
        "local",
        ["mnist"],
        1,
    )
    assert (read["id"], read["name"], read["state"]) == ("first", "my run", "finished")
    assert read["tags"] == ["x", "y"] and (read["group"], read["job_type"], read["notes"]) == (
        "g",
        "train",
        "a note",
    )
    assert read["user"] == "local" and read["path"] == ["local", "mnist", "first"]
    assert read["config"] == {
        "lr": 0.1,
        "n": 3,
        "big": 2**60,
        "flag": True,
        "none": None,
        "text": "ü",
        "nested": {"a": {"b": [1, 2.5, {"c": None}]}},
        "dotted.key": 1,
    }
    assert read["listed"] == read["lazy"] == [read["config"]]
    assert read["filtered"] == ["first"] and read["none"] == 0


def test_its_summary_reads_back(read: Any) -> None:
    summary = read["summary"]
    assert summary["best"] == 0.5 and summary["loss"] == 1 / 39 and summary["_step"] == 41
    assert math.isnan(summary["nan"]) and summary["inf"] == math.inf and summary["deep"] == {"x": 38}
    assert summary["hist"]["_type"] == "histogram" and summary["table"]["_type"] == "table-file"


def test_its_history_reads_back(read: Any) -> None:
    rows = read["history"]
    assert [row["_step"] for row in rows] == [*range(0, 40, 2), 40, 41]
    for row in rows[:20]:
        assert row["loss"] == 1 / (row["_step"] + 1) and row["deep"] == {"x": row["_step"]}
        assert math.isnan(row["nan"]) and row["inf"] == math.inf
        assert ("rare" in row) is (row["_step"] % 8 == 0)
    assert read["scan"] == rows or len(read["scan"]) == len(rows)  # NaN differs from itself
    assert read["last_step"] == 41
    assert [row["_step"] for row in read["pages"]] == list(range(4, 30, 2))
    assert [(row["_step"], row["rare"]) for row in read["keyed"]] == [
        (step, step) for step in range(0, 40, 8)
    ]
    assert [row["deep.x"] for row in read["scan_keys"]] == list(range(0, 40, 2))
    assert read["scan_keys"][0]["nan"] == "NaN"  # as the real server spells it in embedded JSON
    assert read["events"] and any(key.startswith("system.") for key in read["system"])


def test_its_files_read_back(read: Any) -> None:
    files = dict(read["files"])
    standard = {"config.yaml", "wandb-summary.json", "wandb-metadata.json", "requirements.txt", "output.log"}
    assert standard <= set(files) and files["saved.txt"] == len("saved content")
    assert any(name.startswith("media/table/") for name in files)
    assert read["file_count"] == len(files) and read["saved"] == "saved content"
    assert "step 38" in read["log"] and "to stderr" in read["log"]
    assert read["metadata"]["python"].startswith("CPython")


def test_console_lines_arrive_by_stream(read: Any, sdk_server: LocalServer) -> None:
    client = Client(sdk_server.url, sdk_server.entity, sdk_server.api_key, "mnist")
    found = client.run("first", "logLines(last: 100) { edges { node { level line } } }")["logLines"]["edges"]
    lines = [(edge["node"]["level"], edge["node"]["line"]) for edge in found]
    assert ("", "step 38") in lines and ("error", "to stderr") in lines


def test_the_public_api_writes(read: Any, sdk_server: LocalServer, tmp_path: Path) -> None:
    script = """
import json, pathlib
import wandb
def fresh():
    return wandb.Api().run("local/other/made")
made = wandb.Api().create_run(run_id="made", project="other", entity="local")
run = fresh()
before = dict(run.config)
run.config["lr"] = 0.5
run.tags.append("new")
run.name = "renamed"
run.notes = "noted"
run.update()
run.summary.update({"acc": 0.75, "deep": {"a": 1}})
again = fresh()
pathlib.Path("up.txt").write_text("uploaded")
uploaded = again.upload_file("up.txt")
content = again.file("up.txt").download(root="down").read()
names = [file.name for file in fresh().files()]
again.file("up.txt").delete()
left = [file.name for file in fresh().files()]
result = {"before": before, "config": again.config, "tags": again.tags, "name": again.name, "notes": again.notes,
          "summary": again.summary._json_dict, "uploaded": uploaded.name, "content": content,
          "names": names, "left": left}
again.delete()
try:
    fresh()
except wandb.errors.CommError as error:
    result["deleted"] = str(error)
print("OUT" + json.dumps(result))
"""
    result = output(log_run(sdk_server, tmp_path, script))
    assert result["before"] == {} and result["config"] == {"lr": 0.5}
    assert (result["tags"], result["name"], result["notes"]) == (["new"], "renamed", "noted")
    assert result["summary"] == {"acc": 0.75, "deep": {"a": 1}}
    assert result["uploaded"] == "up.txt" and result["content"] == "uploaded"
    assert result["names"] == ["up.txt"] and result["left"] == []
    assert "Could not find run" in result["deleted"]


def test_a_wrong_key_is_an_error_that_says_so(sdk_server: LocalServer, tmp_path: Path) -> None:
    script = """
import json, wandb
try:
    wandb.Api()
except wandb.errors.AuthenticationError as error:
    print("OUT" + json.dumps(str(error)))
"""
    wrong = "local-" + "w" * 40
    assert "invalid API key" in output(log_run(sdk_server, tmp_path, script, WANDB_API_KEY=wrong))
