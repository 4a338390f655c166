"""Teams, which are entities that several users share, and who else than its owner may use an entity."""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, or_, select

from ..auth import Viewer
from ..faults import BadRequest
from ..ids import checked_name
from . import users as user_store
from .tables import members, teams, users


@dataclass(frozen=True, slots=True)
class Team:
    """A team, as lists of teams show it."""

    name: str
    created_at: int
    members: int


@dataclass(frozen=True, slots=True)
class Member:
    """A user who may use an entity; of their own they are the ``owner``."""

    pk: int
    name: str
    entity: str
    email: str
    created_at: int
    owner: bool


def add(connection: Connection, name: str, now: int) -> None:
    """Make a team; one that is there already is fine."""
    checked_name("team", name)
    if user_store.by_name(connection, name) is not None:
        raise BadRequest(f"{name!r} is the name of a user already: users and teams share their names")
    if not is_team(connection, name):
        connection.execute(insert(teams).values(name=name, created_at=now))


def everyone(connection: Connection) -> list[Team]:
    """All teams, by name."""
    count = select(func.count()).where(members.c.entity == teams.c.name).scalar_subquery()
    statement = select(teams.c.name, teams.c.created_at, count).order_by(teams.c.name)
    return [Team(*row) for row in connection.execute(statement)]


def is_team(connection: Connection, entity: str) -> bool:
    """Whether the entity is a team's and not a user's own."""
    return connection.scalar(select(teams.c.name).where(teams.c.name == entity)) is not None


def require(connection: Connection, entity: str) -> None:
    """Refuse an entity that is neither a team nor a user's own."""
    if not is_team(connection, entity) and user_store.by_name(connection, entity) is None:
        raise BadRequest(f"there is no user or team {entity!r}: make it with `runtap local team add`")


def join(connection: Connection, entity: str, name: str, now: int) -> None:
    """Let a user see an entity and write to it; one who may already is fine."""
    user = _user(connection, name)
    require(connection, entity)
    if entity == user.entity:
        raise BadRequest(f"entity {entity!r} is the user's own")
    if user.pk not in (member.pk for member in of(connection, entity)):
        values = {"entity": entity, "user_pk": user.pk, "created_at": now}
        connection.execute(insert(members).values(**values))


def leave(connection: Connection, entity: str, name: str) -> None:
    """Take away what ``join`` gave."""
    user = _user(connection, name)
    where = (members.c.entity == entity, members.c.user_pk == user.pk)
    if connection.execute(delete(members).where(*where)).rowcount == 0:
        raise BadRequest(f"user {name!r} is not a member of {entity!r}")


def of(connection: Connection, entity: str) -> list[Member]:
    """Everybody who may use the entity: its owner, if it has one, then those who were added."""
    joined = users.outerjoin(members, (members.c.user_pk == users.c.pk) & (members.c.entity == entity))
    owner = users.c.entity == entity
    statement = (
        select(users.c.pk, users.c.name, users.c.entity, users.c.email, users.c.created_at, owner)
        .select_from(joined)
        .where(or_(owner, members.c.user_pk.is_not(None)))
        .order_by(owner.desc(), members.c.created_at, users.c.pk)
    )
    return [Member(*row) for row in connection.execute(statement)]


def _user(connection: Connection, name: str) -> Viewer:
    user = user_store.by_name(connection, name)
    if user is None:
        raise BadRequest(f"there is no user {name!r}: add them with `runtap local user add`")
    return user
