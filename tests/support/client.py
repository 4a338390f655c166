"""A home of its own for each test, the real command line run in it, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from runtap.discovery import Folders, folders
from runtap.environment import Surroundings

FAKE_DAEMON = Path(__file__).parent / "fake_runtapd"
CANARY_KEY = "canary" + "0123456789abcdef" * 4
"""A key that no output may show."""


@dataclass
class Place:
    """One RUNTAP_HOME and the environment programs of this test run in."""

    root: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / "runtap-home"

    @property
    def folders(self) -> Folders:
        return folders(Surroundings(str(self.home), "", "", True))

    @property
    def environment(self) -> dict[str, str]:
        """The developer's environment without anything that could reach a real account or daemon."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("WANDB_", "RUNTAP_", "XDG_", "NETRC"))
        }
        return {
            **kept,
            "HOME": str(self.root),
            "RUNTAP_HOME": str(self.home),
            "RUNTAP_IDLE_EXIT_S": "120",
            **self.extra,
        }

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Starts Python in this environment, with its output captured."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=self.environment,
            cwd=self.root,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Starts Python for a block, and ends it with the block whatever happens there."""
        process = self.start(*arguments)
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def runtap(self, *words: str, stdin: str | None = None) -> Outcome:
        """Runs a command line as a user would."""
        process = self.start(
            "-m", "runtap", *words, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL
        )
        return Outcome.of(process, stdin)

    def python(self, code: str) -> Outcome:
        """Runs a script."""
        return Outcome.of(self.start("-c", code))

    def info(self) -> dict[str, Any]:
        """The info file."""
        found: dict[str, Any] = json.loads(Path(self.folders.info_path).read_text())
        return found

    def processes(self) -> list[psutil.Process]:
        """Every process that runs in this home: daemons, local servers, and what a test has left."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("RUNTAP_HOME") == str(self.home) and process.pid != os.getpid():
                    found.append(process)
        return found

    def clean_up(self) -> None:
        """Ends what still runs, and removes sockets that lie elsewhere because of this place's long path."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: not self.processes())
        for lock in self.root.rglob("daemon.lock"):
            folder = Path(lock.read_text()).parent  # the daemon notes its socket there
            if folder.name.startswith("runtap-socket-"):
                shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Outcome:
    """How a program ended."""

    code: int
    out: str
    err: str

    @classmethod
    def of(cls, process: subprocess.Popen[str], stdin: str | None = None) -> Outcome:
        """Waits for the end; no program here may take long, show a traceback or the canary key."""
        try:
            out, err = process.communicate(stdin, timeout=45)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert CANARY_KEY not in out + err
        return cls(process.returncode, out, err)

    def json(self) -> Any:
        """The output as JSON, of a command that went well."""
        assert self.code == 0, self
        return json.loads(self.out)


@contextlib.contextmanager
def new_place(root: Path, **extra: str) -> Iterator[Place]:
    """A place that is cleaned up afterwards."""
    place = Place(root, extra)
    try:
        yield place
    finally:
        place.clean_up()


def kill(pid: int) -> None:
    """Ends a process at once and waits until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Polls until something is so; fails when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
