"""The ways from one format of the database to the next, for data that was written by an older version."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

Step = Callable[[Connection], None]


def _to_2(_connection: Connection) -> None:
    """Format 2 has more tables, which are made before any step is taken."""


STEPS: Final[dict[int, Step]] = {1: _to_2}
"""What leads from each format to the one after it."""


def migrate(connection: Connection, found: int, wanted: int) -> None:
    """Take every step from the format found to the one wanted."""
    for version in range(found, wanted):
        STEPS[version](connection)
