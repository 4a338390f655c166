"""`runtap run`: everything about one run, and how a run is shown wherever one is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from runtap.cli.output import json_option, print_json, print_pairs, print_table
from runtap.cli.run_columns import flat, moment, text

if TYPE_CHECKING:
    from runtap.run_object import Run


@click.command()
@click.argument("path")
@json_option
def run(path: str, as_json: bool) -> None:
    """Show one run: what it is, its config, its summary.

    PATH is `entity/project/run_id`, the URL of its page, or shorter with the defaults of programs started here. Long
    values are cut, media are shown by their kind and the logger's own keys left out; JSON has everything.
    """
    from runtap.api import Api

    found = Api().run(path)
    if as_json:
        print_json(as_dict(found))
    else:
        print_run(found)


def as_dict(run: Run) -> dict[str, Any]:
    """A run for programs, by the names of the contract. NaN and infinities are texts, as JSON has none."""
    from runtap.values import spelled

    freshness = run.freshness
    return {
        "id": run.id,
        "entity": run.entity,
        "project": run.project,
        "path": str(run.path),
        "url": run.url,
        "storage_id": run.storage_id,
        "name": run.name,
        "state": run.state,
        "user": run.username,
        "tags": run.tags,
        "notes": run.notes,
        "description": run.description,
        "group": run.group,
        "job_type": run.job_type,
        "sweep_name": run.sweep_name,
        "commit": run.commit,
        "created_at": run.created_at,
        "heartbeat_at": run.heartbeat_at,
        "updated_at": run.updated_at,
        "read_only": run.read_only,
        "history_line_count": run.history_line_count,
        "config": spelled(run.config),
        "summary": spelled(run.summary_metrics),
        "system_metrics": spelled(run.system_metrics),
        "history_keys": spelled(run.history_keys),
        "fetched_at": freshness.fetched_at.isoformat() if freshness.fetched_at else None,
        "pending_writes": freshness.pending_writes,
    }


def print_run(run: Run, above: dict[str, object] | None = None) -> None:
    """A run for people; `above` goes before everything else that is told of it."""
    click.echo(f"{text(run.name) or run.id} ({run.state or 'state unknown'})")
    seconds = run.summary_metrics.get("_runtime")
    pairs = {
        **(above or {}),
        "path": run.path,
        "page": run.url,
        "user": run.user,
        "created": moment(run.created_at),
        "last sign of life": moment(run.heartbeat_at),
        "ran for": None if seconds is None else f"{text(seconds)} s",
        "tags": ", ".join(run.tags),
        "group": run.group,
        "job type": run.job_type,
        "sweep": run.sweep_name,
        "commit": run.commit,
        "notes": run.notes,
        "last step": run.last_history_step if run.last_history_step >= 0 else None,
        "unsent writes": run.freshness.pending_writes or None,
    }
    print_pairs({name: text(str(value), widest=None) for name, value in pairs.items() if value is not None})
    for title, document in (("config", run.config), ("summary", run.summary_metrics)):
        rows = [(text(key), text(value)) for key, value in flat(document) if not key.startswith("_")]
        print_table(title, ("key", "value"), rows)
