"""From columns to an Arrow IPC stream of one batch. Runs in threads; pyarrow is loaded on first use."""

from __future__ import annotations

from collections.abc import Sequence

from runtapd.history.columns import ColumnData, Kind


def load() -> None:
    """Loads pyarrow before anybody waits for it."""
    import pyarrow  # noqa: F401


def arrow_ipc(columns: Sequence[ColumnData]) -> bytes:
    """Returns the columns as one self-contained Arrow IPC stream, as `HISTORY_FORMAT_ARROW` describes it."""
    import pyarrow as pa  # 150 ms: not at the daemon's start

    types = {
        Kind.INT64: pa.int64(),
        Kind.DOUBLE: pa.float64(),
        Kind.BOOL: pa.bool_(),
        Kind.STRING: pa.string(),
        Kind.JSON: pa.string(),
    }
    fields, arrays = [], []
    for column in columns:
        metadata = {}
        if column.kind is Kind.JSON:
            metadata["runtap.json"] = "1"
        if column.nulls:
            metadata["runtap.nulls"] = ",".join(map(str, column.nulls))
        fields.append(pa.field(column.key, types[column.kind], metadata=metadata or None))
        # from_pandas=False: NaN is a value here, only None is missing.
        arrays.append(pa.array(column.values, types[column.kind], from_pandas=False))
    batch = pa.record_batch(arrays, schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())
