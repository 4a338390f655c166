"""Runs: one row each. Every write of any kind moves ``updated_at``, by which readers notice it."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, select, update

from .moments import later
from .names import invent
from .tables import chunks, exports, files, projects, runs, users

HEAVY: Final = frozenset({"config", "summary_metrics", "system_metrics", "history_keys"})
"""Columns that may hold megabytes: loaded only where they are asked for."""

_LIGHT: Final = tuple(column for column in runs.c if column.name not in HEAVY)
_JOINED: Final = (
    projects.c.name.label("project_name"),
    projects.c.entity.label("entity"),
    users.c.name.label("user_name"),
)
_PART: Final = 100


def select_runs(heavy: Collection[str] = ()) -> Select[Any]:
    """Rows of runs with the names of their project, entity and user, and the heavy columns asked for."""
    columns = (*_LIGHT, *(runs.c[name] for name in sorted(heavy)), *_JOINED)
    joined = runs.join(projects, projects.c.pk == runs.c.project_pk).join(users, users.c.pk == runs.c.user_pk)
    return select(*columns).select_from(joined)


def find(
    connection: Connection, project_pk: int, name: str, heavy: Collection[str] = HEAVY
) -> Row[Any] | None:
    """A run by its id in the project."""
    statement = select_runs(heavy).where(runs.c.project_pk == project_pk, runs.c.name == name)
    return connection.execute(statement).first()


def by_pk(connection: Connection, pk: int, heavy: Collection[str] = HEAVY) -> Row[Any]:
    """A run by its row."""
    return connection.execute(select_runs(heavy).where(runs.c.pk == pk)).one()


def by_path(
    connection: Connection, entity: str, project: str, name: str, heavy: Collection[str] = HEAVY
) -> Row[Any] | None:
    """A run by its full name."""
    statement = select_runs(heavy).where(
        projects.c.entity == entity, projects.c.name == project, runs.c.name == name
    )
    return connection.execute(statement).first()


def by_pks(connection: Connection, pks: Sequence[int], heavy: Collection[str]) -> Iterator[Row[Any]]:
    """Runs by their rows, in the order given, a part at a time."""
    for start in range(0, len(pks), _PART):
        part = pks[start : start + _PART]
        found = {row.pk: row for row in connection.execute(select_runs(heavy).where(runs.c.pk.in_(part)))}
        yield from (found[pk] for pk in part if pk in found)


def count_all(connection: Connection) -> int:
    """How many runs there are."""
    return connection.scalar(select(func.count()).select_from(runs)) or 0


def create(
    connection: Connection, project_pk: int, name: str, user_pk: int, now: int, values: dict[str, Any]
) -> int:
    """Make a run and return its row; a name to show is invented where none is given."""
    counted = {"runs_made": projects.c.runs_made + 1, "updated_at": later(projects.c.updated_at, now)}
    connection.execute(update(projects).where(projects.c.pk == project_pk).values(**counted))
    number = connection.scalar(select(projects.c.runs_made).where(projects.c.pk == project_pk)) or 1
    fixed = {
        "project_pk": project_pk,
        "user_pk": user_pk,
        "name": name,
        "created_at": now,
        "updated_at": now,
        "heartbeat_at": now,
    }
    defaults = {"state": "running", "display_name": invent(name, number)}
    made = connection.execute(insert(runs).values(**{**defaults, **values, **fixed}))
    key = made.inserted_primary_key
    assert key is not None
    return int(key[0])


def change(connection: Connection, pk: int, now: int, values: dict[str, Any]) -> None:
    """Write to a run. Its ``updated_at`` and its project's move forward, even within a tick of the clock."""
    moved = later(runs.c.updated_at, now)
    connection.execute(update(runs).where(runs.c.pk == pk).values(**values, updated_at=moved))
    project = select(runs.c.project_pk).where(runs.c.pk == pk).scalar_subquery()
    moved = later(projects.c.updated_at, now)
    connection.execute(update(projects).where(projects.c.pk == project).values(updated_at=moved))


def remove(connection: Connection, pk: int) -> list[str]:
    """Delete a run with its lines and files; returns the blobs to delete once that is certain."""
    blobs = list(connection.scalars(select(files.c.blob).where(files.c.run_pk == pk)))
    connection.execute(delete(files).where(files.c.run_pk == pk))
    blobs += connection.scalars(select(exports.c.blob).where(exports.c.run_pk == pk))
    connection.execute(delete(exports).where(exports.c.run_pk == pk))
    connection.execute(delete(chunks).where(chunks.c.run_pk == pk))
    connection.execute(delete(runs).where(runs.c.pk == pk))
    return blobs


def start_over(connection: Connection, pk: int) -> dict[str, Any]:
    """Delete what a run has logged; returns the values of one that has logged nothing. Its files stay."""
    connection.execute(delete(chunks).where(chunks.c.run_pk == pk))
    counts = dict.fromkeys(("history_line_count", "events_line_count", "log_line_count"), 0)
    return {**counts, **dict.fromkeys(("summary_metrics", "system_metrics", "history_keys", "last_step"))}


def silent(before: int, after: int) -> ColumnElement[bool]:
    """Runs that count as running, and were last heard of before one moment or after another."""
    heard = runs.c.heartbeat_at
    return runs.c.state.in_(("running", "preempting")) & ((heard < before) | (heard > after))


def any_silent(connection: Connection, which: ColumnElement[bool]) -> bool:
    """Whether ``crash_silent`` would find a run: asked often, and without holding up any writer."""
    return connection.scalar(select(runs.c.pk).where(which).limit(1)) is not None


def crash_silent(connection: Connection, which: ColumnElement[bool], now: int) -> int:
    """Call silent runs crashed (those that said they would be preempted, preempted); returns how many."""
    found = list(connection.execute(select(runs.c.pk, runs.c.state).where(which)))
    for run in found:
        change(connection, run.pk, now, {"state": "preempted" if run.state == "preempting" else "crashed"})
    return len(found)
