"""Logs histories of several shapes with the real SDK. Argument: the project. Prints the ids of the runs as JSON."""

import json
import math
import sys
import time
from typing import Any

import wandb

project = sys.argv[1]
settings = wandb.Settings(x_file_stream_transmit_interval=0.5, x_stats_sampling_interval=0.1)
ids: dict[str, str] = {}

with wandb.init(project=project, settings=settings) as run:
    ids["plain"] = run.id
    until = time.monotonic() + 1.5  # for some system metrics
    for epoch in range(40):
        row: dict[str, Any] = {"accuracy": epoch / 40, "loss": 1 - epoch / 40}
        if epoch % 4 == 0:
            row |= {"val/acc": epoch / 50, "val/loss": 1.5}
        run.log(row)
    time.sleep(max(0.0, until - time.monotonic()))

with wandb.init(project=project, settings=settings) as run:
    ids["apart"] = run.id  # keys that never meet, values of every kind, steps with gaps
    for i in range(12):
        if i % 2:
            run.log({"accuracy": i / 12, "count": 2**53 + i}, step=i * 100)
        else:
            run.log({"loss": math.nan if i == 4 else math.inf if i == 6 else i / 12}, step=i * 100)
    run.log(
        {"nested": {"a": {"b": 1}, "list": [1, 2.5, "x"]}, "text": "tränen\n🎈", "flag": True}, step=2_000
    )
    run.log({"dist": wandb.Histogram([1, 2, 3]), "a.b/c": 1, "loss": -math.inf}, step=2_001)

with wandb.init(project=project, settings=settings) as run:
    ids["long"] = run.id
    for i in range(1200):
        run.log({"accuracy": i / 1200, "loss": 9.0 if i == 777 else 1 / (i + 1)})

with wandb.init(project=project, settings=settings) as run:
    ids["late"] = run.id  # begins late (the real client asks for every hundred of steps, so not too late)
    for i in range(3):
        run.log({"accuracy": float(i), "loss": float(i)}, step=3_000 + i)

with wandb.init(project=project, settings=settings) as run:
    ids["none"] = run.id

print(json.dumps(ids))
