"""Running one script in a process of its own: how long, how much memory, how many requests, and what it found."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from tests.bench.seed import requests_served
from tests.support.local_server import LocalServer


@dataclass(frozen=True)
class Sample:
    """One run of a script."""

    from_api_s: float
    """From the first `Api()` call to the end of the job, as the script saw it."""
    process_s: float
    """From starting the interpreter to its end."""
    peak_mib: float
    """Memory of the process and its children at its highest; a shared daemon is not a child."""
    requests: int
    found: str
    """A digest of the data, so that both clients are known to have done the same."""


def run_script(script: Path, arguments: Sequence[str], env: dict[str, str], server: LocalServer) -> Sample:
    """Runs a script that prints `{"seconds": ..., "found": ...}` as its last line."""
    before = requests_served(server)
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, script, *arguments], env=env, stdout=subprocess.PIPE, text=True
    )
    peak = _Peak(process.pid)
    out, _ = process.communicate(timeout=600)
    took = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{script.name} {' '.join(arguments)} failed")
    told = json.loads(out.strip().splitlines()[-1])
    served = requests_served(server) - before
    return Sample(told["seconds"], took, peak.stop(), served, told["found"])


class _Peak:
    """Watches the memory of a process tree."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            try:
                tree = [self._process, *self._process.children(recursive=True)]
                # Proportional would be fairer to shared pages, but costs too much to ask so often.
                self._most = max(self._most, sum(p.memory_info().rss for p in tree))
            except psutil.NoSuchProcess:
                return

    def stop(self) -> float:
        self._stop.set()
        self._thread.join()
        return self._most / 2**20


def middle(samples: Sequence[Sample]) -> Sample:
    """Returns the medians."""
    return Sample(
        statistics.median(s.from_api_s for s in samples),
        statistics.median(s.process_s for s in samples),
        statistics.median(s.peak_mib for s in samples),
        round(statistics.median(s.requests for s in samples)),
        samples[0].found,
    )


def machine() -> list[str]:
    """Returns the facts that figures depend on."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    packages = ", ".join(f"{name} {version(name)}" for name in ("wandb", "grpcio", "protobuf", "pandas"))
    memory = psutil.virtual_memory().total / 2**30
    return [
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}, {packages}",
    ]
