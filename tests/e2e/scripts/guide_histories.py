"""The guide's recipes that read histories, word for word but for names, and what came out of each as JSON.

Arguments: `entity/project`, and ids of runs as JSON.
"""

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import wandb

path, runs = sys.argv[1], json.loads(sys.argv[2])
told: dict[str, Any] = {}
api: Any = wandb.Api()


def plain(value: Any) -> Any:
    """A value as JSON that keeps apart what JSON does not."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if hasattr(value, "items"):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def attempt(recipe: Callable[[], Any]) -> Any:
    """What a recipe gives, or the error it ends with."""
    try:
        return plain(recipe())
    except Exception as error:  # noqa: BLE001 - which it is, is the answer
        return type(error).__name__


def frame(found: Any) -> Any:
    """A frame, with its columns in one order: those of real servers have none."""
    return [sorted(found.columns), plain(found[sorted(found.columns)].to_dict("split")["data"])]


def accuracies(run: Any, **options: Any) -> Any:
    """Recipes 4 and 5."""
    printed = []
    if run.state == "finished":
        for _, row in run.history(**options).iterrows():
            printed.append((row["_timestamp"], row["accuracy"]))
    return printed


def system_metrics(run: Any) -> Any:
    """Recipe 10."""
    system_metrics = run.history(stream="events")
    system_metrics.to_csv("sys_metrics.csv")
    return frame(pd.read_csv("sys_metrics.csv", index_col=0))


def losses(run: Any) -> Any:
    """Recipe 11."""
    history = run.scan_history()
    losses = [row["loss"] for row in history]
    return losses


def page_by_page(run: Any, cols: set[str]) -> Any:
    """Recipe 12."""
    return list(run.scan_history(keys=sorted(cols), page_size=100))


def tell(name: str, run: Any) -> None:
    """All that is asked of every run."""
    told[f"4 {name}"] = attempt(lambda: accuracies(run))
    told[f"5 {name}"] = attempt(lambda: accuracies(run, keys=["accuracy"]))
    told[f"5 {name}, metric"] = attempt(lambda: list(run.history(keys=["accuracy"])["accuracy"]))
    told[f"5 {name}, two"] = attempt(lambda: frame(run.history(keys=["accuracy", "loss"])))
    told[f"11 {name}"] = attempt(lambda: losses(run))
    told[f"11 {name}, rows"] = attempt(lambda: list(run.scan_history()))
    told[f"12 {name}"] = attempt(lambda: page_by_page(run, {"loss", "accuracy"}))
    told[f"12 {name}, one"] = attempt(lambda: page_by_page(run, {"loss"}))
    told[f"history {name}"] = attempt(lambda: frame(run.history(samples=5000)))
    told[f"history {name}, rows"] = attempt(lambda: run.history(samples=5000, pandas=False))


for name, run_id in runs.items():
    tell(name, api.run(f"{path}/{run_id}"))

run = api.run(f"{path}/{runs['plain']}")
told["10"] = attempt(lambda: system_metrics(run))
told["12 plain, validation"] = attempt(lambda: page_by_page(run, {"val/acc", "val/loss", "loss"}))
told["range"] = attempt(lambda: list(run.scan_history(min_step=5, max_step=9)))
told["x_axis"] = attempt(lambda: frame(run.history(keys=["val/acc"], x_axis="loss")))
run = api.run(f"{path}/{runs['long']}")
told["sampled"] = attempt(lambda: run.history(samples=100, pandas=False))

chosen = {"name": {"$in": [runs[name] for name in ("plain", "late", "none")]}}
several = api.runs(path, filters=chosen, order="+created_at")
told["histories"] = attempt(lambda: frame(several.histories(samples=5000, format="pandas")))
told["histories, one"] = attempt(lambda: several.histories(samples=5000, keys=["accuracy"]))
told["histories, rows"] = attempt(lambda: api.runs(path, order="+created_at").histories(samples=5000))

print(json.dumps(told, sort_keys=True))
