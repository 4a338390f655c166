"""Rows about listing runs: the guide's CSV near and far from a server, eight of them at once, and long cached lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.bench import seed
from tests.bench.contest import Contest, Contestant, Target, best_of, targets
from tests.bench.local import seed_runs
from tests.bench.measure import middle
from tests.support.far_server import FarServer
from tests.support.local_server import LocalServer

DELAY_S = 0.05
AT_ONCE = 8
CACHED = "bench-cached"
DEFAULT = "wandb, the guide's script as it stands"
BEST = "wandb, `lazy=False, per_page=1000`"
"""The quickest way but for noise: where time is short, the others have one round."""
WAYS = {
    DEFAULT: "{}",
    "wandb, `lazy=False`": '{"lazy": false}',
    BEST: '{"lazy": false, "per_page": 1000}',
}
"""How the real client can be asked for runs whose config and summary will be read."""


class ListingRows:
    """A server with runs, the environment of the scripts, and how to make a daemon that has never seen anything."""

    def __init__(
        self,
        server: LocalServer,
        env: dict[str, str],
        rounds: int,
        fresh_daemon: Callable[[], object],
        folder: Path,
    ) -> None:
        self._server, self._env, self._rounds = server, env, rounds
        self._fresh_daemon = fresh_daemon
        self._folder = folder

    def csv(self, path: str, runs: int) -> list[str]:
        """The guide's script against a server on this machine."""
        contest = Contest(
            f"The guide's CSV of {runs:,} runs", "csv_of_runs.py", self._env, self._served, self._rounds
        )
        return contest.run(self._clients(path))

    def far(self, path: str, runs: int) -> list[str]:
        """The same against a server that is far away."""
        with FarServer(self._server.url, DELAY_S).running() as far:
            contest = replace(
                self._far(far),
                title=f"The guide's CSV of {runs:,} runs, from a server {DELAY_S * 1000:.0f} ms away",
            )
            clients = self._clients(path, once=True)
            lines = contest.run(clients)
        default, best = middle(clients[0].samples), best_of(clients)
        cold, warm = (middle(c.samples) for c in clients[-2:])
        return [
            *lines,
            *targets(
                Target(
                    "nothing cached, to the script as it stands", default.from_api_s / cold.from_api_s, 40
                ),
                Target("nothing cached, to wandb's best", best.from_api_s / cold.from_api_s, 1),
                Target("a second process, to wandb's best", best.from_api_s / warm.from_api_s, 8),
                Target("the same, whole process", best.process_s / warm.process_s, 2.5),
            ),
        ]

    def at_once(self, path: str, runs: int) -> list[str]:
        """Eight of the same scripts at the same time."""
        with FarServer(self._server.url, DELAY_S).running() as far:
            contest = replace(
                self._far(far),
                title=f"{AT_ONCE} processes at once, each the guide's CSV of {runs:,} runs, "
                f"from a server {DELAY_S * 1000:.0f} ms away",
                rounds=min(self._rounds, 3),
                at_once=AT_ONCE,
            )
            # The second process of a single daemon says nothing here.
            clients = self._clients(path, once=True)[:-1]
            lines = contest.run(clients)
            alone = replace(contest, at_once=1).once(clients[-1])
        default, best, ours = middle(clients[0].samples), best_of(clients), middle(clients[-1].samples)
        requests = alone.requests / ours.requests
        return [
            *lines,
            "Times are those of the slowest process, from the start of the first to the end of the last; memory is "
            "that of all together, without the shared daemon.",
            "",
            *targets(
                Target("requests of one process to those of all", requests, 1),
                Target("to the scripts as they stand", default.from_api_s / ours.from_api_s, 15),
                Target("to wandb's best", best.from_api_s / ours.from_api_s, 1),
            ),
        ]

    def cached(self, runs: int) -> list[str]:
        """Four values of each run of a long list that the daemon holds already."""
        seed_runs(self._server, CACHED, runs)
        path = f"{self._server.entity}/{CACHED}"
        contest = Contest(
            f"Name, state, one config and one summary key of {runs:,} runs",
            "read_keys.py",
            self._env,
            self._served,
            min(self._rounds, 3),
        )
        reader = Contestant("", "runtap", (path, "{}"))
        # A new process takes nothing that is older than ten seconds without asking, so one reads before each.
        ours = replace(
            reader, name="runtap, cached by another process", prepare=lambda: contest.once(reader), samples=[]
        )
        clients = [
            Contestant(name, "wandb", (path, options), rounds=None if name == BEST else 1)
            for name, options in WAYS.items()
        ]
        lines = contest.run([*clients, ours])
        ratio = best_of(clients).from_api_s / middle(ours.samples).from_api_s
        return [*lines, *targets(Target("cached, to wandb's best", ratio, 10))]

    def _clients(self, path: str, *, once: bool = False) -> list[Contestant]:
        target = str(self._folder / "project-{n}.csv")
        return [
            *(
                Contestant(
                    name, "wandb", (path, target, options), rounds=1 if once and name != BEST else None
                )
                for name, options in WAYS.items()
            ),
            Contestant("runtap, nothing cached", "runtap", (path, target, "{}"), self._fresh_daemon),
            Contestant("runtap, a second process", "runtap", (path, target, "{}")),
        ]

    def _far(self, far: FarServer) -> Contest:
        env = self._env | {"WANDB_BASE_URL": far.url}
        return Contest("", "csv_of_runs.py", env, lambda: far.requests, self._rounds)

    def _served(self) -> int:
        return seed.requests_served(self._server)
