"""Resolvers of sweep agents: how they register, what they report, and what they are told."""

from typing import Any, Final

from sqlalchemy import Row

from ... import jsontext
from ...faults import BadRequest, NotFound
from ...ids import agent_id, split_agent_id
from ...store import projects as project_store
from ...store import sweeps as sweep_store
from ...store import trials
from ...sweeps import running
from ...times import to_wire
from .context import MAX_PAGE, Info, connection, context_of
from .sweep_runs import some_runs

_MAX_HOST: Final = 256
_MAX_RUNS_AT_ONCE: Final = 1000

Agent = Row[Any]
Sweep = Row[Any]


def silence_us(info: Info) -> int:
    """What makes an agent silent: as long as makes a run crashed, since both go down with their machine."""
    return int(context_of(info).settings.crash_after_s * 1_000_000)


def _agents(sweep: Sweep, info: Info) -> dict[str, Any]:
    return connection(trials.agents_of(context_of(info).connection, sweep.pk, MAX_PAGE), 0, False)


def _agent(sweep: Sweep, info: Info, agentName: str) -> Agent | None:
    database = context_of(info).connection
    pk = split_agent_id(agentName)
    found = trials.agent_by_pk(database, pk) if pk is not None else None
    if found is not None and found.sweep_pk == sweep.pk:
        return found
    return trials.agent(database, sweep.pk, agentName)


def _sweep_of(agent: Agent, info: Info) -> Sweep:
    context = context_of(info)
    return context.once(
        ("sweep", agent.sweep_pk), lambda: sweep_store.by_pk(context.connection, agent.sweep_pk)
    )


def _state(agent: Agent, info: Info) -> str:
    silent = agent.heartbeat_at < context_of(info).now - silence_us(info)
    return "FINISHED" if silent or agent.told_to_exit else "RUNNING"


def _total_runs(agent: Agent, info: Info) -> int:
    return trials.run_count(context_of(info).connection, agent.pk, _sweep_of(agent, info).project_pk)


def _runs(
    agent: Agent,
    info: Info,
    after: str | None = None,
    before: str | None = None,
    first: int | None = 50,
    last: int | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    if before is not None or last is not None:
        raise BadRequest("the runs of an agent are listed forward: give 'first' and 'after'")
    context = context_of(info)
    project = project_store.by_pk(context.connection, _sweep_of(agent, info).project_pk)
    own = {"name": {"$in": trials.run_names(context.connection, agent.pk, project.pk)}}
    return some_runs(project, info, own, None, after, first, order)


def _create(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    entity = context.viewer.meant(input.get("entityName"))
    project = input.get("projectName") or "uncategorized"
    name = input["sweep"]
    found = sweep_store.by_path(context.connection, entity, project, name) if entity else None
    if found is None:
        raise NotFound(
            f"sweep {(input.get('entityName') or context.viewer.entity)[:130]}/{project[:130]}/{name[:130]} not found"
        )
    host = input["host"][:_MAX_HOST]
    made = trials.register(context.connection, found.pk, context.viewer.pk, host, context.now)
    return {"agent": made}


def _heartbeat(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    pk = split_agent_id(input["id"])
    agent = trials.agent_by_pk(context.connection, pk) if pk is not None else None
    sweep = _sweep_of(agent, info) if agent is not None else None
    if agent is None or sweep is None or not context.viewer.may_use(sweep.entity):
        # The one status from which agents learn that their sweep is gone.
        raise NotFound("no such agent: its sweep was deleted, or it is another's")
    has = _running(input.get("runState"))
    commands = running.report(context.connection, sweep, agent.pk, has, context.now, silence_us(info))
    return {"agent": agent, "commands": jsontext.dumps(commands)}


def _running(text: str | None) -> set[str]:
    """The runs that an agent says it has."""
    try:
        states = jsontext.loads(text) if text else {}
    except ValueError as error:
        raise BadRequest(f"runState is not valid JSON: {error}") from None
    if not isinstance(states, dict | None) or len(states or {}) > _MAX_RUNS_AT_ONCE:
        raise BadRequest(
            f"runState must be an object of at most {_MAX_RUNS_AT_ONCE} {{run id: true or false}}"
        )
    return {str(jsontext.storable(name))[:128] for name, runs in (states or {}).items() if runs}


MUTATIONS: dict[str, Any] = {"createAgent": _create, "agentHeartbeat": _heartbeat}
OF_SWEEPS: dict[str, Any] = {"agents": _agents, "agent": _agent}
RESOLVERS: dict[str, dict[str, Any]] = {
    "Agent": {
        "id": lambda agent, info: agent_id(agent.pk),
        "name": lambda agent, info: agent.name,
        "host": lambda agent, info: agent.host,
        "state": _state,
        "totalRuns": _total_runs,
        "createdAt": lambda agent, info: to_wire(agent.created_at),
        "heartbeatAt": lambda agent, info: to_wire(agent.heartbeat_at),
        "runs": _runs,
    },
}
