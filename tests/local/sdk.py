"""Driving the real SDK: run a script of ``scripts``, hold what was read against what was logged, and look for errors
that the SDK wrote into its own logs."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from tests.local.client import Client
from tests.support.local_server import REPOSITORY, LocalServer, sdk_env

SCRIPTS = Path(__file__).with_name("scripts")


# Between the parts of the SDK, when a program ends in a hurry: no server has a part in it.
_AMONG_ITSELF = (
    "processOutgoingData: flush error",
    "tried to respond on closed connection",
    "sendSystemMetrics called after exit",
)
Process = subprocess.Popen[str]


@dataclass(frozen=True)
class Program:
    """A script under the real SDK: whose key it has, and the folder in which it runs and leaves its records."""

    server: LocalServer
    client: Client
    folder: Path
    processes: list[Process] = field(default_factory=list)

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of its processes."""
        env = {**sdk_env(self.server, self.folder), "WANDB_API_KEY": self.client.api_key}
        env["PYTHONPATH"] = os.pathsep.join((env["PYTHONPATH"], str(REPOSITORY)))
        env["PYTHONUNBUFFERED"] = "1"
        return {**env, **more}

    def start(self, script: str, *arguments: str, python: str = sys.executable, **env: str) -> Process:
        """Begin a script and leave it running; ``close`` ends it if nobody else does."""
        process = subprocess.Popen(
            [python, str(SCRIPTS / script), *arguments],
            env=self.environment(**env),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, script: str, *arguments: str, **options: str) -> None:
        """Run a script to its end, which must be a good one."""
        finish(self.start(script, *arguments, **options))

    def beside(self, name: str) -> "Program":
        """The same user in another folder: some of what the SDK remembers, it remembers for a folder."""
        folder = self.folder / name
        folder.mkdir()
        return replace(self, folder=folder)

    def close(self) -> None:
        """End what is left."""
        for process in self.processes:
            if process.poll() is None:
                kill(process)
            process.communicate()

    def record(self, name: str) -> Any:
        """What the script wrote down."""
        return json.loads((self.folder / name).read_text())

    def check_logs(self, allowed: Iterable[str] = ()) -> None:
        """The SDK complained of nothing in its own logs, but for lines with one of the allowed texts."""
        found = []
        for log in sorted((self.folder / "sdk" / "dir" / "wandb").glob("*run-*/logs/debug-*.log")):
            for line in log.read_text(errors="replace").splitlines():
                loud = re.search(r'"level":"(ERROR|WARN)"| ERROR ', line)
                if loud and not any(text in line for text in (*allowed, *_AMONG_ITSELF)):
                    found.append(line)
        assert not found, "\n".join(found)


def differences(logged: Any, read: Any, where: str = "") -> list[str]:
    """Where what was read is not what was logged. Numbers count by value, NaN equals NaN, True is not 1."""
    if isinstance(logged, dict) and isinstance(read, dict):
        found = [f"{where}.{key}: logged, not read" for key in logged.keys() - read.keys()]
        found += [
            f"{where}.{key}: read {read[key]!r:.200}, not logged" for key in read.keys() - logged.keys()
        ]
        for key in logged.keys() & read.keys():
            found += differences(logged[key], read[key], f"{where}.{key}")
        return found
    if isinstance(logged, list) and isinstance(read, list):
        found = [] if len(logged) == len(read) else [f"{where}: {len(logged)} logged, {len(read)} read"]
        for index, (one, other) in enumerate(zip(logged, read, strict=False)):
            found += differences(one, other, f"{where}[{index}]")
        return found
    return [] if _same(logged, read) else [f"{where}: logged {logged!r:.200}, read {read!r:.200}"]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def check_run(logged: dict[str, Any], read: dict[str, Any]) -> None:
    """Every value that a script says it logged is what ``kit.read`` read."""
    found = []
    for part in logged.keys() & read.keys() - {"summary", "files"}:
        found += differences(logged[part], read[part], part)
    for name, content in logged.get("files", {}).items():
        found += differences(content, read["files"].get(name), f"files.{name}")
    if "summary" in logged:
        found += differences(logged["summary"], _summary(read["summary"], logged["summary"]), "summary")
    if "rows" in logged:
        rows = logged["rows"]
        found += differences(rows, read["sampled"], "sampled")
        found += differences(max((row["_step"] for row in rows), default=-1), read["last_step"], "last_step")
        found += [] if read["times"] == sorted(read["times"]) else ["times: they go back"]
    assert not found, "\n".join(found[:40])
    assert "3." in read["metadata"]["python"]
    if logged.get("monitored"):  # a very short run ends before the first look at the system
        assert read["events"] > 0 and any(key.startswith("system.") for key in read["system"])


def _summary(summary: dict[str, Any], logged: dict[str, Any]) -> dict[str, Any]:
    own = {"_step", "_runtime", "_timestamp", "_wandb"} - logged.keys()
    return {key: value for key, value in summary.items() if key not in own}


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def finish(process: Process, timeout: float = 50, code: int = 0) -> str:
    """Wait for a program, which must end with the code expected; what it wrote to stderr."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == code, f"ended with {process.returncode}:\n{out[-2000:]}\n{err[-3000:]}"
    return err


def kill(process: Process) -> None:
    """End a program the hard way, with the SDK's own process, which would bring its run to a proper end."""
    parent = psutil.Process(process.pid)
    for child in [*parent.children(recursive=True), parent]:
        os.kill(child.pid, signal.SIGKILL)
    process.communicate(timeout=10)
