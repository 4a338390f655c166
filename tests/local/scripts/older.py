"""What SDKs from 0.17 on can log. Run under one of those, and read by the newest: nothing newer is used here.

Argument: ``log``, ``offline`` or ``fail``.
"""

import base64
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import wandb

CONFIG: dict[str, Any] = {
    "lr": 0.1,
    "n": 3,
    "big": 2**53 + 1,
    "flag": True,
    "none": None,
    "text": "ü 漢字 🎉",
    "nested": {"a": {"b": [1, 2.5, {"c": None}]}},
    "dotted.key": 1,
    "list": [],
}


def begin(run_id: str, **options: Any) -> Any:
    """Start a run with the settings that all versions know."""
    return wandb.init(project="older", id=run_id, settings=wandb.Settings(init_timeout=60), **options)


def log() -> dict[str, Any]:
    """A run with a bit of everything, and its second life."""
    run: Any = begin(
        "first", config=CONFIG, name="ein Lauf", notes="notes ü", tags=["a", "b"], group="g", job_type="j"
    )
    run.define_metric("acc", summary="max")
    run.define_metric("n", summary="best", goal="maximize")
    run.define_metric("val/*", step_metric="epoch")
    rows: list[dict[str, Any]] = []
    for number in range(50):
        row: dict[str, Any] = {
            "loss": 1 / (number + 1),
            "n": number,
            "acc": number % 7,
            "deep": {"x": {"y": number}},
        }
        if number % 10 == 0:
            row |= {
                "rare": f"ü {number}",
                "nan": math.nan,
                "inf": math.inf,
                "list": [1, 2.5],
                "val/a": 1,
                "epoch": 1,
            }
        run.log(row)
        rows.append({**row, "_step": number})
        print(f"line {number}", flush=True)
    run.log({"given": 1}, step=70)
    run.log(
        {"html": wandb.Html("<p>ü</p>", inject=False), "hist": wandb.Histogram([1, 2, 3], num_bins=2)},
        step=71,
    )
    run.log({"image": wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8))}, step=72)
    run.log({"table": wandb.Table(columns=["a"], data=[[1], [2]])}, step=73)
    Path("saved.txt").write_text("saved content")
    run.save("saved.txt", policy="now")
    run.summary["best"] = 0.5
    run.config.update({"lr": 0.2}, allow_val_change=True)
    folder = Path(run.dir)
    run.finish()
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("media/**/*.*")}
    files["saved.txt"] = b"saved content"
    again: Any = begin("first", resume="must", config={"second": 2})
    told = {"resumed": again.resumed, "step": again.step}
    again.log({"later": 1})
    print("line of the second life", flush=True)
    again.finish()
    return {
        "rows": [*rows, {"given": 1, "_step": 70}],
        "told": told,
        "config": {**CONFIG, "lr": 0.2, "second": 2},
        "name": "ein Lauf",
        "notes": "notes ü",
        "tags": ["a", "b"],
        "group": "g",
        "job_type": "j",
        "state": "finished",
        "console": [["", f"line {number}"] for number in range(50)] + [["", "line of the second life"]],
        "files": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }


def offline() -> None:
    """A run for ``wandb sync``."""
    run: Any = begin("off", mode="offline", config={"a": 1})
    for number in range(5):
        run.log({"n": number})
        print(f"line {number}", flush=True)
    run.finish()


def fail() -> None:
    """A run that ends badly."""
    begin("bad").log({"a": 1})
    sys.exit(3)


if __name__ == "__main__":
    if sys.argv[1] == "log":
        Path("logged.json").write_text(json.dumps(log()))
    else:
        {"offline": offline, "fail": fail}[sys.argv[1]]()
