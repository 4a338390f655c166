"""Rows as messages, and what the requests for rows have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from runtap.v1 import history_pb2 as pb
from runtapd.faults import InvalidRequest
from runtapd.history.encode import to_ipc
from runtapd.history.table import STEP
from runtapd.reads.reading import Batch
from runtapd.services import convert
from runtapd.services.typed_columns import column_batch

_CHOICES = {"join": pb.HistoryJoin, "stream": pb.HistoryStream, "format": pb.HistoryFormat}


def check_choices(request: object, names: Sequence[str]) -> None:
    """Refuses numbers that stand for nothing this daemon knows."""
    for name in names:
        if getattr(request, name) not in _CHOICES[name].values():
            raise InvalidRequest(f"{name} is none of those that this daemon knows", field=name)


def wanted_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """The keys, each once. `_step` always comes; asking for it by name beside others changes nothing."""
    wanted = tuple(dict.fromkeys(keys))
    return tuple(key for key in wanted if key != STEP) or wanted


async def of_batch(batch: Batch, wanted: pb.HistoryFormat.ValueType) -> pb.ReadHistoryResponse:
    """Writes rows in the format asked for; the resume token is left to those who give one."""
    message = pb.ReadHistoryResponse(
        row_count=batch.rows.length,
        row_group=batch.group,
        row_group_end=batch.group_end,
        exact=batch.exact,
        unknown_keys=batch.unknown_keys,
    )
    message.progress.done = batch.done
    if batch.total is not None:
        message.progress.total = batch.total
    if batch.freshness is not None:
        message.freshness.CopyFrom(convert.freshness(batch.freshness))
    if batch.rows.length:
        # Encoding takes milliseconds; the loop must not wait for it.
        if wanted == pb.HISTORY_FORMAT_COLUMNS:
            message.columns.CopyFrom(await asyncio.to_thread(column_batch, batch.rows))
        else:
            message.arrow_ipc = await asyncio.to_thread(to_ipc, batch.rows)
    return message
