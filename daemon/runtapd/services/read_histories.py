"""ReadHistories: requests as rosters and queries, rows of many runs as messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from runtap.v1 import history_pb2 as pb
from runtapd.faults import Fault, InvalidRequest
from runtapd.history.table import STEP
from runtapd.reads.many import ManyHistories, ManyQuery, OfRun
from runtapd.reads.partitions import Partitions
from runtapd.reads.query import RunQuery
from runtapd.reads.rosters import Rosters
from runtapd.services import convert, history_messages, queries
from runtapd.services.calls import Call
from runtapd.upstream.accounts import Account


class ManyHistoryStreams:
    """Answers for the histories of many runs."""

    def __init__(self, partitions: Partitions, reads: ManyHistories, rosters: Rosters) -> None:
        self._partitions = partitions
        self._reads = reads
        self._rosters = rosters

    async def stream(
        self, request: pb.ReadHistoriesRequest, call: Call
    ) -> AsyncGenerator[pb.ReadHistoriesResponse, None]:
        """Yields the messages."""
        part = self._partitions.get(call.account_id)
        query, wishes = _query(request), convert.wishes(request.options)
        waits = convert.waits(call, request.options)
        _check_choice(request)
        paths = convert.paths_of_runs(request.paths, request.defaults, part.account)
        if paths:
            roster = self._rosters.named(part, paths, wishes, waits)
        else:
            roster = self._rosters.matching(part, _runs(request, part.account), wishes, waits)
        # Errors name a run as the request does.
        names = dict(zip(map(str, paths), request.paths, strict=True))
        async with aclosing(self._reads.read(part, roster, query, wishes, waits)) as found:
            async for of_run in found:
                yield await _message(of_run, request.format, names)
        if roster.incomplete:
            yield pb.ReadHistoriesResponse(incomplete_reason=roster.incomplete)


def _check_choice(request: pb.ReadHistoriesRequest) -> None:
    matching = bool(request.project or request.filter_json)
    if matching == bool(request.paths):
        said = "both are there" if matching else "neither is there"
        raise InvalidRequest(
            f"the runs are chosen by paths, or by project and filter_json; {said}", field="paths"
        )


def _runs(request: pb.ReadHistoriesRequest, account: Account) -> RunQuery:
    project = convert.path_of_project(request.project, request.defaults, account)
    return RunQuery.of(project, queries.filters(request.filter_json), queries.order(""))


def _query(request: pb.ReadHistoriesRequest) -> ManyQuery:
    if request.samples < 0:
        raise InvalidRequest("samples must not be negative", field="samples")
    if request.x_axis and not request.samples:
        raise InvalidRequest("x_axis is what samples are spread over; samples is not there", field="x_axis")
    history_messages.check_choices(request, ("join", "format"))
    return ManyQuery(
        keys=tuple(dict.fromkeys(request.keys))
        if request.samples
        else history_messages.wanted_keys(request.keys),
        inner=request.join == pb.HISTORY_JOIN_INNER,
        samples=request.samples,
        x_axis=request.x_axis or STEP,
    )


async def _message(
    of_run: OfRun, wanted: pb.HistoryFormat.ValueType, names: dict[str, str]
) -> pb.ReadHistoriesResponse:
    message = pb.ReadHistoriesResponse(run_path=of_run.path, run_end=of_run.ends)
    message.runs.done = of_run.done
    if of_run.total is not None:
        message.runs.total = of_run.total
    if isinstance(of_run.batch, Fault):
        item = names.get(of_run.path, of_run.path)
        message.error.CopyFrom(convert.item_error(item, of_run.batch))
    else:
        message.rows.CopyFrom(await history_messages.of_batch(of_run.batch, wanted))
    return message
