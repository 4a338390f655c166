"""Fixtures of the tests that speak gRPC to a real daemon process: one of its own for a test, or one for many users."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon, start_daemon
from tests.support.many_accounts import Office, PersonalUpstream, Seat, key_of
from tests.support.scripted_world import World, make_world
from tests.support.upstream import ScriptedUpstream

StartDaemon = Callable[..., Daemon]
_numbers = count()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartDaemon]:
    """Starts daemons; whatever was started is ended and looked over when the test is done."""
    started: list[Daemon] = []

    def start_one(home: Path | None = None, env: Mapping[str, str] | None = None, **more: Any) -> Daemon:
        daemon = start_daemon(home or tmp_path / "home", env, **more)
        started.append(daemon)
        return daemon

    yield start_one
    with ExitStack() as checks_then_ends:  # runs backwards: every daemon is ended before the first check
        for daemon in started:
            checks_then_ends.callback(daemon.check_clean)
        for daemon in started:
            checks_then_ends.callback(daemon.end)


@pytest.fixture
def daemon(start: StartDaemon) -> Daemon:
    """A daemon of its own for one test."""
    return start()


# Many accounts on one daemon, which all tests of a module share: each test has users of its own


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """One daemon and two servers."""
    home = tmp_path_factory.mktemp("office") / "home"
    with PersonalUpstream(name="here") as here, PersonalUpstream(name="there") as there:
        here.furnish()
        there.furnish()
        with start_daemon(home) as daemon:
            yield Office(daemon, here, there)


@pytest.fixture
def name(office: Office) -> str:
    """A user nobody else is, on both servers."""
    name = f"user{next(_numbers)}"
    office.daemon.secrets += [server.user(name) for server in (office.here, office.there)]
    return name


@pytest.fixture
def other(office: Office, name: str) -> str:
    """Another one, on the first server."""
    office.daemon.secrets.append(office.here.user(f"{name}-other"))
    return f"{name}-other"


@pytest.fixture(params=["two users of one server", "one user of two servers"])
def pair(request: pytest.FixtureRequest, office: Office, name: str, other: str) -> tuple[Seat, Seat]:
    """Two accounts that have little to tell them apart."""
    first = office.account(office.here, key_of(name))
    if request.param.startswith("two users"):
        return first, office.account(office.here, key_of(other))
    return first, office.account(office.there, key_of(name))


@pytest.fixture(scope="module")
def seat(office: Office) -> Seat:
    """One account, for tests that change nothing."""
    key = office.here.user("ada")
    office.daemon.secrets.append(key)
    return office.account(office.here, key)


@pytest.fixture(scope="module")
def server(office: Office) -> PersonalUpstream:
    """The server of that account."""
    return office.here


@pytest.fixture
def world(server: ScriptedUpstream, start: StartDaemon) -> World:
    """A daemon in front of the module's own `server`, with one account."""
    return make_world(server, start)
