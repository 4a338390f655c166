"""Mutations of runs: make, change, stop, delete. Null always means: leave it as it is."""

from functools import partial
from typing import Any, Final

from sqlalchemy import Row

from ... import jsontext
from ...faults import BadRequest, Forbidden, NotFound, Unsupported
from ...ids import checked_name
from ...store import projects as project_store
from ...store import runs as run_store
from ...sweeps.running import run_appeared
from ..merging import merged_config
from ..refusals import FORK, SHARED
from .addressing import run_by_id
from .context import Info, RequestContext, context_of
from .projects import allowed_entity

_COLUMNS: Final = {
    "groupName": "group_name",
    "description": "description",
    "displayName": "display_name",
    "notes": "notes",
    "commit": "commit",
    "host": "host",
    "debug": "debug",
    "jobProgram": "program",
    "jobRepo": "repo",
    "jobType": "job_type",
    "state": "state",
    "sweep": "sweep_name",
}
_STATES: Final = {
    "pending", "running", "finished", "crashed", "failed", "killed", "preempting", "preempted", "aborted",
}  # fmt: skip
_ALIVE_US: Final = 60_000_000
"""A program at work is heard of every 30 seconds."""
_STATE_CHANGES: Final = {
    "pending": {"running", "failed", "crashed", "preempted"},
    "failed": {"pending", "running"},
}


def _upsert(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """The one way to make and to change runs, in the three shapes in which clients send it."""
    context = context_of(info)
    values = _values(input)
    addressed = run_by_id(info, input["id"]) if input.get("id") else None
    if addressed is None:
        return _upsert_by_name(info, input, values)
    # The SDK names the run beside its id, the Public API does not: only the SDK goes on logging to it.
    continued = _continued(addressed, context.now) if input.get("modelName") else {}
    _change(context, addressed, {**continued, **values})
    return _changed(context, addressed.pk, False)


def _upsert_by_name(info: Info, input: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    name = input.get("name")
    if not name:
        raise BadRequest("upsertBucket needs the 'id' of a run or its 'name'")
    if _is_forked(values.get("config")):
        raise Unsupported(FORK)
    if "x-wandb-use-async-filestream" in context.headers:
        raise Unsupported(SHARED)
    entity = allowed_entity(info, input.get("entityName"))
    project, _ = project_store.upsert(
        context.connection, entity, input.get("modelName") or "uncategorized", context.viewer.pk, context.now
    )
    found = run_store.find(context.connection, project.pk, name)
    if found is None:
        if _is_late(context, input):
            raise NotFound(
                f"run {entity}/{project.name}/{name} not found: it was deleted while it was logged"
            )
        checked_name("run", name)
        pk = run_store.create(context.connection, project.pk, name, context.viewer.pk, context.now, values)
    else:
        pk = found.pk
        anew = run_store.start_over(context.connection, pk) if _is_anew(context, input, found) else {}
        _change(context, found, {**_continued(found, context.now), **anew, **values})
    return _changed(context, pk, found is None)


def _changed(context: RequestContext, pk: int, inserted: bool) -> dict[str, Any]:
    run = run_store.by_pk(context.connection, pk)
    run_appeared(context.connection, run, context.now)
    return {"bucket": run, "inserted": inserted}


def _is_anew(context: RequestContext, input: dict[str, Any], found: Row[Any]) -> bool:
    """Whether a program begins an existing run anew without resuming it: its data then takes the place of the old.

    Only the setup of a run names a host, and SDKs from 0.18 on name the storage id of a run that they resume (older
    ones cannot be told apart and go on). A run that something may still log to never loses what it has.
    """
    is_setup = bool(input.get("host")) and context.headers.get("user-agent") == "wandb-core"
    alive = found.state in ("running", "preempting") and context.now - found.heartbeat_at < _ALIVE_US
    return is_setup and not alive


def _is_late(context: RequestContext, input: dict[str, Any]) -> bool:
    """Whether a program that logs a run changes its config. Should the run be gone, it stays gone.

    Such a change names nothing but the run, and says in the SDK's own part of the config that the run has started.
    """
    if context.headers.get("user-agent") != "wandb-core" or input.get("host") or input.get("jobProgram"):
        return False
    return "t" in _own_part(input.get("config"), '"t"')


def _change(context: RequestContext, run: Row[Any], values: dict[str, Any]) -> None:
    if context.settings.config_merge == "deep" and run.config and "config" in values:
        merged = merged_config(jsontext.loads(run.config), jsontext.loads(values["config"]))
        values = {**values, "config": jsontext.dumps(merged)}
    run_store.change(context.connection, run.pk, context.now, values)


def _is_forked(config: str | None) -> bool:
    """Whether the SDK means to go on from a step of another run. It says so in its own part of the config only."""
    return bool(_own_part(config, '"branch_point"').get("branch_point"))


def _own_part(config: str | None, word: str) -> dict[str, Any]:
    """What the SDK keeps for itself in a config, which is looked for only where a word of it is in the text."""
    if not config or word not in config:
        return {}
    own = jsontext.loads(config).get("_wandb")
    own = own.get("value") if isinstance(own, dict) else None
    return own if isinstance(own, dict) else {}


def _continued(run: Row[Any], now: int) -> dict[str, Any]:
    """A run that is set up again runs again: this is how the SDK resumes one. It was heard of now, not long ago."""
    if run.state == "running":
        return {"heartbeat_at": now}
    return {"state": "running", "exit_code": None, "stop_requested": False, "heartbeat_at": now}


def _values(input: dict[str, Any]) -> dict[str, Any]:
    values = {column: input[field] for field, column in _COLUMNS.items() if input.get(field) is not None}
    if values.get("state", "running") not in _STATES:
        raise BadRequest(f"unknown state {values['state']!r}; known are {', '.join(sorted(_STATES))}")
    if values.get("display_name") == "":
        del values["display_name"]  # a run always has a name to show
    if input.get("tags") is not None:
        values["tags"] = jsontext.dumps(list(dict.fromkeys(input["tags"])))
    for field, column in (("config", "config"), ("summaryMetrics", "summary_metrics")):
        if input.get(field) is not None:
            values[column] = _checked_object(field, input[field])
    return values


def _checked_object(field: str, text: str) -> str:
    try:
        value = jsontext.received(text or "{}")
    except ValueError as error:
        raise BadRequest(f"{field} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequest(f"{field} must be a JSON object, not {type(value).__name__}")
    return text or "{}"


def _delete(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    run = run_by_id(info, input["id"])
    blobs = run_store.remove(context.connection, run.pk)
    project_store.touch(context.connection, run.project_pk, context.now)
    context.after_commit.extend(partial(context.delete_blob, blob) for blob in blobs)
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


def _update_state(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    run, state = run_by_id(info, input["id"]), input["state"]
    if state not in _STATE_CHANGES:
        raise BadRequest(f"a run can be set to {' or '.join(sorted(_STATE_CHANGES))}, not to {state!r}")
    if run.sweep_name:
        raise Forbidden(
            f"run {run.name} belongs to sweep {run.sweep_name}: its state is the sweep's business"
        )
    if run.state not in _STATE_CHANGES[state]:
        allowed = ", ".join(sorted(_STATE_CHANGES[state]))
        raise BadRequest(f"run {run.name} is {run.state}: only {allowed} runs can be set to {state}")
    changes: dict[str, Any] = {"state": state}
    if state == "pending":
        changes.update(exit_code=None, stop_requested=False)  # it is to be started again
    run_store.change(context.connection, run.pk, context.now, changes)
    return {"success": True}


def _stop(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Ask the program that logs the run to stop; it learns of it with its next stream request. Without one, nothing."""
    context = context_of(info)
    run = run_by_id(info, input["id"])
    if run.state in ("running", "preempting"):
        run_store.change(context.connection, run.pk, context.now, {"stop_requested": True})
    return {"success": True}


RESOLVERS: dict[str, dict[str, Any]] = {
    "UpsertBucketPayload": {"serverSettings": lambda payload, info: {"serverMessages": []}},
    "Mutation": {
        "upsertBucket": _upsert,
        "deleteRun": _delete,
        "updateRunState": _update_state,
        "stopRun": _stop,
    },
}
