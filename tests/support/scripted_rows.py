"""Rows as the daemon sends them: Arrow messages in the contract's form, made in the simplest way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from runtap.v1 import common_pb2, history_pb2

_LOST = object()


def messages_of(
    rows: Sequence[dict[str, Any]],
    request: history_pb2.ReadHistoryRequest,
    group_rows: int,
    exact: bool = True,
) -> Iterator[history_pb2.ReadHistoryResponse]:
    """The messages that answer a ReadHistory for a run with these rows; two per group."""
    ranged = [row for row in rows if _in_range(row, request)]
    unknown = [key for key in request.keys if not any(key in row for row in ranged)]
    chosen = [row for row in ranged if _wanted(row, request)][-request.last_rows :]
    begin = int(request.resume_token or 0)
    ends = range(begin, max(len(chosen), begin + 1), group_rows)
    for start in ends:
        part = chosen[start : start + group_rows]
        names = list(dict.fromkeys(name for row in part for name in row))
        if request.keys:
            names = [name for name in names if name == "_step" or name in request.keys]
        half = len(names) // 2
        for columns, is_end in ((names[:half], False), (["_step", *names[half:]], True)):
            yield history_pb2.ReadHistoryResponse(
                arrow_ipc=ipc(part, list(dict.fromkeys(name for name in columns if name in names))),
                row_count=len(part),
                row_group=start // group_rows,
                row_group_end=is_end,
                resume_token=str(start + len(part)) if is_end else "",
                exact=exact,
                unknown_keys=unknown if is_end and start == ends[-1] else [],
            )


def messages_of_many(
    rows: Mapping[str, Sequence[dict[str, Any]]],
    errors: Mapping[str, common_pb2.ItemError],
    request: history_pb2.ReadHistoriesRequest,
    group_rows: int,
) -> Iterator[history_pb2.ReadHistoriesResponse]:
    """The messages that answer a ReadHistories; the last run is ready first."""
    for path in reversed(request.paths):
        if path in errors:
            yield history_pb2.ReadHistoriesResponse(run_path=path, error=errors[path], run_end=True)
            continue
        axis = [request.x_axis] if request.keys and request.x_axis else []
        single = history_pb2.ReadHistoryRequest(keys=[*request.keys, *axis])
        deciding = history_pb2.ReadHistoryRequest(keys=request.keys, join=request.join)
        chosen = [row for row in rows.get(path, []) if _wanted(row, deciding)]
        few = _spread(chosen, request.samples) if request.samples else chosen
        exact = len(few) == len(chosen)
        for message in messages_of(few, single, group_rows, exact):
            yield history_pb2.ReadHistoriesResponse(run_path=path, rows=message)
        end = history_pb2.ReadHistoryResponse(row_group_end=True, exact=exact)
        yield history_pb2.ReadHistoriesResponse(run_path=path, rows=end, run_end=True)


def sample_of(
    rows: Sequence[dict[str, Any]],
    request: history_pb2.SampleHistoryRequest,
    group_rows: int,
    exact: bool = True,
) -> Iterator[history_pb2.SampleHistoryResponse]:
    """The messages that answer a SampleHistory, two per group: simply every so many-th row, and the last."""
    everywhere = ("_step", "_runtime", "_timestamp")
    inner = request.join == history_pb2.HISTORY_JOIN_INNER
    asked = [*request.keys, request.x_axis] if request.keys else []
    metrics = [key for key in asked if key not in everywhere]
    deciding = [key for key in metrics if inner or key in request.keys]
    decide = all if inner else any
    chosen = [
        row for row in rows if not request.keys or decide(key in row for key in deciding or request.keys)
    ]
    few = _spread(chosen, request.samples or 500)
    for start in range(0, max(len(few), 1), group_rows):
        part = few[start : start + group_rows]
        names = list(dict.fromkeys(name for row in part for name in row))
        if request.keys:
            names = [name for name in names if name in {"_step", request.x_axis, *request.keys}]
        half = len(names) // 2
        for columns, more in ((names[:half], True), (["_step", *names[half:]], False)):
            message = history_pb2.SampleHistoryResponse(
                arrow_ipc=ipc(part, list(dict.fromkeys(name for name in columns if name in names))),
                rows=len(part),
                more_columns=more,
                exact=exact and len(few) == len(chosen),
                server_sampled=not exact,
                unknown_keys=[key for key in asked if key != "_step" and not any(key in row for row in rows)],
                rows_with_all_keys=sum(all(key in row for key in metrics) for row in chosen),
            )
            if exact:
                message.total_rows = len(chosen)
            yield message


def _spread(rows: Sequence[dict[str, Any]], samples: int) -> list[dict[str, Any]]:
    """So many rows, with the first and the last."""
    wanted, last = min(samples, len(rows)), len(rows) - 1
    return [rows[i * last // (wanted - 1) if wanted > 1 else last] for i in range(wanted)]


def ipc(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> bytes:
    """One Arrow stream of one batch."""
    pairs = [_column(name, [row.get(name, _LOST) for row in rows]) for name in names]
    schema = pa.schema([spot for spot, _ in pairs])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch([column for _, column in pairs], schema=schema))
    return bytes(sink.getvalue())


def _column(name: str, cells: Sequence[Any]) -> tuple[pa.Field, pa.Array]:
    nulls = [str(row) for row, cell in enumerate(cells) if cell is None]
    metadata = {"runtap.nulls": ",".join(nulls)} if nulls else {}
    values = [None if cell is _LOST else cell for cell in cells]
    kinds = {type(value) for value in values if value is not None}
    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    kind = types.get(kinds.copy().pop()) if len(kinds) == 1 else None
    if not kinds or kinds == {int, float}:
        kind = pa.float64()
    if kind is None:
        kind = pa.string()
        values = [None if value is None else json.dumps(value) for value in values]
        metadata["runtap.json"] = "1"
    return pa.field(name, kind, metadata=metadata or None), pa.array(values, kind)


def _in_range(row: dict[str, Any], request: history_pb2.ReadHistoryRequest) -> bool:
    step = row.get("_step", 0)
    if request.HasField("min_step") and step < request.min_step:
        return False
    return not (request.HasField("max_step") and step >= request.max_step)


def _wanted(row: dict[str, Any], request: history_pb2.ReadHistoryRequest) -> bool:
    if not request.keys:
        return True
    if request.join == history_pb2.HISTORY_JOIN_INNER:
        return all(key in row for key in request.keys)
    deciding = [key for key in request.keys if key not in ("_runtime", "_timestamp")] or request.keys
    return any(key in row for key in deciding)
