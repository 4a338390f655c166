"""The Parquet parts of histories as the database knows them: which blob holds each, and what it was made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from .lines import Stream
from .tables import chunks, exports


@dataclass(frozen=True, slots=True)
class Part:
    """One file, made when the history was at this revision."""

    blob: str
    revision: int


def revision(connection: Connection, run_pk: int) -> int:
    """A number that is another one after each change of the run's history, whatever it was; 0 without any lines."""
    statement = select(func.max(chunks.c.pk)).where(
        chunks.c.run_pk == run_pk, chunks.c.stream == int(Stream.HISTORY)
    )
    return connection.scalar(statement) or 0


def parts(connection: Connection, run_pk: int) -> list[Part]:
    """The parts of a run's history, in order."""
    statement = select(exports.c.blob, exports.c.revision).where(exports.c.run_pk == run_pk)
    return [Part(*row) for row in connection.execute(statement.order_by(exports.c.part))]


def replace(connection: Connection, run_pk: int, new: Sequence[Part]) -> list[Part]:
    """Put these parts in place of all others; returns those, whose blobs can go once that is certain."""
    old = parts(connection, run_pk)
    connection.execute(delete(exports).where(exports.c.run_pk == run_pk))
    rows = [
        {"run_pk": run_pk, "part": number, "blob": part.blob, "revision": part.revision}
        for number, part in enumerate(new)
    ]
    if rows:
        connection.execute(insert(exports), rows)
    return old


def blobs(connection: Connection) -> set[str]:
    """Every blob that is in use."""
    return set(connection.scalars(select(exports.c.blob)))
