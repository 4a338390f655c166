"""Projects and sweeps: what `runtap.Api()` tells is what `wandb.Api()` tells, and the guide's recipes run on both."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import World
from tests.local.client import Client
from tests.local.sweeping import Sweep, create

PARAMETERS = {"a": {"values": [1, 2, 3, 4]}, "b": {"value": "x"}}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def ran(sweep: Sweep, *summaries: dict[str, Any]) -> Sweep:
    """Lets an agent do as many runs."""
    agent = sweep.agent()
    for summary in summaries:
        run, _ = sweep.begin(agent)
        sweep.client.upsert(run, commit=COMMIT, displayName=f"shown {run}")
        sweep.end(run, **summary)
    return sweep


@pytest.fixture(scope="module")
def told(world: World) -> dict[str, Any]:
    """What both clients tell of the same sweeps."""
    client = Client(world.server.url, world.server.entity, world.server.api_key, "sweeping")
    values = ({"loss": 0.5, "acc": 1}, {"loss": 0.25, "acc": 3}, {"acc": 2})
    lowest = {"method": "grid", "metric": {"name": "loss"}, "parameters": PARAMETERS}
    highest = {"method": "grid", "metric": {"name": "loss", "goal": "maximize"}, "parameters": PARAMETERS}
    sweeps = [
        ran(create(client, {**lowest, "name": "ö in the config"}), *values, {"loss": 0.75, "acc": 0}),
        ran(create(client, highest, displayName="shown"), *values),
        create(client, {"method": "random", "parameters": PARAMETERS}),
    ]
    client.project = "another"
    client.upsert("alone")
    names = [sweep.name for sweep in sweeps]
    path = world.path("sweeping")
    return {name: world.read("sweeps.py", name, path, *names) for name in ("wandb", "runtap")}


@pytest.mark.timeout(120)
def test_every_field_of_every_sweep_is_the_same(told: dict[str, Any]) -> None:
    assert len(told["wandb"]["sweeps"]) == 3
    for ours, theirs in zip(told["runtap"]["sweeps"], told["wandb"]["sweeps"], strict=True):
        assert ours == theirs


@pytest.mark.parametrize("name", ["of_project", "projects", "default", "indexed", "project"])
def test_every_list_is_the_same(told: dict[str, Any], name: str) -> None:
    assert told["runtap"][name] == told["wandb"][name]
    assert told["runtap"][name]


@pytest.mark.parametrize("number", ["17", "18", "19", "23"])
def test_the_recipes_give_the_same(told: dict[str, Any], number: str) -> None:
    assert told["runtap"]["recipes"][number] == told["wandb"]["recipes"][number]
    assert told["runtap"]["recipes"][number]


def test_what_was_made_is_what_is_read(told: dict[str, Any]) -> None:
    lowest, highest, _ = told["runtap"]["sweeps"]
    recipes = told["runtap"]["recipes"]
    assert (lowest["name"], lowest["length"], lowest["best_loss"]) == ("ö in the config", 4, 0.25)
    assert (highest["name"], highest["length"], highest["best_loss"]) == ("shown", 3, 0.5)
    assert recipes["18"][2] == 0.25 and recipes["19"][1] == 3 and recipes["23"] == COMMIT
    assert recipes["18"][1] == f"shown {recipes['18'][0]}"
