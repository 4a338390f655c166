"""Recipes of the import/export guide, run as scripts against runs that the real SDK logged."""

from __future__ import annotations

import ast
import csv
from typing import Any

import pytest

from tests.e2e.conftest import World

PROJECT = "recipes"
LOG = """
import random
import wandb

for number in range(3):
    settings = wandb.Settings(x_file_stream_transmit_interval=1.0)
    config = {"batch_size": 16 * (number + 1), "optimizer": "adam", "n_epochs": 5}
    names = {"project": "recipes", "id": f"run{number}", "name": f"name-{number}"}
    with wandb.init(**names, config=config, settings=settings) as run:
        for epoch in range(5):
            run.log({"accuracy": epoch / 5, "loss": 1 - epoch / 5})
"""


@pytest.fixture(scope="module", autouse=True)
def logged(world: World) -> None:
    world.python(LOG)


def script(world: World, text: str) -> str:
    """Runs a recipe with the path put in, and returns what it prints."""
    done = world.python("import runtap as wandb\n" + text.replace("<entity>/<project>", world.path(PROJECT)))
    return done.stdout


def test_csv_of_all_runs(world: World) -> None:
    script(
        world,
        """
import pandas as pd
api = wandb.Api()
runs = api.runs("<entity>/<project>")
summary_list, config_list, name_list = [], [], []
for run in runs:
    summary_list.append(run.summary._json_dict)
    config_list.append({k: v for k, v in run.config.items() if not k.startswith("_")})
    name_list.append(run.name)
pd.DataFrame({"summary": summary_list, "config": config_list, "name": name_list}).to_csv("project.csv")
""",
    )
    with open(world.folder / "project.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["name-2", "name-1", "name-0"]
    assert "'loss': 0.2" in rows[0]["summary"].replace("0.19999999999999996", "0.2")
    assert "'batch_size': 48" in rows[0]["config"]


def test_history_rows(world: World) -> None:
    out = script(
        world,
        """
api = wandb.Api()
run = api.run("<entity>/<project>/run0")
if run.state == "finished":
    for i, row in run.history().iterrows():
        print(i, row["_timestamp"] > 1e9, row["accuracy"])
""",
    )
    assert out.splitlines() == [f"{i} True {i / 5}" for i in range(5)]


def test_history_of_some_keys_has_the_timestamp_that_the_guide_reads(world: World) -> None:
    out = script(
        world,
        """
run = wandb.Api().run("<entity>/<project>/run0")
for i, row in run.history(keys=["accuracy"]).iterrows():
    print(row["_timestamp"] > 1e9, row["accuracy"])
""",
    )
    assert out.splitlines() == [f"True {i / 5}" for i in range(5)]


def test_compare_two_runs(world: World) -> None:
    out = script(
        world,
        """
import pandas as pd
api = wandb.Api()
run1 = api.run("<entity>/<project>/run0")
run2 = api.run("<entity>/<project>/run1")
df = pd.DataFrame([run1.config, run2.config]).transpose()
df.columns = [run1.name, run2.name]
print(df[df[run1.name] != df[run2.name]])
""",
    )
    assert [line.split() for line in out.splitlines()] == [["name-0", "name-1"], ["batch_size", "16", "32"]]


def test_unsampled_history(world: World) -> None:
    out = script(
        world,
        """
run = wandb.Api().run("<entity>/<project>/run0")
history = run.scan_history()
print([round(row["loss"], 6) for row in history])
""",
    )
    assert out.strip() == "[1.0, 0.8, 0.6, 0.4, 0.2]"


def test_keys_of_a_history_and_one_that_it_does_not_have(world: World) -> None:
    out = script(
        world,
        """
import warnings
import runtap
from runtap.v1 import history_pb2
api = wandb.Api()
run = api.run("<entity>/<project>/run0")
history = runtap.connect(account=api.client.account).history
answer = history.GetHistoryKeys(history_pb2.GetHistoryKeysRequest(path=str(run.path)))
print({one.key: dict(one.type_counts) for one in answer.keys})
print(answer.last_step, answer.history_line_count)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    assert not list(run.scan_history(keys=["acuracy"]))
print(*[one.message for one in told])
""",
    )
    keys, numbers, told = out.splitlines()
    assert ast.literal_eval(keys) == {
        key: {"number": 5} for key in ("_runtime", "_step", "_timestamp", "accuracy", "loss")
    }
    assert numbers == "4 5"
    assert told == f"{world.path(PROJECT)}/run0 never logged 'acuracy'; nearest: 'accuracy'"


def test_update_of_metrics_and_config_is_seen_by_the_real_client(world: World) -> None:
    script(
        world,
        """
import numpy
api = wandb.Api()
run = api.run("<entity>/<project>/run1")
run.summary["accuracy"] = 0.9
run.summary["accuracy_histogram"] = wandb.Histogram(numpy.arange(10.0))
run.summary["new_name"] = run.summary["loss"]
del run.summary["loss"]
run.summary.update()
run.summary.update({"key": "val"})
run.config["key"] = 7
run.tags.append("seen")
run.notes = "written afterwards"
run.update()
""",
    )
    theirs = world.read("describe.py", "wandb", world.path(PROJECT))
    run: dict[str, Any] = next(run for run in theirs["single"] if run["id"] == "run1")
    assert run["summary"]["accuracy"] == 0.9
    assert run["summary"]["accuracy_histogram"]["_type"] == "histogram"
    assert sum(run["summary"]["accuracy_histogram"]["values"]) == 10
    assert "loss" not in run["summary"]
    assert run["summary"]["key"] == "val"
    assert run["summary"]["_step"] == 4, "what was not set stays"
    assert run["config"] == {"batch_size": 32, "optimizer": "adam", "n_epochs": 5, "key": 7}
    assert (run["tags"], run["notes"]) == (["seen"], "written afterwards")
    assert run["rawconfig"]["_wandb"], "what the SDK keeps in the config stays"


def test_a_missing_run_is_a_comm_error_that_names_it(world: World) -> None:
    out = script(
        world,
        """
try:
    wandb.Api().run("<entity>/<project>/nope")
except wandb.CommError as error:
    print(error, "|", type(error.exc).__name__, isinstance(error, ValueError))
""",
    )
    assert f"Could not find run {world.path(PROJECT)}/nope" in out
    assert out.strip().endswith("True")
