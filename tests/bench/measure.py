"""Running a script in processes of its own: how long, how much memory, how many requests, and what it found."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Sample:
    """One run of a script."""

    from_api_s: float
    """From the first `Api()` call to the end of the job, as the script saw it."""
    process_s: float
    """From starting the interpreter to its end, without what the script did to check its data."""
    peak_mib: float
    """Memory of the process and its children at its highest; a shared daemon is not a child."""
    requests: int
    found: str
    """A digest of the data, so that both clients are known to have done the same."""
    grown_mib: float = math.nan
    """How much memory the job added to what the process had before; children not counted. NaN: the script does not
    tell."""
    daemon_mib: float = math.nan
    """Memory of the shared daemon at its highest during the job. NaN: there is none, or nobody watched it."""


def run_script(
    script: Path, arguments: Sequence[str], env: Mapping[str, str], served: Callable[[], int]
) -> Sample:
    """Runs a script that prints `{"seconds": ..., "found": ...}` as its last line."""
    return run_at_once(script, arguments, env, served, 1)


def run_at_once(
    script: Path,
    arguments: Sequence[str],
    env: Mapping[str, str],
    served: Callable[[], int],
    count: int,
    daemon: int | None = None,
) -> Sample:
    """Runs a script in several processes at the same time; the slowest tells the time. `{n}` in an argument is the
    number of the process. `daemon` is a process whose memory is watched too."""
    before = served()
    began = time.perf_counter()
    processes = [
        subprocess.Popen(
            [sys.executable, script, *(argument.replace("{n}", str(number)) for argument in arguments)],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    peak = _Peak([process.pid for process in processes])
    beside = _Peak([] if daemon is None else [daemon])
    outs = [process.communicate(timeout=600)[0] for process in processes]
    took = time.perf_counter() - began
    peak_mib, daemon_mib = peak.stop(), beside.stop()
    if any(process.returncode for process in processes):
        raise SystemExit(f"{script.name} {' '.join(arguments)} failed")
    told = [json.loads(out.strip().splitlines()[-1]) for out in outs]
    found = {each["found"] for each in told}
    if len(found) != 1:
        raise SystemExit(f"{script.name}: processes at once found different data: {found}")
    return Sample(
        from_api_s=max(each["seconds"] for each in told),
        process_s=took - max(each.get("checking_s", 0) for each in told),
        # Watching looks now and then; a script knows its own peak.
        peak_mib=max(peak_mib, *(each.get("peak_mib", 0) for each in told)),
        requests=served() - before,
        found=found.pop(),
        grown_mib=max(each.get("grown_mib", math.nan) for each in told),
        daemon_mib=daemon_mib or math.nan,
    )


class _Peak:
    """Watches the memory of some processes and their children."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]
        self._most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        tree, ticks = self._roots, 0
        while not self._stop.wait(0.02):
            if (
                ticks % _LOOKS_A_FAMILY == 0
            ):  # looks at all processes of the machine, which takes milliseconds
                tree = [*self._roots, *_children(self._roots)]
            ticks += 1
            # Proportional would be fairer to shared pages, but costs too much to ask so often.
            self._most = max(self._most, sum(map(_resident, tree)))

    def stop(self) -> float:
        self._stop.set()
        self._thread.join()
        return self._most / 2**20


_LOOKS_A_FAMILY = 10


def _children(roots: Sequence[psutil.Process]) -> list[psutil.Process]:
    found = []
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += root.children(recursive=True)
    return found


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def middle(samples: Sequence[Sample]) -> Sample:
    """Returns the medians."""
    return Sample(
        statistics.median(s.from_api_s for s in samples),
        statistics.median(s.process_s for s in samples),
        statistics.median(s.peak_mib for s in samples),
        round(statistics.median(s.requests for s in samples)),
        samples[0].found,
        statistics.median(s.grown_mib for s in samples),
        statistics.median(s.daemon_mib for s in samples),
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
        f"other programs kept {os.getloadavg()[0]:.1f} processes of this machine busy when it began (load average)",
    ]
