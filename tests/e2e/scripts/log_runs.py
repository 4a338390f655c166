"""Logs four runs of different kinds with the real SDK. Argument: the project."""

import math
import sys
from typing import Any

import wandb

project = sys.argv[1]
settings = wandb.Settings(x_file_stream_transmit_interval=1.0, x_stats_sampling_interval=0.5)

config = {
    "lr": 0.01,
    "steps": 30,
    "flag": True,
    "nothing": None,
    "name": "tränen 🎈",
    "nested": {"optimizer": {"name": "adam", "betas": [0.9, 0.999]}, "depth": 3},
    "list": [1, 2.5, "x", None],
    "big": 2**60 + 1,
    "dotted.key": 1,
}
with wandb.init(
    project=project,
    config=config,
    tags=["a", "b"],
    notes="some notes\nin two lines",
    group="group-1",
    job_type="train",
    settings=settings,
) as run:
    for step in range(30):
        row: dict[str, Any] = {"loss": 1 / (step + 1), "count": step, "even": step % 2 == 0}
        if step % 4 == 0:
            row["val/acc"] = step / 30
        if step == 7:
            row |= {"odd": float("nan"), "wide": float("inf"), "narrow": -math.inf}
        if step % 10 == 0:
            row["dist"] = wandb.Histogram([step, step + 1, step + 2])
            row["deep"] = {"x": step, "y": {"z": -step}}
        run.log(row)
    print("a line of console output")
    run.summary["best"] = 0.5
    run.summary["inner"] = {"a": 1, "b": {"c": 2.5}}

with wandb.init(project=project, config={"lr": 0.1}, settings=settings) as run:
    for step in (0, 5, 1000, 20_000):
        run.log({"loss": 1.0, "only": step}, step=step)

with wandb.init(project=project, config={"lr": 0.2}, settings=settings):
    pass  # a run that logged nothing

failing = wandb.init(project=project, config={"lr": 0.3}, settings=settings)
failing.log({"loss": 9})
failing.finish(exit_code=1)
