"""Resolvers of sweeps: their fields, their lists, and the mutations that make, change and delete them."""

from typing import Any, Final

from sqlalchemy import Row

from ... import jsontext
from ...faults import BadRequest, NotFound
from ...ids import Place, split_sweep_id, sweep_id
from ...store import projects as project_store
from ...store import sweeps as sweep_store
from ...store.listing import Lists, understand
from ...sweeps import score
from ...sweeps.commands import State, changed_state
from ...sweeps.config import SweepConfig
from ...sweeps.config import understand as understand_config
from ...times import to_wire
from . import sweep_agents
from .context import MAX_PAGE, Info, RequestContext, connection, context_of, window
from .projects import allowed_entity, project_of
from .sweep_runs import some_runs

_MAX_INT: Final = 2**31 - 1

Sweep = Row[Any]


# --- reading


def _sweeps(
    project: Row[Any],
    info: Info,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = 50,
) -> dict[str, Any]:
    context = context_of(info)
    if filters and jsontext.loads(filters):
        raise BadRequest("this server does not filter sweeps: ask for all of them")
    offset, limit = window(first, after)
    rows = sweep_store.page(context.connection, project.pk, offset, limit + 1)
    return connection(rows[:limit], offset, len(rows) > limit)


def _sweep(project: Row[Any], info: Info, sweepName: str) -> Sweep | None:
    return sweep_store.find(context_of(info).connection, project.pk, sweepName)


def _sweep_of_run(run: Row[Any], info: Info) -> Sweep | None:
    context = context_of(info)
    if not run.sweep_name:
        return None
    key = ("sweep", run.project_pk, run.sweep_name)
    return context.once(key, lambda: sweep_store.find(context.connection, run.project_pk, run.sweep_name))


def _config(sweep: Sweep) -> SweepConfig:
    return understand_config(sweep.config)


def _expected(sweep: Sweep, _info: Info) -> int | None:
    total = _config(sweep).total
    return total if total is not None and total <= _MAX_INT else None


def _best_loss(sweep: Sweep, info: Info) -> float | None:
    metric = _config(sweep).metric
    if metric is None:
        return None
    return score.best(metric, sweep_store.run_summaries(context_of(info).connection, sweep))


def _user(sweep: Sweep, _info: Info) -> dict[str, Any]:
    return {"id": str(sweep.user_pk), "name": sweep.user_name, "username": sweep.user_name}


def _runs(
    sweep: Sweep,
    info: Info,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    """The runs of the sweep. The SDK asks for them without a limit and does not turn pages."""
    own = {"sweep": sweep.name}
    return some_runs(project_of(sweep, info), info, own, filters, after, first, order)


# --- writing


def sweep_by_id(info: Info, storage_id: str) -> Sweep:
    """The sweep of an id. One of others is as good as none: whether it exists is not for all to know."""
    context = context_of(info)
    parts = split_sweep_id(storage_id)
    found = sweep_store.by_path(context.connection, *parts) if parts else None
    if found is None or not context.viewer.may_use(found.entity):
        raise NotFound(f"no sweep has the id {storage_id[:200]!r}")
    return found


def _upsert(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    for name in ("controller", "scheduler", "launchScheduler"):
        if input.get(name) not in (None, "null", "{}", ""):
            raise BadRequest(f"{name} is not offered: this server searches by itself; leave it out")
    changed = sweep_by_id(info, input["id"]) if input.get("id") else None
    config = understand_config(input["config"]) if input.get("config") is not None else None
    if changed is not None:
        _change(context, changed, config, input)
        sweep = sweep_store.by_pk(context.connection, changed.pk)
    else:
        sweep = _create(info, config, input)
    if input.get("priorRunsFilters"):
        _adopt(context, sweep, input["priorRunsFilters"])
    warnings = list(config.warnings) if config else []
    return {"sweep": sweep, "inserted": changed is None, "configValidationWarnings": warnings}


def _create(info: Info, config: SweepConfig | None, input: dict[str, Any]) -> Sweep:
    context = context_of(info)
    if config is None:
        raise BadRequest("config is missing: a new sweep needs one, as YAML")
    state = changed_state(State.PENDING, input.get("state") or "PENDING")
    entity = allowed_entity(info, input.get("entityName"))
    project, _ = project_store.upsert(
        context.connection,
        entity,
        input.get("projectName") or "uncategorized",
        context.viewer.pk,
        context.now,
    )
    description = config.raw.get("description") if input.get("description") is None else input["description"]
    values = {
        "config": input["config"],
        "display_name": input.get("displayName") or None,
        "description": description,
    }
    return sweep_store.create(
        context.connection, project.pk, context.viewer.pk, state.value, context.now, values
    )


def _change(context: RequestContext, sweep: Sweep, config: SweepConfig | None, input: dict[str, Any]) -> None:
    values: dict[str, Any] = {}
    if config is not None:
        if sweep.next_number and not config.searches_like(_config(sweep)):
            raise BadRequest(
                f"sweep {sweep.name} has begun: its method and parameters can no longer change; make a new sweep"
            )
        values["config"] = input["config"]
    if input.get("description") is not None:
        values["description"] = input["description"]
    if input.get("displayName") is not None:
        values["display_name"] = input["displayName"] or None
    if input.get("state") is not None:
        values["state"] = changed_state(State(sweep.state), input["state"]).value
    sweep_store.change(context.connection, sweep.pk, context.now, values)


def _adopt(context: RequestContext, sweep: Sweep, filters: str) -> None:
    lists = Lists(context.connection, context.remembered, sweep.project_pk)
    page = lists.page(understand(filters, "+created_at"), Place(0), MAX_PAGE, ())
    if page.more:
        raise BadRequest(f"priorRunsFilters match more than {MAX_PAGE} runs")
    sweep_store.adopt(context.connection, sweep, [row.pk for row in page.rows], context.now)


def _delete(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Delete a sweep; its runs stay, and its agents are told that it is gone."""
    context = context_of(info)
    sweep_store.remove(context.connection, sweep_by_id(info, input["id"]), context.now)
    return {"success": True}


def _enqueue(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    sweep_by_id(info, input["id"])
    raise BadRequest("runs of a sweep cannot be queued here: this server chooses the points by itself")


RESOLVERS: dict[str, dict[str, Any]] = {
    **sweep_agents.RESOLVERS,
    "Mutation": {
        "upsertSweep": _upsert,
        "deleteSweep": _delete,
        "enqueueSweepRun": _enqueue,
        **sweep_agents.MUTATIONS,
    },
    "Project": {
        "totalSweeps": lambda project, info: sweep_store.count(context_of(info).connection, project.pk),
        "sweeps": _sweeps,
        "sweep": _sweep,
    },
    "Run": {"sweep": _sweep_of_run},
    "Sweep": {
        "id": lambda sweep, info: sweep_id(sweep.entity, sweep.project_name, sweep.name),
        "name": lambda sweep, info: sweep.name,
        "displayName": lambda sweep, info: sweep.display_name,
        "method": lambda sweep, info: _config(sweep).method,
        "state": lambda sweep, info: sweep.state,
        "description": lambda sweep, info: sweep.description,
        "bestLoss": _best_loss,
        "config": lambda sweep, info: sweep.config,
        "createdAt": lambda sweep, info: to_wire(sweep.created_at),
        "updatedAt": lambda sweep, info: to_wire(sweep.updated_at),
        "heartbeatAt": lambda sweep, info: to_wire(sweep.heartbeat_at),
        "runCount": lambda sweep, info: sweep_store.run_count(context_of(info).connection, sweep),
        "runCountExpected": _expected,
        "project": project_of,
        "user": _user,
        "runs": _runs,
        **sweep_agents.OF_SWEEPS,
        "earlyStopJobRunning": lambda sweep, info: False,
        "controller": lambda sweep, info: None,
        "scheduler": lambda sweep, info: None,
    },
}
