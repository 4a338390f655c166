"""Prints all that a client tells of projects and sweeps. Arguments: client module, path of the project, sweep ids."""

import importlib
import json
import sys
from typing import Any

client = importlib.import_module(sys.argv[1])
entity, project = sys.argv[2].split("/")
ORDERS = ("loss", "-loss", "+loss", "summary_metrics.loss", "+summary_metrics.acc", "+config.a.value")
api = client.Api()


def best(sweep: Any, order: str | None) -> str | None:
    run = sweep.best_run(order)
    return None if run is None else str(run.id)


def describe(sweep: Any) -> dict[str, Any]:
    return {
        "id": sweep.id,
        "name": sweep.name,
        "entity": sweep.entity,
        "project": sweep.project,
        "path": list(sweep.path),
        "url": sweep.url,
        "config": sweep.config,
        "order": sweep.order,
        "state": sweep.state,
        "best_loss": sweep.best_loss,
        "expected_run_count": sweep.expected_run_count,
        "runs": sorted(run.id for run in sweep.runs),
        "length": len(sweep.runs),
        "best": best(sweep, None) if sweep.order else "",
        "ordered": [best(sweep, order) for order in ORDERS] if len(sweep.runs) else [],
    }


def told(found: Any) -> list[Any]:
    return [
        found.name,
        found.entity,
        list(found.path),
        found.url,
        found.id,
        found.created_at,
        found.is_benchmark,
    ]


def recipes(sweep_id: str) -> dict[str, Any]:
    """The guide's recipes about sweeps and commits, word for word but for the paths."""
    sweep = api.sweep(f"{entity}/{project}/{sweep_id}")
    sweep_runs = sweep.runs
    best_run = sweep.best_run()
    runs = sorted(sweep.runs, key=lambda run: run.summary.get("acc", 0), reverse=True)
    run = api.run(f"{entity}/{project}/{runs[0].id}")
    return {
        "17": sorted(run.id for run in sweep_runs),
        "18": [best_run.id, best_run.name, best_run.summary["loss"], best_run.config["a"]],
        "19": [runs[0].id, runs[0].summary.get("acc", 0)],
        "23": run.commit,
    }


print(
    json.dumps(
        {
            "sweeps": [describe(api.sweep(f"{entity}/{project}/{sweep}")) for sweep in sys.argv[3:]],
            "of_project": [sweep.id for sweep in api.project(project, entity).sweeps()],
            "projects": [told(found) for found in api.projects(entity)],
            "default": [found.name for found in api.projects()],
            "indexed": api.projects(entity, per_page=1)[1].name,
            "project": told(api.project(project, entity)),
            "recipes": recipes(sys.argv[3]),
        }
    )
)
