"""RunService: reading, listing and updating runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc.aio import ServicerContext

from runtap.v1 import runs_pb2 as pb
from runtapd.cache.policy import Wishes
from runtapd.faults import InvalidRequest, NotFound, NotInCache, PreconditionFailed
from runtapd.journal import NewWrite
from runtapd.model.run import DocumentKind
from runtapd.paging import Sealer
from runtapd.reads.partitions import Partition, Partitions
from runtapd.reads.runs import FIRST_PAGE, LARGEST_PAGE, RunQuery, RunReads, ShownRun
from runtapd.services import convert, masks, queries, updates
from runtapd.services.calls import Call
from runtapd.writes import Writes

Context = ServicerContext[Any, Any]
LARGEST_MESSAGE = 7 * 2**18
"""Bytes of runs in one message; with a run's largest size (1.5 MiB and a little) messages stay below 2 MiB."""
STREAM_MESSAGE = 2**20
DOCUMENT_PIECE = 2**20
_PAGE_TOKEN = "page_token"
_AS_CACHED = Wishes(cache_only=True)
"""An accepted write is answered whether or not the server can be reached now."""


class RunService:
    """Answers for runs."""

    capabilities = ("runs.get", "runs.list", "runs.stream", "runs.document", "runs.update")

    def __init__(self, partitions: Partitions, runs: RunReads, writes: Writes, sealer: Sealer) -> None:
        self._partitions = partitions
        self._runs = runs
        self._writes = writes
        self._sealer = sealer

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> bytes:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        path = convert.path_of_run(request.path, request.defaults, part.account)
        mask = masks.parse(request.read_mask)
        shown = await self._runs.run(part, path, convert.wishes(request.options), convert.wait(call))
        answer = pb.GetRunResponse(freshness=convert.freshness(shown.freshness))
        return convert.with_runs(answer, [await self._body(part, shown, mask)])

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> bytes:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        query = queries.run_query(request, part.account)
        mask = masks.parse(request.read_mask)
        size = convert.page_size(request.page_size, FIRST_PAGE, LARGEST_PAGE)
        offset, cursor, known = self._open(request.page_token, part, query)
        stretch, answer = await self._runs.part_of_list(
            part,
            query,
            offset=offset,
            count=size,
            page_ceiling=LARGEST_PAGE,
            wishes=convert.wishes(request.options),
            wait=convert.wait(call),
            cursor=cursor,
            answer=known,
        )
        bodies = [await self._body(part, shown, mask) for shown in stretch.runs]
        fitting = _fitting(bodies, LARGEST_MESSAGE)
        token = ""
        if fitting < len(bodies) or stretch.next_offset is not None:
            end = offset + fitting
            token = self._sealer.seal(
                _PAGE_TOKEN,
                {"q": query.key, "o": end, "c": answer.cursors[end - 1], "t": answer.fetched_at},
            )
        response = pb.ListRunsResponse(
            next_page_token=token,
            total_size=stretch.total,
            incomplete_reason="" if token else stretch.incomplete,
            freshness=convert.freshness(stretch.freshness),
        )
        return convert.with_runs(response, bodies[:fitting])

    async def StreamRuns(self, request: pb.StreamRunsRequest, context: Context) -> AsyncIterator[bytes]:
        call = Call.of(context, streaming=True)
        part = self._partitions.get(call.account_id)
        query = queries.run_query(request, part.account)
        mask = masks.parse(request.read_mask)
        if request.limit < 0 or request.skip < 0:
            raise InvalidRequest("limit and skip must not be negative", field="limit")
        waits, wishes, answer = convert.waits(call), convert.wishes(request.options), None
        size = convert.page_size(request.upstream_page_size, LARGEST_PAGE, LARGEST_PAGE)
        offset: int | None = request.skip
        done = 0
        while offset is not None and (not request.limit or done < request.limit):
            count = min(size, request.limit - done) if request.limit else size
            stretch, answer = await self._runs.part_of_list(
                part,
                query,
                offset=offset,
                count=count,
                page_ceiling=size,
                wishes=wishes,
                wait=waits(),
                answer=answer,
            )
            bodies = [await self._body(part, shown, mask) for shown in stretch.runs]
            while True:
                fitting = _fitting(bodies, STREAM_MESSAGE)
                done += fitting
                response = pb.StreamRunsResponse(
                    incomplete_reason=stretch.incomplete, freshness=convert.freshness(stretch.freshness)
                )
                response.progress.done = done
                if stretch.total is not None:
                    response.progress.total = min(stretch.total, request.limit or stretch.total)
                yield convert.with_runs(response, bodies[:fitting])
                bodies = bodies[fitting:]
                if not bodies:
                    break
            offset = stretch.next_offset

    async def ReadDocument(
        self, request: pb.ReadDocumentRequest, context: Context
    ) -> AsyncIterator[pb.ReadDocumentResponse]:
        call = Call.of(context, streaming=True)
        part = self._partitions.get(call.account_id)
        path = convert.path_of_run(request.path, request.defaults, part.account)
        if request.document not in [int(kind) for kind in DocumentKind]:
            raise InvalidRequest("document must name one of the documents of a run", field="document")
        kind = DocumentKind(request.document)
        shown = await self._runs.run(part, path, convert.wishes(request.options), convert.waits(call)())
        if request.etag and request.etag != shown.record.etag:
            raise PreconditionFailed(
                f"run {path} has changed since its document was begun; read it from the start",
                metadata={"resource": str(path)},
            )
        text = await self._runs.document(part, shown, kind)
        if text is None:
            raise NotFound(f"run {path} has no {kind.name.lower()}", reason="DOCUMENT_NOT_FOUND")
        if not 0 <= request.offset <= len(text):
            raise InvalidRequest(f"offset must lie between 0 and {len(text)}", field="offset")
        for start in range(request.offset, max(len(text), request.offset + 1), DOCUMENT_PIECE):
            piece = pb.ReadDocumentResponse(
                offset=start,
                data=text[start : start + DOCUMENT_PIECE],
                total_bytes=len(text),
                etag=shown.record.etag,
            )
            if start == request.offset:
                piece.freshness.CopyFrom(convert.freshness(shown.freshness))
            yield piece

    async def UpdateRun(self, request: pb.UpdateRunRequest, context: Context) -> bytes:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        path = convert.path_of_run(request.path, request.defaults, part.account)
        update = updates.parse(request)
        entry = await self._writes.submit(
            NewWrite(
                account_id=part.account.account_id,
                request_id=update.request_id,
                entity=path.entity,
                project=path.project,
                run_id=path.run_id,
                patch=update.patch,
                key_source=part.account.place,
            )
        )
        entry = await updates.awaited(self._writes, entry, update.wait_s, call.deadline_s)
        answer = pb.UpdateRunResponse(write=updates.write_message(entry))
        try:
            shown = await self._runs.run(part, path, _AS_CACHED, convert.wait(call))
        except NotInCache:
            return answer.SerializeToString()
        return convert.with_runs(answer, [shown.record.body])

    async def _body(self, part: Partition, shown: ShownRun, mask: masks.Mask | None) -> bytes:
        """Returns a run as it goes out."""
        if mask is None:
            return shown.record.body
        oversize = {}
        for kind in masks.wanted_oversize(mask, shown.record.oversize):
            if text := await self._runs.document(part, shown, kind):
                oversize[kind] = text
        if oversize:
            return await asyncio.to_thread(masks.apply, mask, shown.record.body, oversize)
        return masks.apply(mask, shown.record.body, oversize)

    def _open(self, token: str, part: Partition, query: RunQuery) -> tuple[int, str | None, Any]:
        """Reads a page token; returns where to go on and, if it is still there, the list it belongs to."""
        if not token:
            return 0, None, None
        content = self._sealer.open(_PAGE_TOKEN, token, field=_PAGE_TOKEN, reason="INVALID_PAGE_TOKEN")
        if content["q"] != query.key:
            raise InvalidRequest(
                "page_token belongs to another query; project, filter and order must stay as they were",
                reason="INVALID_PAGE_TOKEN",
                field=_PAGE_TOKEN,
            )
        kept = self._runs.kept_answer(part, query)
        if kept is not None and kept.fetched_at == content["t"] and len(kept.ids) >= content["o"]:
            return content["o"], None, kept
        return content["o"], content["c"], None


def _fitting(bodies: list[bytes], limit: int) -> int:
    """Returns how many of these runs fit one message; at least one, if there is any."""
    size = 0
    for i, body in enumerate(bodies):
        size += len(body) + 8
        if i and size > limit:
            return i
    return len(bodies)
