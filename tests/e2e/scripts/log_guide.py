"""Logs what the guide's recipes read: runs of an experiment and a sweep, by the real SDK out of a git repository.

Argument: the project. Prints the ids of the runs, of the sweep and of its runs, and the commit, as JSON.
"""

import json
import os
import subprocess
import sys
from typing import Any

import wandb
from wandb.agents import pyagent

project = sys.argv[1]
settings = wandb.Settings(x_file_stream_transmit_interval=1.0, x_disable_stats=True)
# Agents ask every five seconds; the SDK's own tests shorten that in the same way.
agents: Any = pyagent.Agent
agents.HEARTBEAT_SLEEP_SECONDS = 0.2


def git(*words: str) -> str:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    return subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True).stdout.strip()


os.mkdir("repository")
os.chdir("repository")
git("init", "--quiet")
git("commit", "--quiet", "--allow-empty", "--message", "all there is")

plain = []
for number, experiment in enumerate(["foo", "bar", "baz"]):
    config = {
        "experiment_name": experiment,
        "batch_size": 16 * (number + 1),
        "optimizer": {"name": "adam" if number else "sgd", "betas": [0.9, 0.999]},
        "n_epochs": 3,
    }
    with wandb.init(project=project, name=f"shown {experiment}", config=config, settings=settings) as run:
        for epoch in range(3):
            run.log({"loss": 1 / (epoch + number + 1), "val_acc": (epoch + number) / 10})
        plain.append(run.id)

sweep = wandb.sweep(
    {
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"lr": {"values": [0.3, 0.1, 0.2]}, "fixed": {"value": "x"}},
    },
    project=project,
)
swept: list[str] = []


def train() -> None:
    with wandb.init(settings=settings) as run:
        lr = run.config["lr"]
        swept.append(run.id)
        for epoch in range(2):
            run.log({"loss": lr / (epoch + 1), "val_acc": 1 - abs(lr - 0.22)})


wandb.agent(sweep, function=train, project=project, count=3)
print(json.dumps({"plain": plain, "sweep": sweep, "swept": swept, "commit": git("rev-parse", "HEAD")}))
