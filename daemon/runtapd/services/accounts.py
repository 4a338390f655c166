"""AccountService: who the daemon acts as."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from grpc.aio import ServicerContext

from runtap.v1 import accounts_pb2 as pb
from runtap.v1 import common_pb2
from runtapd.cache import policy
from runtapd.faults import UpstreamFault
from runtapd.journal import Journal
from runtapd.model.freshness import Freshness, Source
from runtapd.paging import Sealer
from runtapd.reads.partitions import Partitions
from runtapd.services import convert
from runtapd.services.calls import Call
from runtapd.upstream import credentials
from runtapd.upstream.accounts import Account, Accounts
from runtapd.upstream.api import ViewerData
from runtapd.upstream.credentials import Surroundings

Context = ServicerContext[Any, Any]
ACCOUNTS_PAGE = 100
LARGEST_ACCOUNTS_PAGE = 1000
_TOKEN = "accounts"


class AccountService:
    """Logs in and out."""

    capabilities = ("accounts",)

    def __init__(
        self,
        accounts: Accounts,
        partitions: Partitions,
        journal: Journal,
        sealer: Sealer,
        local_home: Path,
    ) -> None:
        self._accounts = accounts
        self._sealer = sealer
        self._partitions = partitions
        self._journal = journal
        self._local_home = local_home

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        around = Surroundings(dict(request.environment.variables), request.environment.working_directory)
        # Reads the caller's files, which may lie on a slow network.
        found = await asyncio.to_thread(
            credentials.resolve,
            request.base_url,
            request.api_key,
            around,
            self._local_home,
            self._accounts.stored_key,
            self._accounts.local_chosen,
        )
        account = await self._accounts.login(
            found,
            convert.wait(Call.of(context)),
            store=request.store,
            make_default=request.make_default,
            verify=request.verify,
        )
        return pb.LoginResponse(
            account=self._message(account),
            defaults=common_pb2.PathDefaults(
                entity=found.entity or account.viewer.entity, project=found.project
            ),
        )

    async def Logout(self, request: pb.LogoutRequest, context: Context) -> pb.LogoutResponse:
        account_id = request.account_id or Call.of(context).account_id or self._accounts.default_id
        removed = await self._accounts.logout(account_id)
        await self._partitions.drop(account_id, keep_data=request.keep_cache)
        return pb.LogoutResponse(key_removed=removed, pending_writes=self._journal.pending_count(account_id))

    async def ListAccounts(
        self, request: pb.ListAccountsRequest, context: Context
    ) -> pb.ListAccountsResponse:
        size = convert.page_size(request.page_size, ACCOUNTS_PAGE, LARGEST_ACCOUNTS_PAGE)
        start = 0
        if request.page_token:
            content = self._sealer.open(
                _TOKEN, request.page_token, field="page_token", reason="INVALID_PAGE_TOKEN"
            )
            start = content["start"]
        listed = self._accounts.all()
        more = len(listed) > start + size
        return pb.ListAccountsResponse(
            accounts=[self._message(account) for account in listed[start : start + size]],
            next_page_token=self._sealer.seal(_TOKEN, {"start": start + size}) if more else "",
        )

    async def GetViewer(self, request: pb.GetViewerRequest, context: Context) -> pb.GetViewerResponse:
        call = Call.of(context)
        account = self._partitions.get(call.account_id).account
        wishes, now = convert.wishes(request.options), self._partitions.clock()
        limit = self._partitions.limits.finished_s
        found = Freshness(account.viewer_at, Source.MEMORY)
        if not policy.usable(account.viewer_at, now, limit, wishes, 0.0) and account.upstream is not None:
            try:
                account.viewer = await account.upstream.viewer(convert.wait(call, request.options))
                account.viewer_at = now
                found = Freshness(now, Source.UPSTREAM)
            except UpstreamFault:
                if not wishes.allow_stale_on_error:
                    raise
                found = replace(found, stale=True)
        return pb.GetViewerResponse(viewer=_viewer(account.viewer), freshness=convert.freshness(found))

    def _message(self, account: Account) -> pb.Account:
        return pb.Account(
            account_id=account.account_id,
            base_url=account.base_url,
            app_url=account.app_url,
            viewer=_viewer(account.viewer),
            key_source=cast(pb.KeySource.ValueType, int(account.source)),
            stored=account.stored,
            is_default=account.account_id == self._accounts.default_id,
            blocked=account.blocked,
        )


def _viewer(viewer: ViewerData) -> pb.Viewer:
    return pb.Viewer(
        id=viewer.id,
        username=viewer.username,
        entity=viewer.entity,
        email=viewer.email,
        teams=viewer.teams,
    )
