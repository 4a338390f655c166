"""One real server for most tests of a worker, a user and an entity of their own for each test."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runtap_local.program.home import Home
from runtap_local.program.manage import add_user
from tests.local.client import Client
from tests.local.sdk import Program
from tests.support.local_server import LocalServer, local_server


def check_no_leaks(server: LocalServer, keys: list[str]) -> None:
    """No key stands anywhere in the data folder but in the one file made for it."""
    for path in server.home.rglob("*"):
        if path.is_file() and path.name != "local.json":
            content = path.read_bytes()
            assert not any(key.encode() in content for key in keys), f"an API key stands in {path}"


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server that lives as long as the test session; nothing is left of it afterwards."""
    home: Path = tmp_path_factory.mktemp("local") / "home"
    with local_server(home) as running:
        yield running
    check_no_leaks(running, [running.api_key])
    assert not alive(running.pid)


@pytest.fixture
def client(server: LocalServer) -> Client:
    """A new user of the session's server."""
    name = "u" + uuid.uuid4().hex[:10]
    # As `user add` does beside the running server, without the cost of a process per test.
    user, key = add_user(Home(server.home), name, None)
    return Client(server.url, user.entity, key)


@pytest.fixture
def program(server: LocalServer, client: Client, tmp_path: Path) -> Iterator[Program]:
    """A way to run scripts under the real SDK, as a user of their own."""
    made = Program(server, client, tmp_path)
    yield made
    made.close()
