"""The rows of a run as they arrive: Arrow columns in groups, put together, cut, and turned into Python values.

A group may come in several messages with different columns of the same rows. A stream that breaks goes on after the
last whole group. pyarrow is imported when rows are read, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runtap.cautions import caution
from runtap.errors import DaemonError
from runtap.v1 import history_pb2
from runtap.values import parsed

if TYPE_CHECKING:
    import pyarrow as pa

    from runtap.session import Session

METRICS = 1
"""`HISTORY_STREAM_METRICS` of history.proto; written out so that this module needs no stub."""

_MISSING: Any = object()


class MissingRowsWarning(UserWarning):
    """The server gave fewer rows than the history has."""


class HistoryRow(dict[str, Any]):
    """One row: what was logged in this step, and nothing for keys that were not."""

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
        valid: list[bool] = column.is_valid().to_pylist()
        for row in self.nulls.get(name, ()):
            valid[row] = True
        return valid

    def take(self, rows: Sequence[int]) -> RowGroup:
        """The group of only these rows, given in order."""
        if len(rows) == self.length:
            return self
        import pyarrow as pa

        wanted = pa.array(rows, pa.int64())
        places = {row: place for place, row in enumerate(rows)}
        return RowGroup(
            length=len(rows),
            columns={name: column.take(wanted) for name, column in self.columns.items()},
            json_columns=self.json_columns,
            nulls={name: {places[row] for row in old if row in places} for name, old in self.nulls.items()},
            unknown_keys=self.unknown_keys,
            exact=self.exact,
        )

    def values(self, name: str, missing: Any) -> list[Any]:
        """The cells of a column as Python values, with `missing` where nothing was logged and None for null."""
        column = self.columns.get(name)
        if column is None:
            return [missing] * self.length
        cells: list[Any] = column.to_pylist()
        if name in self.json_columns:
            cells = [None if cell is None else parsed(cell) for cell in cells]
        if not column.null_count:
            return cells
        nulls = self.nulls.get(name, ())
        empty = column.is_null().to_pylist()
        return [
            missing if nothing and row not in nulls else cell
            for row, (cell, nothing) in enumerate(zip(cells, empty, strict=True))
        ]

    def rows(self) -> list[HistoryRow]:
        """The rows as dicts. Columns without gaps are put together at once, the others cell by cell."""
        names = list(self.columns)
        if not names:
            return [HistoryRow() for _ in range(self.length)]
        cells = [self.values(name, _MISSING) for name in names]
        if not any(self.columns[name].null_count for name in names):
            return [HistoryRow(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]
        return [
            HistoryRow([pair for pair in zip(names, row, strict=True) if pair[1] is not _MISSING])
            for row in zip(*cells, strict=True)
        ]


def read(session: Session, request: history_pb2.ReadHistoryRequest) -> Iterator[RowGroup]:
    """The groups in order. When the daemon goes away in the middle, the next one continues."""
    fruitless, exact = 0, True
    while True:
        fruitless += 1
        try:
            for group, token in _whole_groups(session, request):
                exact = exact and group.exact
                yield group
                fruitless, request.resume_token = 0, token
            # System metrics are a sample by nature.
            if not exact and request.stream == METRICS:
                caution(f"{session.base_url} did not give all rows of {request.path}", MissingRowsWarning)
            return
        except DaemonError:
            # A second try without a single group would not end, and one without a token would repeat rows.
            if fruitless > 1 or (fruitless == 0 and not request.resume_token):
                raise


def _whole_groups(
    session: Session, request: history_pb2.ReadHistoryRequest
) -> Iterator[tuple[RowGroup, str]]:
    group: RowGroup | None = None
    for message in session.stream("history.ReadHistory", request):
        if group is None:
            group = RowGroup(message.row_count)
        if message.WhichOneof("batch") == "arrow_ipc" and message.arrow_ipc:
            group.add(message.arrow_ipc)
        group.unknown_keys = tuple(message.unknown_keys)
        group.exact = group.exact and message.exact
        if message.row_group_end or message.resume_token:
            yield group, message.resume_token
            group = None
    if group is not None:
        yield group, ""
