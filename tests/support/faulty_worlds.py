"""Worlds of one daemon: each with a faulty server, and so an account, of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from runtap.v1 import accounts_pb2, accounts_pb2_grpc
from tests.support.daemon import Daemon
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.scripted_world import DEADLINE_S, World, login

Worlds = Callable[..., World]


@contextmanager
def faulty_worlds(daemon: Daemon) -> Iterator[Worlds]:
    """Gives what makes servers, with an account of the daemon for each."""
    with ExitStack() as stack:

        def make(**fields: Any) -> World:
            server = stack.enter_context(FaultyUpstream(**fields))
            world = World(server, daemon, login(daemon, server))
            stack.callback(_log_out, world)
            return world

        yield make


def server_of(world: World) -> FaultyUpstream:
    """The server of such a world."""
    assert isinstance(world.server, FaultyUpstream)
    return world.server


def _log_out(world: World) -> None:
    stub = accounts_pb2_grpc.AccountServiceStub(world.daemon.channel())
    stub.Logout(accounts_pb2.LogoutRequest(account_id=world.account), timeout=DEADLINE_S)
