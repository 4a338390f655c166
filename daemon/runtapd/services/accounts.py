"""AccountService: who the daemon acts as."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from grpc.aio import ServicerContext

from runtap.v1 import accounts_pb2 as pb
from runtap.v1 import common_pb2
from runtapd.journal import Journal
from runtapd.model.freshness import Freshness, Source
from runtapd.reads.partitions import Partitions
from runtapd.services import convert
from runtapd.services.calls import Call
from runtapd.upstream import credentials
from runtapd.upstream.accounts import Account, Accounts
from runtapd.upstream.api import ViewerData
from runtapd.upstream.credentials import Surroundings

Context = ServicerContext[Any, Any]


class AccountService:
    """Logs in and out."""

    capabilities = ("accounts",)

    def __init__(
        self, accounts: Accounts, partitions: Partitions, journal: Journal, local_home: Path
    ) -> None:
        self._accounts = accounts
        self._partitions = partitions
        self._journal = journal
        self._local_home = local_home

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        around = Surroundings(dict(request.environment.variables), request.environment.working_directory)
        found = credentials.resolve(request.base_url, request.api_key, around, self._local_home)
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
        removed = self._accounts.logout(account_id)
        await self._partitions.drop(account_id, keep_data=request.keep_cache)
        return pb.LogoutResponse(key_removed=removed, pending_writes=self._journal.pending_count(account_id))

    async def ListAccounts(
        self, request: pb.ListAccountsRequest, context: Context
    ) -> pb.ListAccountsResponse:
        return pb.ListAccountsResponse(accounts=[self._message(account) for account in self._accounts.all()])

    async def GetViewer(self, request: pb.GetViewerRequest, context: Context) -> pb.GetViewerResponse:
        call = Call.of(context)
        account = self._partitions.get(call.account_id).account
        wishes = convert.wishes(request.options)
        source = Source.MEMORY
        if wishes.no_cache and account.upstream is not None:
            account.viewer = await account.upstream.viewer(convert.wait(call))
            account.viewer_at, source = self._partitions.clock(), Source.UPSTREAM
        return pb.GetViewerResponse(
            viewer=_viewer(account.viewer),
            freshness=convert.freshness(Freshness(account.viewer_at, source)),
        )

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
