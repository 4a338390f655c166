"""Rows as typed protobuf columns, for callers with generated stubs and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtap.v1 import history_pb2 as pb
from runtapd.history.table import Column, Rows

if TYPE_CHECKING:
    from runtapd.history.table import Mask


def column_batch(rows: Rows) -> pb.ColumnBatch:
    """Writes rows as typed messages."""
    columns = [_column(key, column) for key, column in rows.columns.items()]
    return pb.ColumnBatch(row_count=rows.length, columns=columns)


def _column(key: str, column: Column) -> pb.Column:
    import pyarrow as pa

    message = pb.Column(key=key)
    present = column.present()
    if not present.all():
        message.present = _bits(present)
    if column.nulls is not None:
        message.null = _bits(present & column.values.is_null().to_numpy(zero_copy_only=False))
    kind = column.values.type
    if pa.types.is_string(kind):
        texts = message.jsons if column.json else message.strings
        texts.values.extend(column.values.fill_null("").to_pylist())
    elif pa.types.is_boolean(kind):
        message.bools.values.extend(column.values.fill_null(False).to_pylist())
    else:
        numbers = message.doubles if pa.types.is_floating(kind) else message.int64s
        numbers.values.extend(column.values.fill_null(0).to_numpy().tolist())
    return message


def _bits(mask: Mask) -> bytes:
    import numpy as np

    return np.packbits(mask, bitorder="little").tobytes()
