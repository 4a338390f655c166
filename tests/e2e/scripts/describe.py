"""Prints all that a client tells of a project's runs. Arguments: client module, path of the project."""

import importlib
import json
import math
import sys
from typing import Any

client = importlib.import_module(sys.argv[1])
path = sys.argv[2]
extra: dict[str, Any] = {} if sys.argv[1] == "runtap" else {"lazy": False}


def plain(value: Any) -> Any:
    """Makes values comparable across JSON: numbers as floats where they are whole, non-finite ones by name."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, int):
        return value
    if hasattr(value, "items"):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value)}: {value!r}")


def describe(run: Any) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "display_name": run.display_name,
        "state": run.state,
        "tags": sorted(run.tags),
        "notes": run.notes,
        "group": run.group,
        "job_type": run.job_type,
        "path": list(run.path),
        "url": run.url,
        "entity": run.entity,
        "project": run.project,
        "storage_id": run.storage_id,
        "created_at": run.created_at,
        "heartbeat_at": run.heartbeat_at,
        "user": [run.user.name, run.user.username],
        "commit": run.commit,
        "sweep_name": run.sweep_name,
        "read_only": run.read_only,
        "config": plain(run.config),
        "rawconfig": plain(run.rawconfig),
        "summary": plain(run.summary._json_dict),
        "summary_metrics": plain(run.summary_metrics),
        "system_metrics": plain(run.system_metrics),
        "history_keys": plain(run.history_keys),
        "last_step": run.lastHistoryStep,
        "scan": [plain(row) for row in run.scan_history()],
        "scan_keys": [plain(row) for row in run.scan_history(keys=["loss", "val/acc"])],
        "scan_range": [plain(row) for row in run.scan_history(min_step=3, max_step=9)],
        "history": [plain(row) for row in run.history(samples=1000, pandas=False)],
        "frame": sorted(run.history(samples=1000).columns),
        "events": [plain(row) for row in run.history(stream="events", pandas=False)],
    }


api = client.Api()
runs = api.runs(path, order="+created_at", **extra)
listed = [describe(run) for run in runs]
print(
    json.dumps(
        {
            "len": len(runs),
            "listed": listed,
            "single": [describe(api.run(f"{path}/{run['id']}")) for run in listed],
            "newest_first": [run.id for run in api.runs(path, order="-created_at", **extra)],
            "filtered": [
                run.id for run in api.runs(path, {"config.lr": {"$gt": 0.05}}, order="+created_at", **extra)
            ],
            "failed": [run.id for run in api.runs(path, {"state": "failed"}, **extra)],
            "by_summary": [run.id for run in api.runs(path, order="+summary_metrics.loss", **extra)],
            "viewer": api.viewer.username,
            "entity": api.default_entity,
        }
    )
)
