"""The files of runs as the database knows them: name, size, checksum, and which blob holds the bytes."""

from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from .tables import files, projects, runs

_MAX_VARIABLES: Final = 500


def following(connection: Connection, run_pk: int, after: str | None, prefix: str) -> Iterator[Row[Any]]:
    """The files of a run whose names begin so and come after another, by name, never all in memory at once."""
    # Names are ordered letter by letter, so that those with a prefix stand together.
    statement = select(*files.c).where(files.c.run_pk == run_pk, files.c.name >= prefix)
    if after is not None:
        statement = statement.where(files.c.name > after)
    ordered = connection.execute(statement.order_by(files.c.name).execution_options(yield_per=500))
    yield from takewhile(lambda row: row.name.startswith(prefix), ordered)


def named(connection: Connection, run_pk: int, names: Sequence[str]) -> dict[str, Row[Any]]:
    """Those of the names that a run has files of."""
    found: dict[str, Row[Any]] = {}
    for start in range(0, len(names), _MAX_VARIABLES):
        part = names[start : start + _MAX_VARIABLES]
        statement = select(*files.c).where(files.c.run_pk == run_pk, files.c.name.in_(part))
        found.update((row.name, row) for row in connection.execute(statement))
    return found


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


def owned(connection: Connection, pks: Sequence[int], entities: Collection[str]) -> list[Row[Any]]:
    """Those of the files that belong to one of the entities."""
    joined = files.join(runs, runs.c.pk == files.c.run_pk).join(projects, projects.c.pk == runs.c.project_pk)
    statement = (
        select(*files.c).select_from(joined).where(files.c.pk.in_(pks), projects.c.entity.in_(entities))
    )
    return list(connection.execute(statement))


def remove(connection: Connection, pks: Sequence[int]) -> None:
    """Forget files."""
    connection.execute(delete(files).where(files.c.pk.in_(pks)))


def blobs(connection: Connection) -> set[str]:
    """Every blob that is in use."""
    return set(connection.scalars(select(files.c.blob)))
