"""SweepService: the sweeps of a project."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from grpc.aio import ServicerContext

from runtap.v1 import sweeps_pb2 as pb
from runtapd.cache import keys
from runtapd.model.sweep import SweepData
from runtapd.paging import Sealer
from runtapd.reads.partitions import Partitions
from runtapd.reads.sweeps import SweepReads
from runtapd.services import convert, spots
from runtapd.services.calls import Call

Context = ServicerContext[Any, Any]
DEFAULT_PAGE = 50
LARGEST_PAGE = 1000


class SweepService:
    """Answers for sweeps."""

    capabilities = ("sweeps.list", "sweeps.get")

    def __init__(self, partitions: Partitions, sweeps: SweepReads, sealer: Sealer) -> None:
        self._partitions = partitions
        self._sweeps = sweeps
        self._sealer = sealer

    async def ListSweeps(self, request: pb.ListSweepsRequest, context: Context) -> pb.ListSweepsResponse:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        project = convert.path_of_project(request.project, request.defaults, part.account)
        purpose = keys.answer_key("sweeps", account=part.account.account_id, project=str(project))
        size = convert.page_size(request.page_size, DEFAULT_PAGE, LARGEST_PAGE)
        spot = spots.opened(self._sealer, request.page_token, purpose, size)
        found = await self._sweeps.page(
            part,
            project,
            cursor=spot.cursor,
            first=spot.first,
            wishes=spot.wishes(convert.wishes(request.options)),
            wait=convert.wait(call, request.options),
        )
        sweeps = [_message(sweep, part.account.app_url) for sweep in found.value.items[spot.skip :]]
        given = spots.fitting(sweeps)
        return pb.ListSweepsResponse(
            sweeps=sweeps[:given],
            next_page_token=spots.sealed(self._sealer, spots.behind(spot, found, given), purpose),
            freshness=convert.freshness(found.freshness),
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
