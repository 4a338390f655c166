"""Log ten thousand steps with sparse keys, and a long console."""

import math
from typing import Any

import wandb

from tests.local.scripts import kit

STEPS = 10_000


def row_of(step: int) -> dict[str, Any]:
    """What is logged at a step."""
    row: dict[str, Any] = {"loss": 1 / (step + 1)}
    for every in (2, 7, 100, 3333):
        if step % every == 0:
            row[f"every/{every}"] = step
    if step % 500 == 0:
        row |= {"nan": math.nan, "inf": -math.inf, "deep": {"x": {"y": step}}, "text": f"at {step}"}
    if step == 7777:
        row["once"] = True
    return row


if __name__ == "__main__":
    run = kit.begin("many", "many")
    for step in range(STEPS):
        run.log(row_of(step))
        if step % 10 == 0:
            print(f"step {step}")
    run.finish()
    rows = [{**row_of(step), "_step": step} for step in range(STEPS)]
    summary: dict[str, Any] = {}
    for row in rows:
        summary.update(row)
    summary.pop("nan")
    summary["nan"] = math.nan
    console = [["", f"step {step}"] for step in range(0, STEPS, 10)]
    kit.save("logged.json", {"rows": rows, "summary": summary, "console": console, "state": "finished"})
    entity = wandb.Api().default_entity
    read = kit.read(f"{entity}/many/many")
    kit.save("read.json", read)
    fresh: Any = wandb.Api().run(f"{entity}/many/many")
    frame = fresh.history()
    kit.save(
        "parts.json",
        {
            "sampled": frame["_step"].tolist(),
            "keyed": [row["every/100"] for row in fresh.scan_history(keys=["every/100"])],
            "pair": [row["_step"] for row in fresh.scan_history(keys=["every/2", "every/7"])],
            "once": [[row["_step"], row["once"]] for row in fresh.scan_history(keys=["once"])],
            "some": [row["every/7"] for row in fresh.history(keys=["every/7"], samples=50, pandas=False)],
            "paged": [row["_step"] for row in fresh.scan_history(page_size=100, min_step=50, max_step=5050)],
        },
    )
