"""Resolvers of a run's own fields."""

from typing import Any

from sqlalchemy import Row

from ... import jsontext
from ...ids import run_id
from ...store import lines
from ...store.lines import Stream
from ...times import to_wire
from .context import Info, context_of
from .projects import project_of

Run = Row[Any]


def _id(run: Run, _info: Info) -> str:
    return run_id(run.entity, run.project_name, run.name)


def _user(run: Run, _info: Info) -> dict[str, Any]:
    """Never null: readers stop at a run without a user, some of them without a word."""
    return {"id": str(run.user_pk), "name": run.user_name, "username": run.user_name}


def _tags(run: Run, _info: Info) -> Any:
    return jsontext.loads(run.tags) if run.tags != "[]" else []


def _history_keys(run: Run, _info: Info) -> dict[str, Any] | None:
    if run.last_step is None:
        return None
    keys = jsontext.verbatim(run.history_keys) if run.history_keys else {}
    return {"sets": [], "keys": keys, "lastStep": run.last_step}


def _tail(stream: Stream) -> Any:
    def resolve(run: Run, info: Info) -> str:
        text = lines.last_text(context_of(info).connection, run.pk, stream)
        return jsontext.dumps([] if text is None else [text])

    return resolve


def _wandb_config(run: Run, _info: Info, keys: list[str] | None = None) -> str:
    """The SDK's own part of the config. Its key ``t`` tells a resuming client that the run has really begun."""
    config = jsontext.loads(run.config) if run.config else {}
    own = config.get("_wandb")
    own = own.get("value", own) if isinstance(own, dict) else {}
    return jsontext.dumps(own if keys is None else {key: own[key] for key in keys if key in own})


def _failed(run: Run, _info: Info) -> bool:
    return run.state in ("failed", "crashed", "killed")


RESOLVERS: dict[str, dict[str, Any]] = {
    "Run": {
        "id": _id,
        "name": lambda run, info: run.name,
        "displayName": lambda run, info: run.display_name,
        "projectId": lambda run, info: run.project_pk,
        "project": project_of,
        "entityName": lambda run, info: run.entity,
        "sweepName": lambda run, info: run.sweep_name,
        "state": lambda run, info: run.state,
        "config": lambda run, info: run.config or "{}",
        "group": lambda run, info: run.group_name,
        "groupName": lambda run, info: run.group_name,
        "jobType": lambda run, info: run.job_type,
        "jobProgram": lambda run, info: run.program,
        "commit": lambda run, info: run.commit,
        "host": lambda run, info: run.host,
        "readOnly": lambda run, info: False,
        "createdAt": lambda run, info: to_wire(run.created_at),
        "heartbeatAt": lambda run, info: to_wire(run.heartbeat_at),
        "updatedAt": lambda run, info: to_wire(run.updated_at),
        "description": lambda run, info: run.description,
        "notes": lambda run, info: run.notes,
        "tags": _tags,
        "debug": lambda run, info: run.debug,
        "exitcode": lambda run, info: run.exit_code,
        "stopped": lambda run, info: run.stop_requested,
        "shouldStop": lambda run, info: run.stop_requested,
        "failed": _failed,
        "running": lambda run, info: run.state == "running",
        "user": _user,
        "systemMetrics": lambda run, info: run.system_metrics or "{}",
        "summaryMetrics": lambda run, info: run.summary_metrics or "{}",
        "historyLineCount": lambda run, info: run.history_line_count,
        "eventsLineCount": lambda run, info: run.events_line_count,
        "logLineCount": lambda run, info: run.log_line_count,
        "historyKeys": _history_keys,
        "historyTail": _tail(Stream.HISTORY),
        "eventsTail": _tail(Stream.EVENTS),
        "wandbConfig": _wandb_config,
    }
}
