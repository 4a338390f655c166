"""Rows as an Arrow IPC stream of one batch, and back: on the wire as `HISTORY_FORMAT_ARROW` describes it, and on disk.

Runs in threads; pyarrow is loaded on first use.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from runtapd.history.table import Column, Rows

if TYPE_CHECKING:
    import pyarrow as pa

_JSON, _NULLS = b"runtap.json", b"runtap.nulls"


def load() -> None:
    """Loads pyarrow before anybody waits for it."""
    import numpy  # noqa: F401
    import pyarrow.compute  # noqa: F401


def to_ipc(rows: Rows, *, compressed: bool = False) -> bytes:
    """Returns the rows as one self-contained stream. Compressed (zstd) for the disk only."""
    import pyarrow as pa

    fields, arrays = [], []
    for key, column in rows.columns.items():
        metadata = {}
        if column.json:
            metadata[_JSON] = b"1"
        if column.nulls is not None:
            metadata[_NULLS] = ",".join(map(str, column.nulls.tolist())).encode()
        fields.append(pa.field(key, column.values.type, metadata=metadata or None))
        arrays.append(_zeroed(column.values) if compressed else column.values)
    batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd") if compressed else None
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def from_ipc(data: bytes, keys: Collection[str] | None = None) -> Rows:
    """Returns the rows of such a stream, of all keys or of these, as far as there are any: the others cost nothing.

    Raises pyarrow.ArrowInvalid or OSError for anything else.
    """
    import numpy as np
    import pyarrow as pa

    stream = pa.py_buffer(data)
    options = None
    if keys is not None:
        names = pa.ipc.read_schema(stream).names
        options = pa.ipc.IpcReadOptions(included_fields=[i for i, name in enumerate(names) if name in keys])
    batch = pa.ipc.open_stream(stream, options=options).read_next_batch()
    columns = {}
    for field, values in zip(batch.schema, batch.columns, strict=True):
        if keys is not None and field.name not in keys:
            continue  # no included field at all means every one
        metadata = field.metadata or {}
        nulls = metadata.get(_NULLS)
        listed = np.array(nulls.split(b","), np.int64) if nulls else None
        columns[field.name] = Column(values, metadata.get(_JSON) == b"1", listed)
    return Rows(batch.num_rows, columns)


def _zeroed(values: pa.Array) -> pa.Array:
    """The same values with zeros under the nulls: whatever else lies there does not compress."""
    import pyarrow as pa

    if not values.null_count or pa.types.is_string(values.type):
        return values
    filled = values.fill_null(False if pa.types.is_boolean(values.type) else 0)
    missing = values.is_null().to_numpy(zero_copy_only=False)
    cells = filled.to_numpy(zero_copy_only=False)
    return pa.array(cells, values.type, mask=missing, from_pandas=False)
