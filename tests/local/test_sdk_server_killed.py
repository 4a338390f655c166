"""The server is killed again and again while a program logs: nothing is lost and nothing stands twice."""

import base64
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.client import Client
from tests.local.conftest import alive
from tests.local.sdk import Program, check_run, finish, wait_until
from tests.support.local_server import LocalServer, local_server, start_local_server

COUNT = '{ project(name: "through") { run(name: "through") { historyLineCount } } }'


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Program]:
    """A program on a server of its own."""
    with local_server(tmp_path / "home") as server:
        made = Program(server, Client(server.url, server.entity, server.api_key, "through"), tmp_path)
        yield made
        made.close()


def revive(server: LocalServer) -> LocalServer:
    """Kill the server, let requests fail for a moment, and start it again: on the same port, with the same key."""
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not alive(server.pid))
    time.sleep(1.2)  # longer than the SDK's pause between two requests
    again = start_local_server(server.home)
    assert (again.url, again.api_key) == (server.url, server.api_key) and again.pid != server.pid
    return again


@pytest.mark.parametrize(
    "kills", [2, pytest.param(8, marks=[pytest.mark.slow, pytest.mark.timeout(180)])], ids=["twice", "often"]
)
def test_a_killed_server_costs_no_row(mortal: Program, kills: int) -> None:
    def arrived() -> int:
        project = mortal.client.query(COUNT)["project"]
        return int(project["run"]["historyLineCount"]) if project and project["run"] else 0

    def beyond(count: int) -> None:
        wait_until(lambda: arrived() > count)

    process = mortal.start("through.py")
    beyond(0)
    server = mortal.server
    for _ in range(kills):
        time.sleep(random.random())  # anywhere between two requests, or within one
        before = arrived()
        server = revive(server)
        beyond(before)
    (mortal.folder / "enough").touch()
    wait_until(lambda: (mortal.folder / "count.json").exists())
    server = revive(server)  # while the run is brought to its end
    finish(process)

    count = mortal.record("count.json")
    mortal.run("reader.py", "through/through")
    read = mortal.record("read.json")["through/through"]
    files = {f"f{n}.txt": base64.b64encode(f"content {n}".encode()).decode() for n in range(0, count, 40)}
    logged = {
        "rows": [{"_step": n, "n": n, "text": f"row {n}"} for n in range(count)],
        "console": [["", f"line {n}"] for n in range(count)],
        "summary": {"n": count - 1, "text": f"row {count - 1}", "count": count},
        "config": {"lr": 1, "count": count},
        "files": files,
        "state": "finished",
        "monitored": True,
    }
    check_run(logged, read)
    standard = {"config.yaml", "wandb-summary.json", "wandb-metadata.json", "requirements.txt", "output.log"}
    assert read["files"].keys() == standard | files.keys()
    output = base64.b64decode(read["files"]["output.log"]).decode().splitlines()
    assert output == [f"line {n}" for n in range(count)]
