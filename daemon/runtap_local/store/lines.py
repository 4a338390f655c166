"""The lines of a run's streams (history, system events, console), by line number and by step.

They are kept in chunks of consecutive lines. Who writes lines writes those chunks anew that hold some of them, and the
chunk just before them while that has room; chunks never overlap, so that a line sent twice stands once.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, delete, func, insert, select

from .chunks import MAX_LINES, Line, Placed, cut, pack, steps_of, texts_of, unpack
from .sampling import evenly
from .tables import chunks

__all__ = ["Line", "Stream"]

_MAX_VARIABLES: Final = 500
_PLACE: Final = (chunks.c.pk, chunks.c.first_line, chunks.c.last_line, chunks.c.min_step, chunks.c.steps)


class Stream(IntEnum):
    """Which stream a line belongs to; the numbers are on disk."""

    HISTORY = 0
    EVENTS = 1
    OUTPUT = 2


def put(connection: Connection, run_pk: int, stream: Stream, new: Sequence[Line]) -> None:
    """Store consecutive lines at their numbers, in place of what stood there."""
    if not new:
        return
    first, last = new[0].number, new[-1].number
    kept, replaced = [], []
    for chunk in connection.execute(_holding(run_pk, stream, first - 1, last)):
        if chunk.last_line == first - 1 and chunk.last_line - chunk.first_line + 1 >= MAX_LINES:
            continue
        replaced.append(chunk.pk)
        if chunk.first_line < first or chunk.last_line > last:
            kept += [Line(n, step, text) for step, n, text in unpack(chunk) if not first <= n <= last]
    for part in _parts(replaced):
        connection.execute(delete(chunks).where(chunks.c.pk.in_(part)))
    ordered = sorted(chain(kept, new), key=lambda line: line.number)
    rows = [{"run_pk": run_pk, "stream": int(stream), **pack(piece)} for piece in cut(ordered)]
    connection.execute(insert(chunks), rows)


def remove(connection: Connection, run_pk: int) -> None:
    """Delete all lines of a run."""
    connection.execute(delete(chunks).where(chunks.c.run_pk == run_pk))


def between(connection: Connection, run_pk: int, stream: Stream, first: int, last: int) -> dict[int, str]:
    """The texts stored at these line numbers, both ends included."""
    found = connection.execute(_holding(run_pk, stream, first, last))
    return {n: text for chunk in found for _, n, text in unpack(chunk) if first <= n <= last}


def numbered(connection: Connection, run_pk: int, stream: Stream, first: int, limit: int) -> list[Line]:
    """At most so many lines from a line number on."""
    statement = _of(run_pk, stream).where(chunks.c.last_line >= first).order_by(chunks.c.last_line)
    found: list[Line] = []
    for chunk in connection.execute(statement).yield_per(4):
        found += [Line(n, step, text) for step, n, text in unpack(chunk) if n >= first]
        if len(found) >= limit:
            break
    return found[:limit]


def last_step(connection: Connection, run_pk: int) -> int | None:
    """The highest step in the history."""
    statement = select(func.max(chunks.c.max_step)).where(
        chunks.c.run_pk == run_pk, chunks.c.stream == Stream.HISTORY
    )
    found: int | None = connection.scalar(statement)
    return found


def last_text(connection: Connection, run_pk: int, stream: Stream) -> str | None:
    """The last line of a stream."""
    chunk = connection.execute(_of(run_pk, stream).order_by(chunks.c.last_line.desc()).limit(1)).first()
    return texts_of(chunk)[-1] if chunk else None


def texts(
    connection: Connection,
    run_pk: int,
    stream: Stream,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Iterator[str]:
    """The texts with min_step <= step < max_step, in the order of their steps, never all in memory at once."""
    return (text for _, _, text in placed(connection, run_pk, stream, min_step, max_step))


def placed(
    connection: Connection,
    run_pk: int,
    stream: Stream,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Iterator[Placed]:
    """The lines with min_step <= step < max_step, in the order of step and number."""
    statement = _in_range(_of(run_pk, stream), min_step, max_step).order_by(
        chunks.c.min_step, chunks.c.first_line
    )
    waiting: list[Placed] = []
    for chunk in connection.execute(statement).yield_per(4):
        # What lies before the first step of this chunk lies before all that is still to come.
        ready = bisect_left(waiting, (chunk.min_step,))
        yield from waiting[:ready]
        waiting = sorted([*waiting[ready:], *_within(unpack(chunk), min_step, max_step)])
    yield from waiting


def sampled_texts(
    connection: Connection,
    run_pk: int,
    stream: Stream,
    samples: int,
    min_step: int | None = None,
    max_step: int | None = None,
) -> list[str]:
    """At most ``samples`` texts of the range, evenly spread; only the chunks that hold them are read."""
    directory = list(connection.execute(_in_range(_of(run_pk, stream, *_PLACE), min_step, max_step)))
    low = -math.inf if min_step is None else min_step
    high = math.inf if max_step is None else max_step
    places = sorted(
        (step, number)
        for chunk in directory
        for number, step in enumerate(steps_of(chunk), chunk.first_line)
        if low <= step < high
    )
    if len(places) <= samples:
        return list(texts(connection, run_pk, stream, min_step, max_step))
    wanted = [places[index][1] for index in evenly([step for step, _ in places], samples)]
    found = _texts_at(connection, directory, set(wanted))
    return [found[number] for number in wanted]


def _texts_at(connection: Connection, directory: Sequence[Row[Any]], wanted: set[int]) -> dict[int, str]:
    """The texts of some lines, whose chunks are in the directory."""
    holding = [
        chunk.pk for chunk in directory if not wanted.isdisjoint(range(chunk.first_line, chunk.last_line + 1))
    ]
    found: dict[int, str] = {}
    for part in _parts(holding):
        columns = (chunks.c.first_line, chunks.c.last_line, chunks.c.texts)
        for chunk in connection.execute(select(*columns).where(chunks.c.pk.in_(part))).yield_per(4):
            numbers = range(chunk.first_line, chunk.last_line + 1)
            found.update((n, text) for n, text in zip(numbers, texts_of(chunk), strict=True) if n in wanted)
    return found


def _within(lines: list[Placed], min_step: int | None, max_step: int | None) -> list[Placed]:
    low = -math.inf if min_step is None else min_step
    high = math.inf if max_step is None else max_step
    return [line for line in lines if low <= line[0] < high]


def _of(run_pk: int, stream: Stream, *columns: Any) -> Select[Any]:
    wanted = columns or (*_PLACE, chunks.c.texts)
    return select(*wanted).where(chunks.c.run_pk == run_pk, chunks.c.stream == int(stream))


def _holding(run_pk: int, stream: Stream, first: int, last: int) -> Select[Any]:
    """The chunks that hold lines of a range of numbers; no chunk can end further behind it than it is long."""
    ends = chunks.c.last_line.between(first, last + MAX_LINES - 1)
    return _of(run_pk, stream).where(ends, chunks.c.first_line <= last)


def _in_range(statement: Select[Any], min_step: int | None, max_step: int | None) -> Select[Any]:
    """Narrow down to chunks that may hold lines of a range of steps."""
    if min_step is not None:
        statement = statement.where(chunks.c.max_step >= min_step)
    if max_step is not None:
        statement = statement.where(chunks.c.min_step < max_step)
    return statement


def _parts(pks: list[int]) -> Iterator[list[int]]:
    return (pks[start : start + _MAX_VARIABLES] for start in range(0, len(pks), _MAX_VARIABLES))
