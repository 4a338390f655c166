"""Runs the bench and prints its tables. `--quick` takes fewer runs and rounds, to see that it works; `--only` some."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from tests.bench import limits, seed, stalled
from tests.bench.contest import Contest, Contestant
from tests.bench.histories import HistoryRows
from tests.bench.listing import ListingRows
from tests.bench.local import LocalRows
from tests.bench.measure import machine
from tests.bench.places import Places
from tests.support.daemon import Daemon, start_daemon
from tests.support.local_server import LocalServer, sdk_env, start_local_server

HERE = Path(__file__).parent
PROJECT = "bench"
# Far more than the windows of a stream hold, so that readers who stop really stall it.
HEAVY_RUNS, HEAVY_BYTES = 80, 400_000
LOCAL_ROUNDS = 3


class Bench:
    """A server with runs, a daemon, and the environment of the scripts."""

    def __init__(self, folder: Path, runs: int, rounds: int) -> None:
        self.folder, self.rounds = folder, rounds
        self.server: LocalServer = start_local_server(folder / "server")
        seed.runs(self.server, PROJECT, runs)
        self.path = f"{self.server.entity}/{PROJECT}"
        self.home = folder / "runtap"
        self.env = sdk_env(self.server, folder) | {"RUNTAP_HOME": str(self.home), "RUNTAP_AUTOSTART": "1"}
        self.daemon: Daemon | None = None
        self.places = Places(self.server, self.env, runs * 100, folder)
        self.histories = HistoryRows(self.places, rounds, lambda: self.fresh_daemon().pid)

    def stop_daemon(self) -> None:
        if self.daemon is not None:
            self.daemon.stop()
            self.daemon = None

    def fresh_daemon(self) -> Daemon:
        """A daemon that has never seen anything, running."""
        self.stop_daemon()
        shutil.rmtree(self.home, ignore_errors=True)
        self.daemon = start_daemon(self.home)
        return self.daemon

    def no_daemon(self) -> None:
        """No daemon and nothing cached; one that a script started before is ended."""
        self.stop_daemon()
        stop_started(self.home, self.env)
        shutil.rmtree(self.home, ignore_errors=True)

    def close(self) -> None:
        self.no_daemon()
        self.places.close()
        self.server.stop()

    def rows(self) -> ListingRows:
        """What is measured of lists of runs."""
        return ListingRows(self.server, self.env, self.rounds, self.fresh_daemon, self.folder)


def stop_started(home: Path, env: dict[str, str]) -> None:
    """Ends a daemon that a script has started by itself."""
    import subprocess
    import sys

    if home.exists():
        subprocess.run([sys.executable, "-m", "runtap", "stop"], env=env, capture_output=True, timeout=60)


def csv_rows(bench: Bench, runs: int) -> list[str]:
    lines = bench.rows().csv(bench.path, runs)
    assert bench.daemon is not None
    held = psutil.Process(bench.daemon.pid).memory_info().rss / 2**20
    return [*lines, f"The daemon, shared by all programs of its user, held {held:.0f} MiB afterwards.", ""]


def far_rows(bench: Bench, runs: int) -> list[str]:
    return bench.rows().far(bench.path, runs)


def at_once_rows(bench: Bench, runs: int) -> list[str]:
    return bench.rows().at_once(bench.path, runs)


def cached_rows(bench: Bench, runs: int) -> list[str]:
    return bench.rows().cached(runs * 10)


def first_call_rows(bench: Bench, _runs: int) -> list[str]:
    run = (f"{bench.path}/run00001",)
    contest = Contest(
        "First call in a fresh process: one run",
        "first_call.py",
        bench.env,
        lambda: seed.requests_served(bench.server),
        bench.rounds,
    )
    return contest.run(
        [
            Contestant("wandb", "wandb", run),
            Contestant("runtap, no daemon yet (starts it)", "runtap", run, bench.no_daemon),
            Contestant("runtap, daemon running, nothing cached", "runtap", run, bench.fresh_daemon),
            Contestant("runtap, daemon running, cached", "runtap", run),
        ],
    )


def stalled_rows(bench: Bench, _runs: int) -> list[str]:
    from runtap.v1 import accounts_pb2, accounts_pb2_grpc

    bench.fresh_daemon()
    assert bench.daemon is not None
    heavy = f"{PROJECT}-heavy"
    seed.runs(bench.server, heavy, HEAVY_RUNS, ballast=HEAVY_BYTES)
    login = accounts_pb2_grpc.AccountServiceStub(bench.daemon.channel()).Login(
        accounts_pb2.LoginRequest(base_url=bench.server.url, api_key=bench.server.api_key)
    )
    run = f"{bench.path}/run00001"
    quiet, loud = stalled.measure(
        bench.daemon, login.account.account_id, f"{bench.server.entity}/{heavy}", run
    )
    ratio = loud.median_ms / quiet.median_ms
    return [
        "### A small call beside stalled stream readers",
        "",
        f"A cached GetRun, {stalled.CALLS} times. Each reader stopped in the first of "
        f"{HEAVY_RUNS * HEAVY_BYTES >> 20} MiB.",
        "",
        "| | median | ratio | 99 of 100 within |",
        "| --- | ---: | ---: | ---: |",
        f"| nobody else | {quiet.median_ms:.2f} ms | 1.0x | {quiet.p99_ms:.1f} ms |",
        f"| {stalled.READERS} stalled readers | {loud.median_ms:.2f} ms | {ratio:.1f}x | {loud.p99_ms:.1f} ms |",
        "",
    ]


def list_rows(bench: Bench, runs: int) -> list[str]:
    return LocalRows(bench.server, bench.env, min(bench.rounds, LOCAL_ROUNDS)).lists(runs * 10)


def history_rows(bench: Bench, runs: int) -> list[str]:
    return LocalRows(bench.server, bench.env, min(bench.rounds, LOCAL_ROUNDS)).histories(runs * 100)


def frame_rows(bench: Bench, _runs: int) -> list[str]:
    return bench.histories.frames()


def dict_rows(bench: Bench, _runs: int) -> list[str]:
    return bench.histories.rows()


def limited_rows(bench: Bench, runs: int) -> list[str]:
    return limits.rows(bench.fresh_daemon, 26 if runs < 1000 else 60)


STEPS: Final[dict[str, Callable[[Bench, int], list[str]]]] = {
    "csv": csv_rows,
    "far": far_rows,
    "at-once": at_once_rows,
    "cached": cached_rows,
    "first-call": first_call_rows,
    "lists": list_rows,
    "histories": history_rows,
    "frames": frame_rows,
    "rows": dict_rows,
    "stalled": stalled_rows,
    "limited": limited_rows,
}


def main() -> None:
    """Prints the tables and keeps them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs and rounds")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), help="these tables only")
    options = parser.parse_args()
    quick = options.quick
    runs, rounds = (100, 1) if quick else (1000, 5)
    folder = Path(tempfile.mkdtemp(prefix="runtap-bench-"))
    print(f"Seeding {runs} runs ...", flush=True)
    bench = Bench(folder, runs, rounds)
    try:
        lines = ["# Bench", "", *(f"- {fact}" for fact in machine())]
        lines += [
            f"- medians of {rounds} rounds, contestants in turn; of {min(rounds, LOCAL_ROUNDS)} for processes at once, "
            "for cached lists, for histories and for the local server",
            "- a ratio is the time of the row it names (the first, where it names none) over this row's: larger is "
            "faster",
            "",
        ]
        for name in options.only:
            part = STEPS[name](bench, runs)
            print("\n".join(part), flush=True)
            lines += part
    finally:
        bench.close()
        shutil.rmtree(folder, ignore_errors=True)
    if not quick and options.only == list(STEPS):
        (HERE / "RESULTS.md").write_text("\n".join(lines))
        print("kept in tests/bench/RESULTS.md")


if __name__ == "__main__":
    main()
