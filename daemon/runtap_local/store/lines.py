"""The lines of a run's streams (history, system events, console), by line number and by step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select

from ..sampling import spread
from .tables import lines

_MAX_VARIABLES: Final = 500


class Stream(IntEnum):
    """Which stream a line belongs to; the numbers are on disk."""

    HISTORY = 0
    EVENTS = 1
    OUTPUT = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its place in the stream, the step it belongs to, and its text."""

    number: int
    step: int
    text: str


def between(connection: Connection, run_pk: int, stream: Stream, first: int, last: int) -> dict[int, str]:
    """The texts stored at these line numbers, both ends included."""
    statement = select(lines.c.line, lines.c.text).where(
        lines.c.run_pk == run_pk, lines.c.stream == stream, lines.c.line.between(first, last)
    )
    return {row.line: row.text for row in connection.execute(statement)}


def put(connection: Connection, run_pk: int, stream: Stream, new: Sequence[Line]) -> None:
    """Store lines at their numbers, in place of what stood there."""
    if not new:
        return
    first, last = new[0].number, new[-1].number
    span = lines.c.line.between(first, last)
    connection.execute(delete(lines).where(lines.c.run_pk == run_pk, lines.c.stream == stream, span))
    rows = [
        {"run_pk": run_pk, "stream": int(stream), "line": line.number, "step": line.step, "text": line.text}
        for line in new
    ]
    connection.execute(insert(lines), rows)


def last_step(connection: Connection, run_pk: int) -> int | None:
    """The highest step in the history."""
    statement = select(func.max(lines.c.step)).where(
        lines.c.run_pk == run_pk, lines.c.stream == Stream.HISTORY
    )
    found: int | None = connection.scalar(statement)
    return found


def last_text(connection: Connection, run_pk: int, stream: Stream) -> str | None:
    """The last line of a stream."""
    statement = select(lines.c.text).where(lines.c.run_pk == run_pk, lines.c.stream == stream)
    return connection.scalar(statement.order_by(lines.c.line.desc()).limit(1))


def texts(
    connection: Connection,
    run_pk: int,
    stream: Stream,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Iterator[str]:
    """The texts with min_step <= step < max_step, in the order of their steps, never all in memory at once."""
    statement = select(lines.c.text).where(*_range(run_pk, stream, min_step, max_step))
    yield from connection.scalars(statement.order_by(lines.c.step, lines.c.line)).yield_per(1000)


def sampled_texts(
    connection: Connection,
    run_pk: int,
    stream: Stream,
    samples: int,
    min_step: int | None = None,
    max_step: int | None = None,
) -> list[str]:
    """At most ``samples`` texts of the range, evenly spread; only those are read from disk."""
    where = _range(run_pk, stream, min_step, max_step)
    ordered = (lines.c.step, lines.c.line)
    total = connection.scalar(select(func.count()).select_from(lines).where(*where)) or 0
    if total <= samples:
        return list(connection.scalars(select(lines.c.text).where(*where).order_by(*ordered)))
    chosen = list(
        spread(list(connection.scalars(select(lines.c.line).where(*where).order_by(*ordered))), samples)
    )
    found: dict[int, str] = {}
    for start in range(0, len(chosen), _MAX_VARIABLES):
        part = chosen[start : start + _MAX_VARIABLES]
        statement = select(lines.c.line, lines.c.text).where(
            lines.c.run_pk == run_pk, lines.c.stream == stream, lines.c.line.in_(part)
        )
        found.update((row.line, row.text) for row in connection.execute(statement))
    return [found[number] for number in chosen]


def numbered(connection: Connection, run_pk: int, stream: Stream, first: int, limit: int) -> list[Row[Any]]:
    """(line, text) from a line number on."""
    statement = select(lines.c.line, lines.c.text).where(
        lines.c.run_pk == run_pk, lines.c.stream == stream, lines.c.line >= first
    )
    return list(connection.execute(statement.order_by(lines.c.line).limit(limit)))


def _range(run_pk: int, stream: Stream, min_step: int | None, max_step: int | None) -> list[Any]:
    where: list[Any] = [lines.c.run_pk == run_pk, lines.c.stream == stream]
    if min_step is not None:
        where.append(lines.c.step >= min_step)
    if max_step is not None:
        where.append(lines.c.step < max_step)
    return where
