"""The ways from one format of the database to the next, for data that was written by an older version."""

from collections.abc import Callable
from itertools import groupby
from typing import Final

from sqlalchemy import Connection

from .lines import Line, Stream, put

Step = Callable[[Connection], None]

_AT_ONCE: Final = 1024


def _to_2(connection: Connection) -> None:
    """Format 2 keeps lines in chunks, format 1 had a row for each. Its other tables are new, and made by now."""
    streams = connection.exec_driver_sql("SELECT DISTINCT run_pk, stream FROM lines").all()
    for run_pk, stream in streams:
        found = connection.exec_driver_sql(
            "SELECT line, step, text FROM lines WHERE run_pk = ? AND stream = ? ORDER BY line",
            (run_pk, stream),
        )
        for part in found.partitions(_AT_ONCE):
            lines = [Line(*row) for row in part]
            # Lines may lack where a client never sent them.
            for _, together in groupby(enumerate(lines), lambda each: each[1].number - each[0]):
                put(connection, run_pk, Stream(stream), [line for _, line in together])
    connection.exec_driver_sql("DROP TABLE lines")
    connection.exec_driver_sql("CREATE INDEX runs_by_sweep ON runs (project_pk, sweep_name)")


STEPS: Final[dict[int, Step]] = {1: _to_2}
"""What leads from each format to the one after it."""


def migrate(connection: Connection, found: int, wanted: int) -> None:
    """Take every step from the format found to the one wanted."""
    for version in range(found, wanted):
        STEPS[version](connection)
