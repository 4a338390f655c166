"""Users and their keys. A key is kept as a hash only."""

from sqlalchemy import Connection, delete, func, insert, select

from ..auth import Viewer, digest
from ..faults import BadRequest
from ..ids import checked_name
from .tables import api_keys, members, teams, users

_VIEWER = (users.c.pk, users.c.name, users.c.entity, users.c.email, users.c.created_at)


def by_key(connection: Connection, key: str) -> Viewer | None:
    """Whose key this is."""
    statement = select(*_VIEWER).join(api_keys).where(api_keys.c.digest == digest(key))
    row = connection.execute(statement).first()
    if row is None:
        return None
    others = connection.scalars(select(members.c.entity).where(members.c.user_pk == row.pk))
    return Viewer(*row, others=frozenset(others))


def by_name(connection: Connection, name: str) -> Viewer | None:
    """The user of that name."""
    row = connection.execute(select(*_VIEWER).where(users.c.name == name)).first()
    return None if row is None else Viewer(*row)


def everyone(connection: Connection) -> list[tuple[Viewer, int]]:
    """All users with the number of their keys, in the order they came."""
    keys = select(func.count()).where(api_keys.c.user_pk == users.c.pk).scalar_subquery()
    rows = connection.execute(select(*_VIEWER, keys).order_by(users.c.pk))
    return [(Viewer(*row[:-1]), row[-1]) for row in rows]


def add(connection: Connection, name: str, key: str, now: int) -> Viewer:
    """Make the user where there is none, and let the key be theirs as well."""
    checked_name("user", name)
    owner = by_key(connection, key)
    if owner is not None and owner.name != name:
        raise BadRequest(f"this API key already belongs to user {owner.name!r}: give another one")
    user = by_name(connection, name)
    if user is None:
        if connection.scalar(select(teams.c.name).where(teams.c.name == name)) is not None:
            raise BadRequest(f"{name!r} is the name of a team already: users and teams share their names")
        values = {"name": name, "entity": name, "email": f"{name}@localhost", "created_at": now}
        connection.execute(insert(users).values(**values))
        user = by_name(connection, name)
        assert user is not None
    if owner is None:
        connection.execute(insert(api_keys).values(user_pk=user.pk, digest=digest(key), created_at=now))
    return user


def shut_out(connection: Connection, name: str) -> int:
    """Take all keys and memberships from a user, whose runs stay; returns how many keys they had."""
    user = by_name(connection, name)
    if user is None:
        raise BadRequest(f"there is no user {name!r}")
    connection.execute(delete(members).where(members.c.user_pk == user.pk))
    return connection.execute(delete(api_keys).where(api_keys.c.user_pk == user.pk)).rowcount
