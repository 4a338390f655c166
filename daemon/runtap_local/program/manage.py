"""What the command line does with the database directly, whether a server runs beside it or not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .. import auth
from ..faults import BadRequest
from ..store import runs, teams, users
from ..store.database import Database
from ..times import now_us
from .home import Home


@contextmanager
def _database(home: Home) -> Iterator[Database]:
    os.umask(0o077)
    database = Database(home.database)
    try:
        yield database
    finally:
        database.close()


def count_runs(home: Home) -> int:
    """How many runs the folder holds, served or not."""
    with _database(home) as database, database.read() as connection:
        return runs.count_all(connection)


def add_user(home: Home, name: str, key: str | None) -> tuple[auth.Viewer, str]:
    """Add a user, or a key to one; works beside a running server, which finds both at once."""
    checked = auth.checked_key(key) if key else auth.mint_key()
    with _database(home) as database, database.write() as connection:
        return users.add(connection, name, checked, now_us()), checked


def remove_user(home: Home, name: str) -> int:
    """Shut a user out; returns how many keys they had. Their runs stay."""
    info = home.info()
    if info is not None and info.entity == name:
        raise BadRequest(f"user {name!r} cannot be removed: local.json holds their key")
    with _database(home) as database, database.write() as connection:
        return users.shut_out(connection, name)


def list_users(home: Home) -> list[tuple[auth.Viewer, int]]:
    """All users, each with the number of their keys."""
    with _database(home) as database, database.read() as connection:
        return users.everyone(connection)


def add_team(home: Home, name: str) -> None:
    """Make a team."""
    with _database(home) as database, database.write() as connection:
        teams.add(connection, name, now_us())


def list_teams(home: Home) -> list[teams.Team]:
    """All teams."""
    with _database(home) as database, database.read() as connection:
        return teams.everyone(connection)


def add_member(home: Home, entity: str, user: str) -> None:
    """Let a user use an entity that is not their own."""
    with _database(home) as database, database.write() as connection:
        teams.join(connection, entity, user, now_us())


def remove_member(home: Home, entity: str, user: str) -> None:
    """Take that away again."""
    with _database(home) as database, database.write() as connection:
        teams.leave(connection, entity, user)


def list_members(home: Home, entity: str) -> list[teams.Member]:
    """Everybody who may use an entity."""
    with _database(home) as database, database.read() as connection:
        teams.require(connection, entity)
        return teams.of(connection, entity)
