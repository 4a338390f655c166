"""A real daemon in front of a scripted upstream, for the tests of reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import grpc
import pytest

from runtap.v1 import accounts_pb2, accounts_pb2_grpc, common_pb2, history_pb2_grpc, runs_pb2, runs_pb2_grpc
from tests.support.daemon import Daemon
from tests.support.status import Failure, failure_of
from tests.support.upstream import ENTITY, KEY, ScriptedUpstream


class _Paged(Protocol):
    @property
    def next_page_token(self) -> str: ...


Page = TypeVar("Page", bound=_Paged)
PROJECT = "vision"
DEADLINE_S = 20.0


@dataclass
class World:
    """One daemon, one server, one account."""

    server: ScriptedUpstream
    daemon: Daemon
    account: str
    sizes: list[int] = field(default_factory=list)
    """Bytes of every message received through the stubs of this world."""

    def channel(self, account: str | None = None, client: str = "test/1/0") -> grpc.Channel:
        channel = self.daemon.channel(client, account=self.account if account is None else account)
        return grpc.intercept_channel(channel, _Sizes(self.sizes))

    def runs(self, **options: str) -> runs_pb2_grpc.RunServiceStub:
        return runs_pb2_grpc.RunServiceStub(self.channel(**options))

    def histories(self, **options: str) -> history_pb2_grpc.HistoryServiceStub:
        return history_pb2_grpc.HistoryServiceStub(self.channel(**options))

    def accounts(self, **options: str) -> accounts_pb2_grpc.AccountServiceStub:
        return accounts_pb2_grpc.AccountServiceStub(self.channel(**options))

    def add_runs(self, count: int, prefix: str = "r", **fields: Any) -> None:
        """Adds runs; the last one is the newest."""
        for i in range(count):
            self.server.add_run(ENTITY, PROJECT, f"{prefix}{i:04}", **fields)

    def get(self, run_id: str, timeout: float = DEADLINE_S, **fields: Any) -> runs_pb2.GetRunResponse:
        request = runs_pb2.GetRunRequest(path=f"{ENTITY}/{PROJECT}/{run_id}", **fields)
        return self.runs().GetRun(request, timeout=timeout)

    def list(self, timeout: float = DEADLINE_S, **fields: Any) -> runs_pb2.ListRunsResponse:
        request = runs_pb2.ListRunsRequest(**{"project": f"{ENTITY}/{PROJECT}"} | fields)
        return self.runs().ListRuns(request, timeout=timeout)

    def pages(self, **fields: Any) -> Iterator[runs_pb2.ListRunsResponse]:
        """Every page of a list."""
        return self.pages_from("", **fields)

    def pages_from(self, token: str, **fields: Any) -> Iterator[runs_pb2.ListRunsResponse]:
        """The pages from a token on."""
        return all_pages(lambda token: self.list(page_token=token, **fields), token)

    def stream(self, timeout: float = DEADLINE_S, **fields: Any) -> Sequence[runs_pb2.StreamRunsResponse]:
        request = runs_pb2.StreamRunsRequest(**{"project": f"{ENTITY}/{PROJECT}"} | fields)
        return list(self.runs().StreamRuns(request, timeout=timeout))


def all_pages(ask: Callable[[str], Page], token: str = "") -> Iterator[Page]:
    """The pages from a token on; the next one is asked for when it is wanted."""
    while True:
        page = ask(token)
        yield page
        token = page.next_page_token
        if not token:
            return


def make_world(server: ScriptedUpstream, start: Callable[..., Daemon]) -> World:
    """Starts a daemon and logs in to the server; what the daemon leaves behind must not hold the key."""
    daemon = start(secrets=[KEY])
    return World(server, daemon, login(daemon, server))


def login(daemon: Daemon, server: ScriptedUpstream, key: str = KEY, **fields: Any) -> str:
    """Logs in and returns the account's id."""
    request = accounts_pb2.LoginRequest(base_url=server.url, api_key=key, **fields)
    stub = accounts_pb2_grpc.AccountServiceStub(daemon.channel())
    return stub.Login(request, timeout=DEADLINE_S).account.account_id


def failing(call: Callable[[], object]) -> Failure:
    """The failure a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return failure_of(caught.value)


def options(**fields: Any) -> common_pb2.ReadOptions:
    return common_pb2.ReadOptions(**fields)


class _Sizes(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Notes how large each message is that arrives."""

    def __init__(self, sizes: list[int]) -> None:
        self._sizes = sizes

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = continuation(client_call_details, request)
        call.add_done_callback(self._note)
        return call

    def _note(self, call: Any) -> None:
        if not call.cancelled() and call.code() is grpc.StatusCode.OK:
            self._sizes.append(call.result().ByteSize())

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return _Counted(continuation(client_call_details, request), self._sizes)


class _Counted:
    """A stream that notes the size of its messages."""

    def __init__(self, call: Any, sizes: list[int]) -> None:
        self._call, self._sizes = call, sizes

    def __iter__(self) -> Any:
        for message in self._call:
            self._sizes.append(message.ByteSize())
            yield message

    def __next__(self) -> Any:
        message = next(self._call)
        self._sizes.append(message.ByteSize())
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)
