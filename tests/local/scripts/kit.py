"""What the scripts share that log with the real SDK: quick settings, a record of what was logged, and reading it back.

Such a script runs in a process of its own. It writes what it logged into ``logged.json`` and, where it reads its runs
itself, what ``wandb.Api()`` answered into ``read.json``; a test compares the two. Nothing of runtap is imported here,
so that logging scripts run under older SDKs as well.
"""

import base64
import json
import time
from pathlib import Path
from typing import Any

import wandb

# An interval below one second is ignored by the SDK: it falls back to its 15 seconds.
QUICK = {"x_file_stream_transmit_interval": 1.0, "x_stats_sampling_interval": 0.3, "init_timeout": 60}
_OWN = ("_timestamp", "_runtime")


def begin(project: str, run_id: str | None = None, **options: Any) -> Any:
    """Start a run that reports quickly."""
    settings = wandb.Settings(**{**QUICK, **options.pop("settings", {})})
    return wandb.init(project=project, id=run_id, settings=settings, **options)


def save(name: str, value: Any) -> None:
    """Write a record for the test that started this script."""
    Path(name).write_text(json.dumps(value))


def error_of(work: Any) -> str:
    """What a user is told when this fails; an empty text when it does not."""
    try:
        work()
    except (wandb.Error, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def until(holds: Any, seconds: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("waited in vain")
        time.sleep(0.05)


def read(run_path: str) -> dict[str, Any]:
    """Everything that the Public API of SDK 0.31 tells of a run."""
    run: Any = wandb.Api().run(run_path)
    scan = list(run.scan_history())
    files = {file.name: file for file in run.files()}
    return {
        "state": run.state,
        "name": run.name,
        "tags": list(run.tags),
        "notes": run.notes,
        "group": run.group,
        "job_type": run.job_type,
        "config": dict(run.config),
        "summary": run.summary._json_dict,
        "rows": [_without_own(row) for row in scan],
        "sampled": [_without_own(row) for row in run.history(samples=100_000, pandas=False)],
        "times": [row["_timestamp"] for row in scan if "_timestamp" in row],
        "last_step": run.lastHistoryStep,
        "sizes": {name: file.size for name, file in files.items()},
        "files": {name: _content(file) for name, file in files.items()},
        "console": [[line.level, line.content] for line in run.console_logs()],
        "metadata": run.metadata,
        "system": run.system_metrics,
        "events": len(run.history(stream="events", pandas=False)),
    }


def _without_own(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the times that the SDK adds; its step stays."""
    return {key: value for key, value in row.items() if key not in _OWN}


def _content(file: Any) -> str:
    with file.download(root=f"down/{time.monotonic_ns()}") as text:
        name = text.name
    return base64.b64encode(Path(name).read_bytes()).decode()
