"""The guide's recipes that read runs and sweeps give the same with `import wandb` and `import runtap as wandb`.

Everything they read was logged by the real SDK: runs of an experiment, and a sweep searched by its own agent.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e.conftest import SCRIPTS, World

PROJECT = "guide"
SAME = [
    "1, read again", "2", "2, which", "3", "order -created_at", "order +created_at", "order +config.experiment_name",
    "order -config.experiment_name", "order by summary", "6", "13", "17", "17, how many", "18", "19", "19, all",
    "sweep of a run", "sweep_name", "sweep of the best", "errors",
]  # fmt: skip
NEWEST_FIRST = ["1", "23"]
"""Lists in no named order: the newest first, as the guide says; the real client's are the oldest first since 0.31."""


@pytest.fixture(scope="module")
def logged(world: World) -> Any:
    return world.read("log_guide.py", PROJECT)


@pytest.fixture(scope="module")
def told(world: World, logged: Any) -> dict[str, Any]:
    """What the recipes gave, by the module that was imported as `wandb`."""
    guide = (SCRIPTS / "guide.py").read_text()
    ours = guide.replace("import wandb\n", "import runtap as wandb\n")
    assert ours != guide
    arguments = (world.path(PROJECT), *logged["plain"][:2], logged["sweep"])
    return {"wandb": world.read(guide, *arguments), "runtap": world.read(ours, *arguments)}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("recipe", SAME)
def test_a_recipe_gives_the_same(told: dict[str, Any], recipe: str) -> None:
    assert told["runtap"][recipe] == told["wandb"][recipe]
    assert told["runtap"][recipe]


@pytest.mark.parametrize("recipe", NEWEST_FIRST)
def test_without_an_order_the_newest_come_first(told: dict[str, Any], recipe: str) -> None:
    assert told["runtap"][recipe] == list(reversed(told["wandb"][recipe]))
    assert len(told["runtap"][recipe]) == 6


def test_every_recipe_is_compared(told: dict[str, Any]) -> None:
    assert set(told["wandb"]) == set(told["runtap"]) == {*SAME, *NEWEST_FIRST}


def test_what_was_logged_is_what_is_read(told: dict[str, Any], logged: Any) -> None:
    ours = told["runtap"]
    first, second, third = logged["plain"]
    plain = {row["name"]: row for row in ours["1"] if row["name"].startswith("shown")}
    assert plain["shown bar"]["config"] == {
        "experiment_name": "bar",
        "batch_size": 32,
        "optimizer": {"name": "adam", "betas": [0.9, 0.999]},
        "n_epochs": 3,
    }
    assert plain["shown bar"]["summary"]["loss"] == 0.25
    assert (ours["2"], ours["2, which"]) == ("Found 2 runs", sorted([first, second]))
    everything = sorted([*logged["plain"], *logged["swept"]])
    assert (
        list(map(len, ours["3"].values())) in ([6, 0, 0], [0, 6, 0], [0, 0, 6])
        and everything in ours["3"].values()
    )
    assert ours["order +config.experiment_name"] == ["shown bar", "shown baz", "shown foo"]
    assert set(ours["6"]) == {"experiment_name", "batch_size", "optimizer"}
    assert ours["17"] == sorted(logged["swept"])
    assert ours["18"][0] == logged["swept"][1], "the smallest loss is that of the second learning rate"
    assert ours["19, all"][0] == logged["swept"][2]
    assert ours["23"] == [logged["commit"]] * 6
    assert ours["sweep of a run"] == [None] * 3 + [logged["sweep"]] * 3
    assert third not in ours["2, which"]


def command(world: World, *words: str) -> Any:
    """What a command prints as JSON."""
    line = [sys.executable, "-m", "runtap", *words, "--json"]
    done = subprocess.run(line, env=world.env, capture_output=True, text=True, timeout=50, check=True)
    return json.loads(done.stdout)


def test_the_command_line_tells_the_same(world: World, told: dict[str, Any], logged: Any) -> None:
    theirs = told["wandb"]
    found = command(world, "runs", world.path(PROJECT), "--order", "+created_at")
    assert [{name: run[name] for name in ("name", "config", "summary")} for run in found] == theirs["1"]
    assert [run["sweep_name"] for run in found] == theirs["sweep_name"]
    assert [run["commit"] for run in found] == theirs["23"]
    best = command(world, "best-run", f"{world.path(PROJECT)}/{logged['sweep']}")
    assert [best["run"]["id"], best["run"]["name"], best["run"]["config"], best["value"]] == theirs["18"]
    sweep = command(world, "sweep", f"{world.path(PROJECT)}/{logged['sweep']}")
    assert [sweep["config"], sweep["name"], sweep["state"], sweep["url"]] == theirs["sweep of the best"]
