"""Sweeps: one row each, and the runs that belong to it by its name."""

import secrets
import string
from collections.abc import Collection, Iterator
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, case, delete, func, insert, select, update

from . import runs as run_store
from .tables import agents, projects, runs, sweeps, trials, users

_ALPHABET: Final = string.ascii_lowercase + string.digits
_NAME_LENGTH: Final = 8
_PART: Final = 500
_JOINED: Final = (
    projects.c.name.label("project_name"),
    projects.c.entity.label("entity"),
    users.c.name.label("user_name"),
)


def _select() -> Select[Any]:
    joined = sweeps.join(projects, projects.c.pk == sweeps.c.project_pk)
    joined = joined.join(users, users.c.pk == sweeps.c.user_pk)
    return select(*sweeps.c, *_JOINED).select_from(joined)


def invented_name() -> str:
    """A short name as the SDK makes them for runs."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_NAME_LENGTH))


def find(connection: Connection, project_pk: int, name: str) -> Row[Any] | None:
    """The sweep of that name."""
    statement = _select().where(sweeps.c.project_pk == project_pk, sweeps.c.name == name)
    return connection.execute(statement).first()


def by_pk(connection: Connection, pk: int) -> Row[Any]:
    """The sweep of a row that points to it."""
    return connection.execute(_select().where(sweeps.c.pk == pk)).one()


def by_path(connection: Connection, entity: str, project: str, name: str) -> Row[Any] | None:
    """A sweep by its full name."""
    statement = _select().where(
        projects.c.entity == entity, projects.c.name == project, sweeps.c.name == name
    )
    return connection.execute(statement).first()


def page(connection: Connection, project_pk: int, offset: int, limit: int) -> list[Row[Any]]:
    """A page of a project's sweeps, the newest first."""
    statement = _select().where(sweeps.c.project_pk == project_pk)
    statement = statement.order_by(sweeps.c.created_at.desc(), sweeps.c.pk.desc()).offset(offset).limit(limit)
    return list(connection.execute(statement))


def count(connection: Connection, project_pk: int) -> int:
    """How many sweeps a project has."""
    statement = select(func.count()).select_from(sweeps).where(sweeps.c.project_pk == project_pk)
    return connection.scalar(statement) or 0


def create(
    connection: Connection, project_pk: int, user_pk: int, state: str, now: int, values: dict[str, Any]
) -> Row[Any]:
    """Make a sweep; its name and the seed of its chance are invented."""
    name = invented_name()
    while find(connection, project_pk, name) is not None:
        name = invented_name()
    fixed = {
        "project_pk": project_pk,
        "user_pk": user_pk,
        "name": name,
        "state": state,
        "seed": secrets.randbits(62),
        "created_at": now,
        "updated_at": now,
    }
    connection.execute(insert(sweeps).values(**values, **fixed))
    made = find(connection, project_pk, name)
    assert made is not None
    return made


def change(connection: Connection, pk: int, now: int, values: dict[str, Any]) -> None:
    """Write to a sweep. ``updated_at`` moves forward even when two writes share a tick of the clock."""
    later = case((sweeps.c.updated_at >= now, sweeps.c.updated_at + 1), else_=now)
    connection.execute(update(sweeps).where(sweeps.c.pk == pk).values(**values, updated_at=later))


def heard_of(connection: Connection, pk: int, now: int) -> None:
    """Note that an agent reported, which changes nothing else about the sweep."""
    connection.execute(update(sweeps).where(sweeps.c.pk == pk).values(heartbeat_at=now))


def remove(connection: Connection, sweep: Row[Any], now: int) -> None:
    """Delete a sweep. Its runs stay, as runs of no sweep."""
    for pk in list(connection.scalars(select(runs.c.pk).where(_belongs(sweep)))):
        run_store.change(connection, pk, now, {"sweep_name": None})
    connection.execute(delete(trials).where(trials.c.sweep_pk == sweep.pk))
    connection.execute(delete(agents).where(agents.c.sweep_pk == sweep.pk))
    connection.execute(delete(sweeps).where(sweeps.c.pk == sweep.pk))


# --- the runs of a sweep


def _belongs(sweep: Row[Any]) -> Any:
    return (runs.c.project_pk == sweep.project_pk) & (runs.c.sweep_name == sweep.name)


def run_count(connection: Connection, sweep: Row[Any]) -> int:
    """How many runs a sweep has."""
    return connection.scalar(select(func.count()).select_from(runs).where(_belongs(sweep))) or 0


def run_summaries(connection: Connection, sweep: Row[Any]) -> Iterator[str]:
    """The summaries of a sweep's runs, those that have one, a part at a time."""
    found = connection.execution_options(yield_per=_PART).execute(
        select(runs.c.summary_metrics).where(_belongs(sweep), runs.c.summary_metrics.is_not(None))
    )
    yield from found.scalars()


def adopt(connection: Connection, sweep: Row[Any], pks: Collection[int], now: int) -> None:
    """Add existing runs to a sweep."""
    for pk in pks:
        run_store.change(connection, pk, now, {"sweep_name": sweep.name})
