"""HistoryService: the rows of a run."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from grpc.aio import ServicerContext

from runtap.v1 import history_pb2 as pb
from runtapd.faults import InvalidRequest
from runtapd.history.encode import to_ipc
from runtapd.history.fetch import PAGE_ROWS
from runtapd.paging import Sealer
from runtapd.reads.histories import Batch, HistoryQuery, HistoryReads, Position
from runtapd.reads.partitions import Partitions
from runtapd.reads.samples import read_sample
from runtapd.services import convert, sample_history
from runtapd.services.calls import Call
from runtapd.services.history_keys import HistoryKeyPages
from runtapd.services.typed_columns import column_batch
from runtapd.upstream.accounts import Account

Context = ServicerContext[Any, Any]
LARGEST_UPSTREAM_PAGE = 10_000
_TOKEN = "resume_token"


class HistoryService:
    """Answers for histories."""

    capabilities = ("history.read", "history.keys", "history.sample")

    def __init__(
        self, partitions: Partitions, histories: HistoryReads, keys: HistoryKeyPages, sealer: Sealer
    ) -> None:
        self._partitions = partitions
        self._histories = histories
        self._keys = keys
        self._sealer = sealer

    async def ReadHistory(
        self, request: pb.ReadHistoryRequest, context: Context
    ) -> AsyncIterator[pb.ReadHistoryResponse]:
        call = Call.of(context, streaming=True)
        part = self._partitions.get(call.account_id)
        query = _query(request, part.account)
        recipe = repr((part.account.account_id, query, request.format))
        digest = hashlib.blake2b(recipe.encode(), digest_size=12).hexdigest()
        position = self._open(request.resume_token, digest)
        batches = self._histories.read(
            part, query, position, convert.wishes(request.options), convert.waits(call, request.options)
        )
        async for batch in batches:
            yield await self._message(batch, request.format, digest)

    async def GetHistoryKeys(
        self, request: pb.GetHistoryKeysRequest, context: Context
    ) -> pb.GetHistoryKeysResponse:
        return await self._keys.page(request, Call.of(context))

    async def SampleHistory(
        self, request: pb.SampleHistoryRequest, context: Context
    ) -> AsyncIterator[pb.SampleHistoryResponse]:
        call = Call.of(context, streaming=True)
        part = self._partitions.get(call.account_id)
        query = sample_history.query_of(request, part.account)
        wishes, waits = convert.wishes(request.options), convert.waits(call, request.options)
        sample = await read_sample(self._histories, part, query, wishes, waits)
        async for message in sample_history.messages(sample, request.format):
            yield message

    async def _message(
        self, batch: Batch, wanted: pb.HistoryFormat.ValueType, digest: str
    ) -> pb.ReadHistoryResponse:
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
        if batch.resume is not None:
            message.resume_token = self._sealer.seal(_TOKEN, {"d": digest, "p": asdict(batch.resume)})
        if batch.rows.length:
            # Encoding takes milliseconds; the loop must not wait for it.
            if wanted == pb.HISTORY_FORMAT_COLUMNS:
                message.columns.CopyFrom(await asyncio.to_thread(column_batch, batch.rows))
            else:
                message.arrow_ipc = await asyncio.to_thread(to_ipc, batch.rows)
        return message

    def _open(self, token: str, digest: str) -> Position | None:
        if not token:
            return None
        content = self._sealer.open(_TOKEN, token, field=_TOKEN, reason="INVALID_RESUME_TOKEN")
        if content["d"] != digest:
            raise InvalidRequest(
                "resume_token belongs to another request; all other fields must stay as they were",
                reason="INVALID_RESUME_TOKEN",
                field=_TOKEN,
            )
        return Position(**{**content["p"], "missing": tuple(content["p"]["missing"])})


def _query(request: pb.ReadHistoryRequest, account: Account) -> HistoryQuery:
    for name in ("last_rows", "upstream_page_size"):
        if getattr(request, name) < 0:
            raise InvalidRequest(f"{name} must not be negative", field=name)
    for name, kind in (("join", pb.HistoryJoin), ("stream", pb.HistoryStream), ("format", pb.HistoryFormat)):
        if getattr(request, name) not in kind.values():
            raise InvalidRequest(f"{name} is none of those that this daemon knows", field=name)
    system = request.stream == pb.HISTORY_STREAM_SYSTEM
    if system and (request.HasField("min_step") or request.HasField("max_step")):
        raise InvalidRequest("system metrics have no steps to choose by", field="min_step")
    return HistoryQuery(
        path=convert.path_of_run(request.path, request.defaults, account),
        # `_step` always comes; asking for it by name changes nothing.
        keys=tuple(dict.fromkeys(key for key in request.keys if key != "_step")),
        inner=request.join == pb.HISTORY_JOIN_INNER,
        system=system,
        min_step=request.min_step if request.HasField("min_step") else None,
        max_step=request.max_step if request.HasField("max_step") else None,
        last_rows=request.last_rows,
        page_rows=min(request.upstream_page_size or PAGE_ROWS, LARGEST_UPSTREAM_PAGE),
    )
