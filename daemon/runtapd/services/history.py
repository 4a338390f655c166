"""HistoryService: the rows of a run."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from grpc.aio import ServicerContext

from runtap.v1 import history_pb2 as pb
from runtapd.faults import InvalidRequest
from runtapd.history.fetch import PAGE_ROWS
from runtapd.paging import Sealer
from runtapd.reads.histories import HistoryReads
from runtapd.reads.partitions import Partitions
from runtapd.reads.reading import HistoryQuery, Position
from runtapd.reads.samples import read_sample
from runtapd.services import convert, history_messages, sample_history
from runtapd.services.calls import Call
from runtapd.services.history_keys import HistoryKeyPages
from runtapd.services.read_histories import ManyHistoryStreams
from runtapd.upstream.accounts import Account

Context = ServicerContext[Any, Any]
LARGEST_UPSTREAM_PAGE = 10_000
_TOKEN = "resume_token"


class HistoryService:
    """Answers for histories."""

    capabilities = ("history.read", "history.keys", "history.sample", "history.many")

    def __init__(
        self,
        partitions: Partitions,
        histories: HistoryReads,
        many: ManyHistoryStreams,
        keys: HistoryKeyPages,
        sealer: Sealer,
    ) -> None:
        self._partitions = partitions
        self._histories = histories
        self._many = many
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
            message = await history_messages.of_batch(batch, request.format)
            if batch.resume is not None:
                message.resume_token = self._sealer.seal(_TOKEN, {"d": digest, "p": asdict(batch.resume)})
            yield message

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

    async def ReadHistories(
        self, request: pb.ReadHistoriesRequest, context: Context
    ) -> AsyncIterator[pb.ReadHistoriesResponse]:
        messages = self._many.stream(request, Call.of(context, streaming=True))
        async with aclosing(messages):
            async for message in messages:
                yield message

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
    history_messages.check_choices(request, ("join", "stream", "format"))
    system = request.stream == pb.HISTORY_STREAM_SYSTEM
    if system and (request.HasField("min_step") or request.HasField("max_step")):
        raise InvalidRequest("system metrics have no steps to choose by", field="min_step")
    return HistoryQuery(
        path=convert.path_of_run(request.path, request.defaults, account),
        keys=history_messages.wanted_keys(request.keys),
        inner=request.join == pb.HISTORY_JOIN_INNER,
        system=system,
        min_step=request.min_step if request.HasField("min_step") else None,
        max_step=request.max_step if request.HasField("max_step") else None,
        last_rows=request.last_rows,
        page_rows=min(request.upstream_page_size or PAGE_ROWS, LARGEST_UPSTREAM_PAGE),
    )
