"""Projects: found by entity and name, made on first use, ordered by their latest activity."""

from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from ..ids import checked_name
from .moments import later
from .tables import projects, users

_COLUMNS = (*projects.c, users.c.name.label("user_name"))


def _select() -> Select[Any]:
    return select(*_COLUMNS).join(users, users.c.pk == projects.c.user_pk)


def find(connection: Connection, entity: str, name: str) -> Row[Any] | None:
    """The project of that name."""
    return connection.execute(_select().where(projects.c.entity == entity, projects.c.name == name)).first()


def by_pk(connection: Connection, pk: int) -> Row[Any]:
    """The project of a row that points to it."""
    return connection.execute(_select().where(projects.c.pk == pk)).one()


def page(connection: Connection, entity: str, offset: int, limit: int) -> list[Row[Any]]:
    """A page of an entity's projects, the most recently active first."""
    statement = _select().where(projects.c.entity == entity)
    statement = (
        statement.order_by(projects.c.updated_at.desc(), projects.c.pk.desc()).offset(offset).limit(limit)
    )
    return list(connection.execute(statement))


def upsert(
    connection: Connection,
    entity: str,
    name: str,
    user_pk: int,
    now: int,
    changes: dict[str, Any] | None = None,
) -> tuple[Row[Any], bool]:
    """The project, made where it was not there yet (then True), with ``changes`` applied."""
    found = find(connection, entity, name)
    if found is None:
        checked_name("project", name)
        values = {"entity": entity, "name": name, "user_pk": user_pk, "created_at": now, "updated_at": now}
        connection.execute(insert(projects).values(**values, **(changes or {})))
    elif changes:
        connection.execute(
            update(projects)
            .where(projects.c.pk == found.pk)
            .values(**changes, updated_at=later(projects.c.updated_at, now))
        )
    else:
        return found, False
    row = find(connection, entity, name)
    assert row is not None
    return row, found is None


def touch(connection: Connection, pk: int, now: int) -> None:
    """Note that something happened in the project that is no write to one of its runs."""
    moved = later(projects.c.updated_at, now)
    connection.execute(update(projects).where(projects.c.pk == pk).values(updated_at=moved))
