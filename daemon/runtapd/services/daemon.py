"""DaemonService: what the daemon is, how it is, and how it ends."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from grpc.aio import ServicerContext

import runtapd
from runtap.v1 import daemon_pb2 as pb
from runtapd.faults import InvalidRequest, PreconditionFailed
from runtapd.life import DEFAULT_GRACE_S, Life
from runtapd.limits import Client
from runtapd.services.calls import Call
from runtapd.services.convert import seconds, timestamp
from runtapd.services.vitals import AccountVitals, Vitals
from runtapd.settings import LOG_LEVELS, Settings

LONGEST_GRACE_S = 300.0
_LAG_WORTH_A_WARNING_S = 0.1
_REASON_LENGTH = 60
_DESCRIPTION_LENGTH = 200
log = logging.getLogger(__name__)


class LogSwitch(Protocol):
    """What SetLogLevel turns."""

    @property
    def level(self) -> str: ...

    def set_level(self, level: str) -> str: ...


class LagGauge(Protocol):
    """Tells how late the loop last ran."""

    @property
    def lag_s(self) -> float: ...


@dataclass(frozen=True)
class Identity:
    """What stays the same for as long as the daemon lives."""

    instance_id: str
    endpoint: str
    api_revision: int
    started_at: float
    """Seconds since the epoch."""
    last_exit_reason: str
    capabilities: Sequence[str]


class DaemonService:
    """Tells about the daemon and steers it."""

    capabilities = (
        "daemon.attach",
        "daemon.shutdown",
        "daemon.log_level",
        "cache.flush",
        "cache.usage",
        "cache.prune",
    )

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        life: Life,
        vitals: Vitals,
        log_switch: LogSwitch,
        lag: LagGauge,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._life = life
        self._vitals = vitals
        self._log = log_switch
        self._lag = lag

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: ServicerContext[Any, Any]
    ) -> pb.GetServerInfoResponse:
        return self._server_info()

    async def GetStatus(
        self, request: pb.GetStatusRequest, context: ServicerContext[Any, Any]
    ) -> pb.GetStatusResponse:
        ledger, vitals = self._life.ledger, self._vitals
        status = pb.GetStatusResponse(
            server=self._server_info(),
            endpoint=self._identity.endpoint,
            state_directory=str(self._settings.state_dir),
            log_path=str(self._settings.log_path),
            log_level=self._log.level,
            clients=[_client_status(client) for client in ledger.clients()],
            accounts=[_account_status(account) for account in vitals.account_statuses()],
            pending_writes=vitals.pending_writes(),
            blocked_writes=vitals.blocked_writes(),
            open_calls=len(ledger.open_calls()),
            calls_total=ledger.calls_total,
            calls_failed=ledger.calls_failed,
            upstream_requests=vitals.upstream_requests(),
            cache_hits=vitals.cache_hits(),
            cache_misses=vitals.cache_misses(),
            resident_bytes=resident_bytes(),
            last_exit_reason=self._identity.last_exit_reason,
            start_reason=self._settings.start_reason,
            warnings=self._warnings(),
        )
        status.loop_lag.FromNanoseconds(int(self._lag.lag_s * 1e9))
        if (left := self._life.idle_left_s()) is not None:
            status.idle_exit_at.CopyFrom(timestamp(time.time() + left))
        return status

    async def Attach(
        self, request: pb.AttachRequest, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.AttachResponse]:
        client = Call.of(context, streaming=True).client
        description = request.description[:_DESCRIPTION_LENGTH]
        log.info("attached", extra={"client": client, "description": description})
        with self._life.ledger.attachment(client, description):
            yield pb.AttachResponse(event=pb.ATTACH_EVENT_ATTACHED)
            await self._life.draining.wait()
            yield pb.AttachResponse(event=pb.ATTACH_EVENT_DRAINING)

    async def Shutdown(
        self, request: pb.ShutdownRequest, context: ServicerContext[Any, Any]
    ) -> pb.ShutdownResponse:
        grace_s = _grace_s(request)
        if request.only_if_idle:
            self._require_idle(Call.of(context).client)
        # Removes the info file before it returns, so that OK means a successor may start.
        self._life.drain(request.reason[:_REASON_LENGTH] or "shutdown", grace_s)
        return pb.ShutdownResponse(pid=os.getpid(), pending_writes=self._vitals.pending_writes())

    async def FlushCache(
        self, request: pb.FlushCacheRequest, context: ServicerContext[Any, Any]
    ) -> pb.FlushCacheResponse:
        not_before = await self._vitals.flush(request.account_id)
        return pb.FlushCacheResponse(not_before=timestamp(not_before))

    async def GetCacheUsage(
        self, request: pb.GetCacheUsageRequest, context: ServicerContext[Any, Any]
    ) -> pb.GetCacheUsageResponse:
        accounts = [
            pb.AccountCacheUsage(
                account_id=usage.account_id,
                records=usage.records,
                answers=usage.answers,
                histories=usage.histories,
                disk_bytes=usage.disk_bytes,
                memory_bytes=usage.memory_bytes,
            )
            for usage in await self._vitals.cache_usage()
        ]
        return pb.GetCacheUsageResponse(accounts=accounts, limit_bytes=self._vitals.cache_limit())

    async def PruneCache(
        self, request: pb.PruneCacheRequest, context: ServicerContext[Any, Any]
    ) -> pb.PruneCacheResponse:
        account_id = request.account_id
        if account_id and account_id not in {usage.account_id for usage in await self._vitals.cache_usage()}:
            raise InvalidRequest(
                f"account_id is {account_id!r}, of which nothing is cached; GetCacheUsage lists the accounts",
                field="account_id",
            )
        if request.keep_bytes < 0:
            raise InvalidRequest(
                f"keep_bytes is {request.keep_bytes}; it must be 0 (keep nothing) or more", field="keep_bytes"
            )
        unused_since = None
        if request.HasField("unused_for"):
            unused_since = time.time() - seconds("unused_for", request.unused_for)
        freed = await self._vitals.prune(account_id, request.keep_bytes, unused_since)
        return pb.PruneCacheResponse(freed_bytes=freed)

    async def SetLogLevel(
        self, request: pb.SetLogLevelRequest, context: ServicerContext[Any, Any]
    ) -> pb.SetLogLevelResponse:
        if request.level not in LOG_LEVELS:
            raise InvalidRequest(
                f"level is {request.level!r}; it must be one of {', '.join(LOG_LEVELS)}", field="level"
            )
        return pb.SetLogLevelResponse(previous=self._log.set_level(request.level))

    def _server_info(self) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse(
            version=runtapd.__version__,
            api_revision=self._identity.api_revision,
            capabilities=self._identity.capabilities,
            instance_id=self._identity.instance_id,
            pid=os.getpid(),
            started_at=timestamp(self._identity.started_at),
            executable=sys.executable,
        )

    def _require_idle(self, client: str) -> None:
        others = self._life.ledger.others_than(client)
        writes = self._vitals.sendable_writes()
        if others or writes:
            raise PreconditionFailed(
                f"the daemon is in use: {others} other calls are open and {writes} writes can be sent; "
                f"wait for them, or ask without only_if_idle",
                reason="DAEMON_NOT_IDLE",
                metadata={"open_calls": str(others), "sendable_writes": str(writes)},
            )

    def _warnings(self) -> list[str]:
        warnings = []
        if self._lag.lag_s > _LAG_WORTH_A_WARNING_S:
            warnings.append(f"the daemon's loop last ran {self._lag.lag_s * 1000:.0f} ms late")
        if blocked := self._vitals.blocked_writes():
            warnings.append(f"{blocked} writes wait for a usable API key; log in again to send them")
        warnings += [
            f"{account.base_url} {account.held_back} (account of {account.username})"
            for account in self._vitals.account_statuses()
            if account.held_back
        ]
        if self._identity.last_exit_reason == "crash":
            warnings.append("the daemon before this one crashed or was killed")
        return warnings


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _grace_s(request: pb.ShutdownRequest) -> float:
    if not request.HasField("grace"):
        return DEFAULT_GRACE_S
    grace_s = request.grace.seconds + request.grace.nanos / 1e9
    if not 0 <= grace_s <= LONGEST_GRACE_S:
        raise InvalidRequest(
            f"grace is {grace_s:g} s; it must be between 0 and {LONGEST_GRACE_S:g} s", field="grace"
        )
    return grace_s


def _client_status(client: Client) -> pb.ClientStatus:
    return pb.ClientStatus(
        client=client.name,
        open_calls=len(client.calls),
        calls_total=client.calls_total,
        attached=bool(client.attachments),
        description=client.description,
    )


def _account_status(account: AccountVitals) -> pb.AccountStatus:
    return pb.AccountStatus(
        account_id=account.account_id,
        base_url=account.base_url,
        username=account.username,
        is_default=account.is_default,
        blocked=account.blocked,
        upstream_requests=account.upstream_requests,
        pending_writes=account.pending_writes,
    )
