"""SampleHistory: requests as queries, samples as messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from runtap.v1 import history_pb2 as pb
from runtapd.faults import InvalidRequest
from runtapd.history.choose import portions
from runtapd.history.encode import to_ipc
from runtapd.history.table import STEP
from runtapd.reads.samples import DEFAULT_SAMPLES, Sample, SampleQuery
from runtapd.services import convert, history_messages
from runtapd.services.typed_columns import column_batch
from runtapd.upstream.accounts import Account


def query_of(request: pb.SampleHistoryRequest, account: Account) -> SampleQuery:
    """Reads a request; raises InvalidRequest that names the field."""
    if request.samples < 0:
        raise InvalidRequest("samples must not be negative", field="samples")
    history_messages.check_choices(request, ("join", "stream", "format"))
    return SampleQuery(
        path=convert.path_of_run(request.path, request.defaults, account),
        keys=tuple(dict.fromkeys(request.keys)),
        inner=request.join == pb.HISTORY_JOIN_INNER,
        system=request.stream == pb.HISTORY_STREAM_SYSTEM,
        samples=request.samples or DEFAULT_SAMPLES,
        x_axis=request.x_axis or STEP,
    )


async def messages(
    sample: Sample, wanted: pb.HistoryFormat.ValueType
) -> AsyncIterator[pb.SampleHistoryResponse]:
    """The sample in messages that fit; one, but for samples of MiB."""
    groups = await asyncio.to_thread(portions, sample.rows)
    if not groups:
        yield _message(sample)
    for sets in groups:
        for rows in sets:
            message = _message(sample)
            message.rows = rows.length
            message.more_columns = rows is not sets[-1]
            # Encoding takes milliseconds; the loop must not wait for it.
            if wanted == pb.HISTORY_FORMAT_COLUMNS:
                message.columns.CopyFrom(await asyncio.to_thread(column_batch, rows))
            else:
                message.arrow_ipc = await asyncio.to_thread(to_ipc, rows)
            yield message


def _message(sample: Sample) -> pb.SampleHistoryResponse:
    message = pb.SampleHistoryResponse(
        exact=sample.exact,
        rows_with_all_keys=sample.with_all_keys,
        unknown_keys=sample.unknown_keys,
        server_sampled=not sample.complete,
    )
    if sample.complete:
        message.total_rows = sample.total
    elif sample.chosen_of is not None:
        message.total_rows = sample.chosen_of
    if sample.freshness is not None:
        message.freshness.CopyFrom(convert.freshness(sample.freshness))
    return message
