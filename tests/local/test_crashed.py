"""Which runs are called crashed: those that fell silent, not those that could not be heard."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtap_local.program.upkeep import Listener
from tests.local.client import Client
from tests.local.sdk import wait_until
from tests.support.local_server import base_env

SET_CLOCK = """
import sys, time
from pathlib import Path
from runtap_local.program.cli import main

real, offset = time.time_ns, Path(sys.argv.pop(1))
time.time_ns = lambda: real() + int(offset.read_text()) * 1_000_000_000
main()
"""
HOUR = 3600
SECOND = 1_000_000


class Clock:
    """A server under a clock that can be set."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self.set(0)
        home = folder / "home"
        reader, writer = os.pipe()
        command = [sys.executable, "-c", SET_CLOCK, str(self._offset), "--home", str(home), "serve"]
        self.process = subprocess.Popen(
            [*command, "--ready-fd", str(writer)],
            env={**base_env(folder), "RUNTAP_LOCAL_CRASH_AFTER_S": "1.5"},
            pass_fds=(writer,),
            stderr=subprocess.DEVNULL,
        )
        os.close(writer)
        with os.fdopen(reader) as ready:
            url = json.loads(ready.readline())["url"]
        info = json.loads((home / "local.json").read_text())
        self.client = Client(url, info["entity"], info["api_key"])

    def set(self, seconds: int) -> None:
        """Set it so far from the right time."""
        temporary = self._offset.with_suffix(".new")
        temporary.write_text(str(seconds))
        temporary.replace(self._offset)

    def state(self, name: str) -> str:
        """The state of a run."""
        return str(self.client.run(name, "state")["state"])


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clock]:
    """One that is ended with its server."""
    made = Clock(tmp_path)
    yield made
    made.process.terminate()
    assert made.process.wait(15) == 0


def test_a_clock_that_is_set_makes_no_run_crash(clock: Clock) -> None:
    client, moments = clock.client, []
    client.upsert("alive")
    for offset in (2 * HOUR, -3 * HOUR):
        client.upsert("dead")
        clock.set(offset)

        def is_dead() -> bool:
            client.stream("alive")
            run = client.run("alive", "state updatedAt")
            moments.append(run["updatedAt"])
            assert run["state"] == "running"
            return clock.state("dead") == "crashed"

        wait_until(is_dead)
    assert moments == sorted(set(moments))


def test_silence_counts_once_it_was_listened_to() -> None:
    listener = Listener(100 * SECOND, 5000 * SECOND, 0)
    found = []
    # A clock that is a little slow, is set forward, goes on, and is set back; then the machine sleeps.
    for clock, ran in ((5099, 99), (5101, 102), (9000, 150), (9051, 201), (9099, 249), (9100, 250)):
        found.append((ran, listener.is_sure(clock * SECOND, ran * SECOND)))
    for clock, ran in ((2000, 260), (2099, 359), (2100, 360), (30_000, 361), (30_099, 460), (30_100, 461)):
        found.append((ran, listener.is_sure(clock * SECOND, ran * SECOND)))
    assert [ran for ran, sure in found if sure] == [102, 250, 360, 461]
