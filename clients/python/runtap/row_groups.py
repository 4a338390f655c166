"""The rows of a run as they arrive: Arrow columns in groups, put together, cut, and turned into Python values.

A group may come in several messages with different columns of the same rows. A stream that breaks goes on after the
last whole group. pyarrow is imported when rows are read, not before.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from runtap.cautions import caution
from runtap.cells import present_cells, valid_cells
from runtap.errors import DaemonError
from runtap.freshness import Freshness, from_message, older
from runtap.v1 import history_pb2

if TYPE_CHECKING:
    import pyarrow as pa

    from runtap.session import Session

METRICS = 1
"""`HISTORY_STREAM_METRICS` of history.proto; written out so that this module needs no stub."""
BLOCK_ROWS = 2000
"""Rows put together at a time; more no longer fit into the processor's cache, and the first one would wait for them."""


class MissingRowsWarning(UserWarning):
    """The server gave fewer rows than the history has."""


class HistoryRow(dict[str, Any]):
    """One row: what was logged in this step, and nothing for keys that were not."""

    __slots__ = ()

    def __missing__(self, key: str) -> Any:
        raise KeyError(
            f"{key!r} was not logged in step {self.get('_step', '?')}; "
            f"scan_history(keys=[{key!r}]) gives only rows that have it, row.get({key!r}) gives None"
        )


@dataclass
class RowGroup:
    """Consecutive rows as columns."""

    length: int
    columns: dict[str, pa.Array] = field(default_factory=dict)
    json_columns: set[str] = field(default_factory=set)
    """Columns whose cells are JSON texts."""
    nulls: dict[str, set[int]] = field(default_factory=dict)
    """Rows in which null was logged, by column; other empty cells are missing."""
    unknown_keys: tuple[str, ...] = ()
    """Keys asked for that no row has; in the last group."""
    exact: bool = True
    """False when the server did not give all rows there are."""
    freshness: Freshness | None = None
    """How fresh these rows are; None when nobody said."""

    def add(self, ipc: bytes) -> None:
        """Adds the columns of one message."""
        import pyarrow as pa

        batch = pa.ipc.open_stream(pa.py_buffer(ipc)).read_next_batch()
        for spot, column in zip(batch.schema, batch.columns, strict=True):
            self.columns[spot.name] = column
            metadata: Mapping[bytes, bytes] = spot.metadata or {}
            if metadata.get(b"runtap.json") == b"1":
                self.json_columns.add(spot.name)
            if metadata.get(b"runtap.nulls"):
                self.nulls[spot.name] = {int(row) for row in metadata[b"runtap.nulls"].split(b",")}

    def logged(self, name: str) -> list[bool]:
        """For each row, whether it logged this key, be it with null."""
        column = self.columns.get(name)
        if column is None:
            return [False] * self.length
        mask = valid_cells(column)
        logged = [True] * self.length if mask is None else mask.tolist()
        for row in self.nulls.get(name, ()):
            logged[row] = True
        return logged

    def take(self, rows: Sequence[int]) -> RowGroup:
        """The group of only these rows, given in order."""
        if len(rows) == self.length:
            return self
        import pyarrow as pa

        wanted = pa.array(rows, pa.int64())
        places = {row: place for place, row in enumerate(rows)}
        return replace(
            self,
            length=len(rows),
            columns={name: column.take(wanted) for name, column in self.columns.items()},
            nulls={name: {places[row] for row in old if row in places} for name, old in self.nulls.items()},
        )

    def values(self, name: str, missing: Any) -> list[Any]:
        """The cells of a column as Python values, with `missing` where nothing was logged and None for null."""
        column = self.columns.get(name)
        if column is None:
            return [missing] * self.length
        valid = valid_cells(column)
        present = present_cells(column, valid, are_json=name in self.json_columns)
        if valid is None:
            return present
        cells = iter(present)
        values = [next(cells) if is_valid else missing for is_valid in valid.tolist()]
        for row in self.nulls.get(name, ()):
            values[row] = None
        return values

    def rows(self) -> Iterator[HistoryRow]:
        """The rows as dicts, their keys in the order of the columns."""
        nulls = {name: sorted(rows) for name, rows in self.nulls.items()}
        for begin in range(0, self.length, BLOCK_ROWS):
            yield from self._block(begin, min(begin + BLOCK_ROWS, self.length), nulls)

    def _block(self, begin: int, end: int, nulls: Mapping[str, list[int]]) -> list[HistoryRow]:
        """Some rows, filled column by column: that costs the cells there are, however many there could be, and even
        where no cell is missing it is faster than putting together row after row."""
        rows = [HistoryRow() for _ in range(begin, end)]
        for name, whole in self.columns.items():
            column = whole.slice(begin, end - begin)
            valid = valid_cells(column)
            cells = present_cells(column, valid, are_json=name in self.json_columns)
            holders = rows if valid is None else itertools.compress(rows, valid.tolist())
            for row, cell in zip(holders, cells, strict=True):
                row[name] = cell
            null = nulls.get(name, [])
            for index in null[bisect_left(null, begin) : bisect_left(null, end)]:
                rows[index - begin][name] = None
        return rows


def load() -> None:
    """Imports what rows are made of, which takes as long as the daemon does for a short history."""
    import pyarrow  # noqa: F401


def read(session: Session, request: history_pb2.ReadHistoryRequest) -> Iterator[RowGroup]:
    """The groups in order. When the daemon goes away in the middle, the next one continues. What is wrong with the rows
    (too few, too old) is warned of at the end."""
    fruitless, exact = 0, True
    freshness: Freshness | None = None
    while True:
        fruitless += 1
        try:
            for group, token in _whole_groups(session, request):
                exact = exact and group.exact
                freshness = freshness if group.freshness is None else older(freshness, group.freshness)
                yield group
                fruitless, request.resume_token = 0, token
            # System metrics are a sample by nature.
            if not exact and request.stream == METRICS:
                caution(f"{session.base_url} did not give all rows of {request.path}", MissingRowsWarning)
            if freshness is not None:
                session.warn_of_age(freshness, f"the history of {request.path}")
            return
        except DaemonError:
            # A second try without a single group would not end, and one without a token would repeat rows.
            if fruitless > 1 or (fruitless == 0 and not request.resume_token):
                raise


def _whole_groups(
    session: Session, request: history_pb2.ReadHistoryRequest
) -> Iterator[tuple[RowGroup, str]]:
    assembly = Assembly()
    for message in session.stream("history.ReadHistory", request, meanwhile=load):
        group = assembly.add(message)
        if group is not None:
            yield group, message.resume_token
    if assembly.unfinished is not None:
        yield assembly.unfinished, ""


class Assembly:
    """Puts the messages of one run together into whole groups."""

    def __init__(self) -> None:
        self.unfinished: RowGroup | None = None

    def add(self, message: history_pb2.ReadHistoryResponse) -> RowGroup | None:
        """Takes the next message; the group, when it is whole now."""
        group = self.unfinished or RowGroup(message.row_count)
        if message.WhichOneof("batch") == "arrow_ipc" and message.arrow_ipc:
            group.add(message.arrow_ipc)
        group.unknown_keys = tuple(message.unknown_keys)
        group.exact = group.exact and message.exact
        if message.HasField("freshness"):
            group.freshness = from_message(message.freshness)
        whole = message.row_group_end or bool(message.resume_token)
        self.unfinished = None if whole else group
        return group if whole else None
