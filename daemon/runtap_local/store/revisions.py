"""The revision of a project's runs: a number that moves with every write to any of them.

Triggers keep it, so that no way of writing can forget it, and it is read in the snapshot it tells of. Equal revisions
mean equal lists.
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Integer, Table, select, text

from .tables import metadata

revisions = Table(
    "revisions",
    metadata,
    Column("project_pk", Integer, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)

_CHANGED: Final = {"INSERT": "NEW", "UPDATE": "NEW", "DELETE": "OLD"}
_TRIGGER: Final = """
CREATE TRIGGER IF NOT EXISTS revise_after_{verb} AFTER {verb} ON runs BEGIN
    INSERT INTO revisions (project_pk, revision) VALUES ({row}.project_pk, 1)
    ON CONFLICT (project_pk) DO UPDATE SET revision = revision + 1;
END"""


def keep(connection: Connection) -> None:
    """Have the database keep the revisions from now on."""
    for verb, row in _CHANGED.items():
        connection.exec_driver_sql(_TRIGGER.format(verb=verb, row=row))


def are_kept(connection: Connection) -> bool:
    """Whether the database does so already."""
    found = set(connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")))
    return found >= {f"revise_after_{verb}" for verb in _CHANGED}


def of(connection: Connection, project_pk: int) -> int:
    """The revision of a project's runs in this snapshot."""
    found: Any = connection.scalar(select(revisions.c.revision).where(revisions.c.project_pk == project_pk))
    return int(found or 0)
