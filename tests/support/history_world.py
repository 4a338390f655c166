"""Worlds of one daemon, each with a server of histories, and so an account, of its own; and reading in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from runtap.v1 import accounts_pb2, accounts_pb2_grpc
from runtap.v1 import history_pb2 as pb
from tests.support import history_model
from tests.support.daemon import Daemon
from tests.support.history_wire import Reading, reading
from tests.support.scripted_world import DEADLINE_S, World, login
from tests.support.storage_host import StorageHost
from tests.support.upstream_histories import HistoriesUpstream, Line

MESSAGE_LIMIT = 2 * 2**20
FORMATS = {"arrow": pb.HISTORY_FORMAT_ARROW, "columns": pb.HISTORY_FORMAT_COLUMNS}


@dataclass(repr=False)
class HistoryWorld(World):
    """One server of histories as one account sees it."""

    server: HistoriesUpstream

    def __repr__(self) -> str:
        return f"<world at {self.server.url}>"  # all rows of a server are too many to print

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis prints dataclasses by their fields otherwise

    def settled(self) -> None:
        """Waits until the daemon asks for nothing more."""
        asked, since = self.server.count(), time.monotonic()
        while time.monotonic() - since < 0.6:
            time.sleep(0.05)
            if self.server.count() != asked:
                asked, since = self.server.count(), time.monotonic()

    def read(self, path: str, **fields: Any) -> Reading:
        """Everything a read gives."""
        return reading(self.messages(path, **fields))

    def messages(self, path: str, **fields: Any) -> list[pb.ReadHistoryResponse]:
        """The messages of a read."""
        request = pb.ReadHistoryRequest(path=path, **fields)
        return list(self.histories().ReadHistory(request, timeout=DEADLINE_S))

    def check(self, path: str, rows: Sequence[Line] | None = None, **fields: Any) -> Reading:
        """Reads, and fails unless exactly the right rows came: those the server has, or those given."""
        found = self.read(path, **fields)
        lines = self.server.lines[path] if rows is None else rows
        keys, inner = fields.get("keys", ()), fields.get("join") == pb.HISTORY_JOIN_INNER
        choice = {name: fields[name] for name in ("min_step", "max_step", "last_rows") if name in fields}
        wanted = history_model.expected(lines, keys, inner=inner, **choice)
        history_model.same(found.rows, wanted)
        allowed = history_model.kinds(history_model.logged(lines))
        for key, kinds in found.kinds.items():
            if not (keys and "." in key):
                assert kinds <= allowed[key], f"{key} came as {kinds}"
        assert found.end.exact and found.end.progress.done == len(wanted)
        if not choice:
            assert list(found.end.unknown_keys) == history_model.unknown(lines, keys)
        return found


def world_of(server: HistoriesUpstream, daemon: Daemon) -> HistoryWorld:
    """Logs in to the server."""
    return HistoryWorld(server, daemon, login(daemon, server))


HistoryWorlds = Callable[..., HistoryWorld]


@contextmanager
def history_worlds(daemon: Daemon) -> Iterator[HistoryWorlds]:
    """Gives what makes servers, with an account of the daemon for each; with `exports=True` one that offers files."""
    with ExitStack() as stack:

        def make(*, exports: bool = False, **fields: Any) -> HistoryWorld:
            storage = StorageHost()
            if exports:
                stack.enter_context(storage)
            server = stack.enter_context(HistoriesUpstream(storage=storage, exports=exports, **fields))
            world = world_of(server, daemon)
            stack.callback(_log_out, world)
            return world

        yield make


def _log_out(world: World) -> None:
    stub = accounts_pb2_grpc.AccountServiceStub(world.daemon.channel())
    stub.Logout(accounts_pb2.LogoutRequest(account_id=world.account), timeout=DEADLINE_S)
