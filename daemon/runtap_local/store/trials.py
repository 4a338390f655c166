"""Agents of sweeps, and the trials: which point was handed out to whom as which run."""

import json
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from .sweeps import invented_name
from .tables import agents, runs, sweeps, trials


def register(connection: Connection, sweep_pk: int, user_pk: int, host: str, now: int) -> Row[Any]:
    """Make an agent."""
    name = invented_name()
    values = {"sweep_pk": sweep_pk, "user_pk": user_pk, "name": name, "host": host}
    connection.execute(insert(agents).values(**values, created_at=now, heartbeat_at=now))
    made = agent(connection, sweep_pk, name)
    assert made is not None
    return made


def agent(connection: Connection, sweep_pk: int, name: str) -> Row[Any] | None:
    """An agent of a sweep by its name."""
    return connection.execute(
        select(agents).where(agents.c.sweep_pk == sweep_pk, agents.c.name == name)
    ).first()


def agent_by_pk(connection: Connection, pk: int) -> Row[Any] | None:
    """An agent by its row."""
    return connection.execute(select(agents).where(agents.c.pk == pk)).first()


def agents_of(connection: Connection, sweep_pk: int, limit: int) -> list[Row[Any]]:
    """The agents of a sweep, the oldest first; beyond the limit, the oldest are left out."""
    newest = select(agents).where(agents.c.sweep_pk == sweep_pk).order_by(agents.c.pk.desc()).limit(limit)
    return list(connection.execute(newest))[::-1]


def reported(connection: Connection, agent_pk: int, has: Collection[str], now: int) -> None:
    """Note what an agent says it has."""
    text = json.dumps(sorted(has))
    connection.execute(update(agents).where(agents.c.pk == agent_pk).values(has=text, heartbeat_at=now))
    if has:
        known = (trials.c.agent_pk == agent_pk) & trials.c.run_name.in_(has) & ~trials.c.acknowledged
        connection.execute(update(trials).where(known).values(acknowledged=True))


def told_to_exit(connection: Connection, agent_pk: int) -> None:
    """Note that an agent was sent home."""
    connection.execute(update(agents).where(agents.c.pk == agent_pk).values(told_to_exit=True))


def used(connection: Connection, sweep_pk: int) -> int:
    """How many points are out."""
    statement = select(func.count()).select_from(trials).where(trials.c.sweep_pk == sweep_pk, trials.c.counts)
    return connection.scalar(statement) or 0


def open_trials(connection: Connection, sweep: Row[Any], ended: Iterable[str]) -> list[Row[Any]]:
    """The trials whose runs have not ended, with the state of the run and with what their agent said last."""
    named = (runs.c.project_pk == sweep.project_pk) & (runs.c.name == trials.c.run_name)
    joined = trials.join(agents, agents.c.pk == trials.c.agent_pk).outerjoin(runs, named)
    columns = (*trials.c, runs.c.state.label("run_state"), agents.c.has, agents.c.heartbeat_at)
    unfinished = runs.c.pk.is_(None) | runs.c.state.not_in(tuple(ended))
    statement = select(*columns).select_from(joined)
    statement = statement.where(trials.c.sweep_pk == sweep.pk, trials.c.counts, unfinished)
    return list(connection.execute(statement.order_by(trials.c.number)))


def give(connection: Connection, sweep: Row[Any], agent_pk: int, number: int, attempts: int, now: int) -> str:
    """Hand a point out for the first time or anew, and return the name of its run."""
    name = invented_name()
    while connection.scalar(
        select(runs.c.pk).where(runs.c.project_pk == sweep.project_pk, runs.c.name == name)
    ):
        name = invented_name()
    values = {"sweep_pk": sweep.pk, "agent_pk": agent_pk, "number": number, "run_name": name}
    connection.execute(insert(trials).values(**values, attempts=attempts, given_at=now))
    following = {"next_number": max(sweep.next_number, number + 1)}
    connection.execute(update(sweeps).where(sweeps.c.pk == sweep.pk).values(**following))
    return name


def give_again(connection: Connection, trial_pk: int, agent_pk: int, attempts: int, now: int) -> None:
    """Hand out the same run once more."""
    values = {"agent_pk": agent_pk, "attempts": attempts, "acknowledged": False, "given_at": now}
    connection.execute(update(trials).where(trials.c.pk == trial_pk).values(**values))


def replaced(connection: Connection, trial_pk: int) -> None:
    """Another trial stands for the point now."""
    connection.execute(update(trials).where(trials.c.pk == trial_pk).values(counts=False))


def appeared(connection: Connection, sweep_pk: int, run_name: str) -> None:
    """Note that a run was begun."""
    known = (trials.c.sweep_pk == sweep_pk) & (trials.c.run_name == run_name) & ~trials.c.appeared
    connection.execute(update(trials).where(known).values(appeared=True))


def _runs_of(agent_pk: int, project_pk: int) -> Any:
    named = (runs.c.name == trials.c.run_name) & (runs.c.project_pk == project_pk)
    return trials.join(runs, named), trials.c.agent_pk == agent_pk


def run_count(connection: Connection, agent_pk: int, project_pk: int) -> int:
    """How many runs an agent has begun, those that were deleted left out."""
    joined, own = _runs_of(agent_pk, project_pk)
    return connection.scalar(select(func.count()).select_from(joined).where(own)) or 0


def run_names(connection: Connection, agent_pk: int, project_pk: int) -> list[str]:
    """The ids of an agent's runs, the oldest first."""
    joined, own = _runs_of(agent_pk, project_pk)
    return list(connection.scalars(select(runs.c.name).select_from(joined).where(own).order_by(runs.c.pk)))
