"""The files of runs as the database knows them: name, size, checksum, and which blob holds the bytes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from .tables import files, projects, runs


def listing(connection: Connection, run_pk: int) -> list[Row[Any]]:
    """All files of a run, by name."""
    return list(connection.execute(select(*files.c).where(files.c.run_pk == run_pk).order_by(files.c.name)))


def count(connection: Connection, run_pk: int) -> int:
    """How many files a run has."""
    return connection.scalar(select(func.count()).select_from(files).where(files.c.run_pk == run_pk)) or 0


def find(connection: Connection, run_pk: int, name: str) -> Row[Any] | None:
    """A file by its name."""
    return connection.execute(select(*files.c).where(files.c.run_pk == run_pk, files.c.name == name)).first()


def put(connection: Connection, run_pk: int, name: str, values: dict[str, Any]) -> str | None:
    """Register a file; returns the blob it replaces, to be deleted once that is certain."""
    old = find(connection, run_pk, name)
    if old is None:
        connection.execute(insert(files).values(run_pk=run_pk, name=name, **values))
        return None
    connection.execute(update(files).where(files.c.pk == old.pk).values(**values))
    return str(old.blob)


def owned(connection: Connection, pks: Sequence[int], entity: str) -> list[Row[Any]]:
    """Those of the files that belong to the entity."""
    joined = files.join(runs, runs.c.pk == files.c.run_pk).join(projects, projects.c.pk == runs.c.project_pk)
    statement = select(*files.c).select_from(joined).where(files.c.pk.in_(pks), projects.c.entity == entity)
    return list(connection.execute(statement))


def remove(connection: Connection, pks: Sequence[int]) -> None:
    """Forget files."""
    connection.execute(delete(files).where(files.c.pk.in_(pks)))


def blobs(connection: Connection) -> set[str]:
    """Every blob that is in use."""
    return set(connection.scalars(select(files.c.blob)))
