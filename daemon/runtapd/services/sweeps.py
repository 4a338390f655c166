"""SweepService: the sweeps of a project, their runs, and the best of these."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from grpc.aio import ServicerContext

from runtap.v1 import common_pb2, runs_pb2
from runtap.v1 import sweeps_pb2 as pb
from runtap_query import Order, QueryError, parse_order
from runtapd.cache import keys
from runtapd.faults import InvalidRequest
from runtapd.model.freshness import merged
from runtapd.model.paths import SweepPath
from runtapd.model.sweep import SweepData
from runtapd.paging import Sealer
from runtapd.reads.best import Best, BestRuns, Pick
from runtapd.reads.partitions import Partitions
from runtapd.reads.sweeps import SweepReads
from runtapd.services import convert, queries, spots
from runtapd.services.calls import Call
from runtapd.services.runs import RunService
from runtapd.upstream.api import Wait

Context = ServicerContext[Any, Any]
DEFAULT_PAGE = 50
LARGEST_PAGE = 1000
_PERHAPS_EMPTY = 4096
"""An answer with at least this many bytes holds a run."""
_PICKS = {
    pb.METRIC_PICK_UNSPECIFIED: Pick.LAST,
    pb.METRIC_PICK_LAST: Pick.LAST,
    pb.METRIC_PICK_MIN: Pick.MIN,
    pb.METRIC_PICK_MAX: Pick.MAX,
}


class SweepService:
    """Answers for sweeps."""

    capabilities = ("sweeps.list", "sweeps.get", "sweeps.runs", "sweeps.best")

    def __init__(
        self, partitions: Partitions, sweeps: SweepReads, best: BestRuns, runs: RunService, sealer: Sealer
    ) -> None:
        self._partitions = partitions
        self._sweeps = sweeps
        self._best = best
        self._runs = runs
        self._sealer = sealer

    async def ListSweeps(self, request: pb.ListSweepsRequest, context: Context) -> pb.ListSweepsResponse:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        project = convert.path_of_project(request.project, request.defaults, part.account)
        purpose = keys.answer_key("sweeps", account=part.account.account_id, project=str(project))
        size = convert.page_size(request.page_size, DEFAULT_PAGE, LARGEST_PAGE)
        wishes, wait = convert.wishes(request.options), convert.wait(call, request.options)
        page = await spots.given(
            self._sealer,
            request.page_token,
            purpose,
            size,
            lambda spot: self._sweeps.page(
                part, project, cursor=spot.cursor, first=spot.first, wishes=spot.wishes(wishes), wait=wait
            ),
            lambda sweep: _message(sweep, part.account.app_url),
        )
        return pb.ListSweepsResponse(
            sweeps=page.messages,
            next_page_token=page.next_page_token,
            freshness=convert.freshness(page.freshness),
        )

    async def GetSweep(self, request: pb.GetSweepRequest, context: Context) -> pb.GetSweepResponse:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        path = convert.path_of_sweep(request.path, request.defaults, part.account)
        wishes, wait = convert.wishes(request.options), convert.wait(call, request.options)
        found = await self._sweeps.sweep(part, path, wishes, wait)
        return pb.GetSweepResponse(
            sweep=_message(found.value, part.account.app_url), freshness=convert.freshness(found.freshness)
        )

    async def ListSweepRuns(self, request: pb.ListSweepRunsRequest, context: Context) -> bytes:
        """A list of runs like any other, whose filter is the sweep; its answer has the same fields."""
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        path = convert.path_of_sweep(request.path, request.defaults, part.account)
        listing = _listing(path, request.order)
        listing.page_size, listing.page_token = request.page_size, request.page_token
        listing.read_mask.CopyFrom(request.read_mask)
        listing.options.CopyFrom(request.options)
        answer = await self._runs.ListRuns(listing, context)
        if len(answer) < _PERHAPS_EMPTY:
            found = runs_pb2.ListRunsResponse.FromString(answer)
            if (
                not found.runs
                and not request.page_token
                and found.freshness.source == common_pb2.FRESHNESS_SOURCE_UPSTREAM
            ):
                # A sweep without runs and no sweep at all look the same in a list of runs.
                wishes, wait = convert.wishes(request.options), convert.wait(call, request.options)
                await self._sweeps.sweep(part, path, wishes, wait)
        return answer

    async def GetBestRun(self, request: pb.GetBestRunRequest, context: Context) -> bytes:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        path = convert.path_of_sweep(request.path, request.defaults, part.account)
        wishes = convert.wishes(request.options)
        if request.pick not in _PICKS:
            names = ", ".join(pb.MetricPick.keys()[1:])
            raise InvalidRequest(f"pick has no value {request.pick}; it can be {names}", field="pick")

        queries.order(request.order)  # what is wrong with it is told without asking the server

        def waits() -> Wait:
            return convert.wait(call, request.options)

        sweep = await self._sweeps.sweep(part, path, wishes, waits())
        wanted = request.order or sweep.value.search.order
        query = queries.run_query(_listing(path, wanted), part.account)
        pick = _PICKS[request.pick] if wanted else Pick.LAST
        best = await self._best.best(part, query, _order(query.order), pick, wishes, waits)
        answer = pb.GetBestRunResponse(
            value=best.value,
            warning=_warning(best, path, wanted),
            freshness=convert.freshness(merged([sweep.freshness, best.freshness], best.freshness)),
        )
        return convert.with_runs(answer, [] if best.run is None else [best.run.record.body])


def _listing(path: SweepPath, order: str) -> runs_pb2.ListRunsRequest:
    """Returns what asks for the runs of a sweep, in the form in which the SDK does."""
    return runs_pb2.ListRunsRequest(
        project=f"{path.entity}/{path.project}",
        filter_json=json.dumps({"$and": [{"sweep": path.sweep_id}]}),
        order=order,
    )


def _order(text: str) -> Order:
    try:
        return parse_order(text)
    except QueryError as error:
        raise InvalidRequest(str(error), reason="INVALID_ORDER", field="order") from error


def _warning(best: Best, path: SweepPath, order: str) -> str:
    """Says why there is no best run, or in what sense there is one."""
    if not best.listed:
        said = f"no run of sweep {path} could be read" if best.incomplete else f"sweep {path} has no runs yet"
    elif not order:
        said = f"sweep {path} has no metric in its configuration; this is its newest run"
    elif best.run is None:
        said = f"none of the {best.listed} runs of sweep {path} has a number for {order.lstrip('+-')}"
    else:
        said = "the best of the runs that could be listed" if best.incomplete else ""
    return f"{said}: {best.incomplete}" if best.incomplete else said


def _message(sweep: SweepData, app_url: str) -> pb.Sweep:
    place = [quote(part, safe="") for part in (sweep.entity, sweep.project, "sweeps", sweep.sweep_id)]
    return pb.Sweep(
        storage_id=sweep.storage_id,
        entity=sweep.entity,
        project=sweep.project,
        sweep_id=sweep.sweep_id,
        url="/".join([app_url, *place]),
        display_name=sweep.display_name,
        state=sweep.state,
        method=sweep.search.method,
        config_yaml=sweep.config,
        metric=sweep.search.metric,
        maximize=sweep.search.maximize,
        best_loss=sweep.best_loss,
        run_count=sweep.run_count,
        expected_run_count=sweep.expected_run_count,
        created_at=sweep.created_at,
    )
