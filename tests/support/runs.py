"""Runs as values, for tests that need one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from runtapd.model.run import RunData


def make_run(run_id: str = "r1", *, entity: str = "team", project: str = "vision", **fields: Any) -> RunData:
    """A run with a small config and summary; documents may be given as values."""
    for name in ("config", "summary"):
        if name in fields and not isinstance(fields[name], str):
            fields[name] = json.dumps(fields[name])
    base = RunData(
        storage_id=f"storage-{run_id}",
        entity=entity,
        project=project,
        run_id=run_id,
        display_name=f"name of {run_id}",
        state="finished",
        created_at="2026-01-01T00:00:00Z",
        tags=("base",),
        config='{"lr":{"value":0.1,"desc":null}}',
        summary='{"acc":0.5}',
    )
    return replace(base, **fields)
