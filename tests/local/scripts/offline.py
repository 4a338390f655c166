"""Log without a server: offline, to be synced later, or disabled, to be thrown away. Argument: which."""

import json
import os
import sys
from pathlib import Path

import wandb

from tests.local.scripts import kit


def offline(rows: int, word: str) -> None:
    """A run into the folder alone; with console lines, a table and a file."""
    run = kit.begin(
        "offline", "off", mode="offline", config={"lr": 0.5, "word": word}, tags=["t"], name="ein Name"
    )
    for number in range(rows):
        run.log({word: number, "even": number % 2 == 0} if number % 3 else {word: number})
        print(f"{word} {number}")
    run.log({"table": wandb.Table(columns=["a"], data=[[1], [2]])})
    Path("saved.txt").write_text("saved content")
    run.save("saved.txt")
    run.summary["best"] = 0.5
    run.finish()


def disabled() -> None:
    """A run that is nothing."""
    run = kit.begin("offline", "nothing", mode="disabled", config={"a": 1})
    run.log({"a": 1})
    run.summary["b"] = 1
    run.finish()


if __name__ == "__main__":
    print(json.dumps({"pid": os.getpid()}), file=sys.stderr)
    if sys.argv[1] == "disabled":
        disabled()
    else:
        offline(int(sys.argv[2]), sys.argv[1])
