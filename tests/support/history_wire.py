"""Reads what `ReadHistory` sends, in both formats, strictly: what the contract promises of messages is asserted here.

Owns the wire only; what the rows should be is `history_model`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from runtap.v1 import history_pb2 as pb

Row = dict[str, Any]
"""Keys that were logged, null as None; keys that were not are not there."""
_ARROW_KINDS = {pa.int64(): "int64", pa.float64(): "double", pa.bool_(): "bool", pa.string(): "string"}
_KINDS = {"doubles": "double", "int64s": "int64", "bools": "bool", "strings": "string", "jsons": "json"}


@dataclass
class Cells:
    """The cells of one key in one message."""

    kind: str
    values: list[Any]
    present: list[bool]


@dataclass
class Reading:
    """A whole stream, or the rest of one."""

    rows: list[Row] = field(default_factory=list)
    kinds: dict[str, set[str]] = field(default_factory=dict)
    """The kinds of column in which each key came."""
    tokens: list[tuple[str, int]] = field(default_factory=list)
    """Resume tokens, each with how many rows had come by then."""
    messages: int = 0
    end: pb.ReadHistoryResponse = field(default_factory=pb.ReadHistoryResponse)
    """The last message."""

    @property
    def steps(self) -> list[int]:
        return [row["_step"] for row in self.rows]

    def column(self, key: str) -> list[Any]:
        """The cells of a key in the rows that have it."""
        return [row[key] for row in self.rows if key in row]


def reading(messages: Iterable[pb.ReadHistoryResponse]) -> Reading:
    """Puts a stream together."""
    found = Reading()
    group: list[Row] | None = None
    done = 0
    for message in messages:
        assert not found.messages or found.end.row_count, "a message without rows is the last"
        found.messages += 1
        found.end = message
        assert message.HasField("freshness"), "every message says how fresh it is"
        assert message.progress.done >= done, "progress only grows"
        done = message.progress.done
        if not message.row_count:
            assert message.WhichOneof("batch") is None and group is None, "the end comes between groups"
            continue
        columns = _columns(message)
        assert next(iter(columns)) == "_step", "_step leads"
        if group is None:
            group = [{} for _ in range(message.row_count)]
        assert len(group) == message.row_count, "messages of a group hold the same rows"
        _add(group, columns, found.kinds)
        if message.row_group_end:
            found.rows += group
            group = None
            if message.resume_token:
                found.tokens.append((message.resume_token, len(found.rows)))
        else:
            assert not message.resume_token, "nobody can go on in the middle of a group"
    assert group is None, "the stream ended in the middle of a group"
    assert found.messages and not found.end.row_count, "the last message has no rows"
    return found


def _add(group: list[Row], columns: dict[str, Cells], kinds: dict[str, set[str]]) -> None:
    for key, cells in columns.items():
        assert len(cells.values) == len(group), f"{key} has a cell for each row"
        if any(value is not None for value in cells.values):  # nulls have no kind
            kinds.setdefault(key, set()).add(cells.kind)
        for row, value, present in zip(group, cells.values, cells.present, strict=True):
            if present:
                assert key == "_step" or key not in row, f"{key} came twice"
                row[key] = value


def _columns(message: pb.ReadHistoryResponse) -> dict[str, Cells]:
    if message.WhichOneof("batch") == "arrow_ipc":
        return _arrow(message.arrow_ipc)
    assert message.columns.row_count == message.row_count
    return {
        column.key: _typed(column, message.row_count)
        for column in _unique(message.columns.columns, [column.key for column in message.columns.columns])
    }


def _unique(items: Any, keys: Sequence[str]) -> Any:
    assert len(set(keys)) == len(keys), "a key has one column in a message"
    return items


def _arrow(ipc: bytes) -> dict[str, Cells]:
    reader = pa.ipc.open_stream(ipc)
    (batch,) = list(reader)
    batch.validate(full=True)
    found = {}
    for spec, array in _unique(list(zip(batch.schema, batch.columns, strict=True)), batch.schema.names):
        metadata = spec.metadata or {}
        nested = metadata.get(b"runtap.json") == b"1"
        nulls = {int(i) for i in metadata.get(b"runtap.nulls", b"").split(b",") if i}
        assert all(not array[i].is_valid for i in nulls), "where null was logged there is an Arrow null"
        values = array.to_pylist()
        present = [value is not None or i in nulls for i, value in enumerate(values)]
        kind = "json" if nested else _ARROW_KINDS[spec.type]
        found[spec.name] = Cells(kind, [_parsed(kind, value) for value in values], present)
    return found


def _typed(column: pb.Column, rows: int) -> Cells:
    which = column.WhichOneof("values")
    assert which is not None, f"{column.key} has values"
    kind = _KINDS[which]
    values = list(getattr(column, which).values)
    present = _bits(column.present, rows, empty=True)
    null = _bits(column.null, rows, empty=False)
    assert all(there or not nothing for there, nothing in zip(present, null, strict=True)), "null is logged"
    for value, there, nothing in zip(values, present, null, strict=True):
        assert (there and not nothing) or not value, "a cell without a value is zero or empty"
    cells = [
        _parsed(kind, value) if there and not nothing else None
        for value, there, nothing in zip(values, present, null, strict=True)
    ]
    return Cells(kind, cells, present)


def _parsed(kind: str, value: Any) -> Any:
    """A cell as it was logged; JSON texts hold no bare NaN."""
    if kind != "json" or value is None:
        return value
    return json.loads(value, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise AssertionError(f"a bare {name} in a JSON text")


def _bits(packed: bytes, rows: int, *, empty: bool) -> list[bool]:
    if not packed:
        return [empty] * rows
    assert len(packed) == (rows + 7) // 8
    return [bool(packed[i // 8] >> (i % 8) & 1) for i in range(rows)]
