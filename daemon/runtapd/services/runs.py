"""RunService: reading, listing and updating runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from grpc.aio import ServicerContext

from runtap.v1 import common_pb2
from runtap.v1 import runs_pb2 as pb
from runtap_query import And, filter_text
from runtapd.cache.policy import Wishes
from runtapd.faults import InvalidRequest, NotFound, NotInCache, PreconditionFailed
from runtapd.journal import NewWrite
from runtapd.model.freshness import merged
from runtapd.model.run import DocumentKind
from runtapd.paging import Sealer
from runtapd.reads.answers import LARGEST_PAGE
from runtapd.reads.batches import Batches
from runtapd.reads.documents import open_document
from runtapd.reads.growing import Sizes
from runtapd.reads.lists import FIRST_PAGE, RunLists
from runtapd.reads.overlay import ShownRun
from runtapd.reads.pages import Pages
from runtapd.reads.partitions import Partitions
from runtapd.reads.runs import RunReads
from runtapd.services import bodies, convert, masks, places, queries, updates
from runtapd.services.calls import Call
from runtapd.upstream.api import Urgency
from runtapd.writes import Writes

Context = ServicerContext[Any, Any]
LARGEST_MESSAGE = 7 * 2**18
"""Bytes of runs in one message; with a run's largest size (1.5 MiB and a little) messages stay below 2 MiB."""
STREAM_MESSAGE = 2**20
STREAM_HELD = 2 * 2**20
"""About how many bytes of runs a stream holds while its reader does not read."""
AT_HAND = 256
"""Runs on a first page of which nobody said how long it may be, when so many are known already."""
FIRST_STRETCH = 32
DOCUMENT_PIECE = 2**20
_AS_CACHED = Wishes(cache_only=True)
"""An accepted write is answered whether or not the server can be reached now."""


class RunService:
    """Answers for runs."""

    capabilities = (
        "runs.get",
        "runs.batch",
        "runs.list",
        "runs.stream",
        "runs.document",
        "runs.update",
        "runs.explain",
    )

    def __init__(
        self, partitions: Partitions, runs: RunReads, lists: RunLists, writes: Writes, sealer: Sealer
    ) -> None:
        self._partitions = partitions
        self._runs = runs
        self._batches = Batches(runs, Pages(partitions.clock))
        self._lists = lists
        self._writes = writes
        self._sealer = sealer

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> bytes:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        path = convert.path_of_run(request.path, request.defaults, part.account)
        mask = masks.parse(request.read_mask)
        wishes, wait = convert.wishes(request.options), convert.wait(call, request.options)
        shown = await self._runs.run(part, path, wishes, wait)
        answer = pb.GetRunResponse(freshness=convert.freshness(shown.freshness))
        return convert.with_runs(answer, await bodies.of(part, [shown], mask, wishes, wait))

    async def BatchGetRuns(self, request: pb.BatchGetRunsRequest, context: Context) -> bytes:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        paths = convert.paths_of_runs(request.paths, request.defaults, part.account)
        mask = masks.parse(request.read_mask)
        wishes, wait = convert.wishes(request.options), convert.wait(call, request.options)
        found = await self._batches.runs(part, paths, wishes, wait)
        shown = [run for run in found if isinstance(run, ShownRun)]
        runs = await bodies.of(part, shown, mask, wishes, wait, enough=LARGEST_MESSAGE)
        fitting = bodies.fitting(runs, LARGEST_MESSAGE)
        named = [text for text, run in zip(request.paths, found, strict=True) if isinstance(run, ShownRun)]
        freshness = [run.freshness for run in shown[:fitting]]
        answer = pb.BatchGetRunsResponse(
            errors=[
                convert.item_error(text, fault)
                for text, fault in zip(request.paths, found, strict=True)
                if not isinstance(fault, ShownRun)
            ],
            unread=named[fitting:],
            freshness=convert.freshness(merged(freshness, freshness[0])) if freshness else None,
        )
        return convert.with_runs(answer, runs[:fitting])

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> bytes:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        query = queries.run_query(request, part.account)
        mask = masks.parse(request.read_mask)
        wishes, wait = convert.wishes(request.options), convert.wait(call, request.options)
        size = convert.page_size(request.page_size, FIRST_PAGE, LARGEST_PAGE)
        purpose = places.purpose(part.account.account_id, query, mask)
        place = places.opened(self._sealer, request.page_token, purpose)
        if place is not None:
            wait.urgency = Urgency.BULK
        # Whoever wants a second page wants the list; a page size that was asked for is a ceiling, though.
        asked = bool(request.page_size)
        sizes = Sizes(
            size if asked or place is None else LARGEST_PAGE, renewed=size if asked else LARGEST_PAGE
        )
        answer = await self._lists.answer(part, query, wishes, place)
        offset = place.offset if place else 0
        if not asked and place is None:
            size = max(size, min(answer.end, AT_HAND))
        likely = bodies.likely(part, answer, offset, size, LARGEST_MESSAGE) if mask is None else size
        stretch, _ = await self._lists.part(
            part,
            query,
            answer,
            offset=offset,
            count=likely,
            sizes=sizes,
            wishes=wishes,
            waits=lambda: wait,
        )
        runs = await bodies.of(part, stretch.runs, mask, wishes, wait, enough=LARGEST_MESSAGE)
        fitting = bodies.fitting(runs, LARGEST_MESSAGE)
        cut = fitting < len(stretch.runs)
        behind = stretch.place(stretch.ends[fitting - 1]) if cut else stretch.next
        response = pb.ListRunsResponse(
            next_page_token=places.sealed(self._sealer, behind, purpose) if behind else "",
            total_size=stretch.total,
            errors=convert.item_errors(stretch, behind),
            incomplete_reason="" if behind else stretch.incomplete,
            freshness=convert.freshness(stretch.freshness),
        )
        return convert.with_runs(response, runs[:fitting])

    async def ExplainQuery(
        self, request: pb.ExplainQueryRequest, context: Context
    ) -> pb.ExplainQueryResponse:
        part = self._partitions.get(Call.of(context).account_id)
        query = queries.run_query(request, part.account)
        split = self._lists.split(part, query)
        return pb.ExplainQueryResponse(
            normalized_filter_json=query.filters,
            normalized_order=query.order,
            upstream_filter_json=split.filters_text,
            upstream_order=split.order_text,
            local_filter_json=filter_text(split.rest) if split.rest != And(()) else "",
            local_order="" if split.whole else query.order,
            warnings=queries.warnings(request),
        )

    async def StreamRuns(self, request: pb.StreamRunsRequest, context: Context) -> AsyncIterator[bytes]:
        call = Call.of(context, streaming=True)
        part = self._partitions.get(call.account_id)
        query = queries.run_query(request, part.account)
        mask = masks.parse(request.read_mask)
        if request.limit < 0 or request.skip < 0:
            field = "limit" if request.limit < 0 else "skip"
            raise InvalidRequest(f"{field} must not be negative", field=field)
        waits, wishes = convert.waits(call, request.options), convert.wishes(request.options)
        size = convert.page_size(
            request.upstream_page_size, LARGEST_PAGE, LARGEST_PAGE, field="upstream_page_size"
        )
        answer = await self._lists.answer(part, query, wishes, None)
        offset, done, count, over = request.skip, 0, FIRST_STRETCH, False
        end = offset + request.limit if request.limit else None
        while not over:
            stretch, answer = await self._lists.part(
                part,
                query,
                answer,
                offset=offset,
                count=count if end is None else min(count, end - offset),
                sizes=_sizes(size, None if end is None else end - answer.end),
                wishes=wishes,
                waits=waits,
            )
            over = stretch.next is None or stretch.next.offset == end
            runs = await bodies.of(part, stretch.runs, mask, wishes, waits())
            pieces = bodies.cut(runs, STREAM_MESSAGE)
            for i, piece in enumerate(pieces):
                errors = [] if i else convert.item_errors(stretch)
                done += len(piece) + len(errors)
                last = over and i == len(pieces) - 1
                response = pb.StreamRunsResponse(
                    errors=errors,
                    progress=_progress(done, stretch.total, request),
                    incomplete_reason=stretch.incomplete if last else "",
                    freshness=convert.freshness(stretch.freshness),
                )
                yield convert.with_runs(response, piece)
            offset = stretch.next.offset if stretch.next else offset
            count = _next_stretch(stretch.runs)

    async def ReadDocument(
        self, request: pb.ReadDocumentRequest, context: Context
    ) -> AsyncIterator[pb.ReadDocumentResponse]:
        call = Call.of(context, streaming=True)
        part = self._partitions.get(call.account_id)
        path = convert.path_of_run(request.path, request.defaults, part.account)
        if request.document not in [int(kind) for kind in DocumentKind]:
            names = ", ".join(name for name in pb.Document.keys() if pb.Document.Value(name))  # noqa: SIM118
            raise InvalidRequest(f"document must be one of {names}", field="document")
        if request.offset and not request.etag:
            raise InvalidRequest("an offset needs the etag of the part before it", field="etag")
        kind, wishes, waits = (
            DocumentKind(request.document),
            convert.wishes(request.options),
            convert.waits(call, request.options),
        )
        shown = await self._runs.run(part, path, wishes, waits())
        etag, freshness = shown.record.etag, shown.freshness
        if request.etag not in ("", etag):
            raise PreconditionFailed(
                f"run {path} has changed since its document was begun; read it from the start",
                metadata={"resource": str(path)},
            )
        text = await open_document(part, shown, kind, wishes, waits())
        del shown  # it may hold megabytes, and a slow reader takes long
        if text is None:
            raise NotFound(f"run {path} has no {kind.name.lower()}", reason="DOCUMENT_NOT_FOUND")
        if not 0 <= request.offset <= text.size:
            raise InvalidRequest(f"offset must lie between 0 and {text.size}", field="offset")
        for start in range(request.offset, max(text.size, request.offset + 1), DOCUMENT_PIECE):
            data = await text.piece(start, DOCUMENT_PIECE)
            piece = pb.ReadDocumentResponse(offset=start, data=data, total_bytes=text.size, etag=etag)
            if start == request.offset:
                piece.freshness.CopyFrom(convert.freshness(freshness))
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


def _sizes(most: int, left: int | None) -> Sizes:
    """Returns what to ask of a server at once, when so many runs are left to be given."""
    page = most if left is None else min(most, max(1, left))
    return Sizes(page, renewed=page, judged=most)


def _progress(done: int, total: int | None, request: pb.StreamRunsRequest) -> common_pb2.Progress:
    if total is None:
        return common_pb2.Progress(done=done)
    left = max(0, total - request.skip)
    return common_pb2.Progress(done=done, total=min(left, request.limit or left))


def _next_stretch(runs: list[ShownRun]) -> int:
    """Returns how many runs to take next, so that a stream holds a few MiB however large its runs are."""
    size = sum(len(shown.record.body) for shown in runs)
    return max(1, min(LARGEST_PAGE, STREAM_HELD * len(runs) // size)) if size else FIRST_STRETCH
