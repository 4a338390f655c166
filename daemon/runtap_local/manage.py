"""What the command line does with the database directly, whether a server runs beside it or not."""

import os
from pathlib import Path

from . import auth
from .home import Home
from .store import runs, users
from .store.database import Database
from .times import now_us


def count_runs(path: Path) -> int:
    """How many runs a database holds, served or not."""
    database = Database(path)
    try:
        with database.read() as connection:
            return runs.count_all(connection)
    finally:
        database.close()


def add_user(home: Home, name: str, key: str | None) -> tuple[auth.Viewer, str]:
    """Add a user, or a key to one; works beside a running server, which finds both at once."""
    os.umask(0o077)
    checked = auth.checked_key(key) if key else auth.mint_key()
    database = Database(home.database)
    try:
        with database.write() as connection:
            return users.add(connection, name, checked, now_us()), checked
    finally:
        database.close()


def list_users(home: Home) -> list[auth.Viewer]:
    """All users."""
    database = Database(home.database)
    try:
        with database.read() as connection:
            return users.everyone(connection)
    finally:
        database.close()
