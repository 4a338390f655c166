"""Where the histories of the bench lie: near, far away, as Parquet. Each is logged when it is first wanted."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tests.bench import seed
from tests.bench.series import Series
from tests.support.far_server import FarServer
from tests.support.local_server import REPOSITORY, LocalServer, sdk_env, start_local_server

DELAY_S = 0.05
KEYS, PARQUET_KEYS = 10, 25
PROJECT, MANY = "bench-series", "bench-series-many"


@dataclass(frozen=True)
class Place:
    """A history, or one for each run of a project, and how to get there."""

    path: str
    all_series: tuple[Series, ...]
    env: dict[str, str]
    served: Callable[[], int]
    words: str = ""

    @property
    def series(self) -> Series:
        """The history, or the first."""
        return self.all_series[0]

    def forget(self) -> None:
        """Takes from the real client what it keeps on disk."""
        cache = Path(self.env["WANDB_CACHE_DIR"])
        shutil.rmtree(cache)
        cache.mkdir()


class Places:
    """A server, and the environment of scripts that read from it. `rows` is how long an ordinary history is."""

    def __init__(self, server: LocalServer, env: dict[str, str], rows: int, folder: Path) -> None:
        self.rows = rows
        self._server, self._folder = server, folder
        self._env = _with_checks(env)
        self._parquet_server: LocalServer | None = None

    def close(self) -> None:
        """Ends the server of Parquet parts, if one was needed."""
        if self._parquet_server is not None:
            self._parquet_server.stop()

    @cached_property
    def near(self) -> Place:
        """An ordinary history, on a server on this machine."""
        return self._logged("short", Series(self.rows, KEYS))

    @cached_property
    def long(self) -> Place:
        """One ten times as long."""
        return self._logged("long", Series(self.rows * 10, KEYS))

    def sparse(self, stride: int) -> Place:
        """A short one, its rows so many steps apart."""
        return self._logged("sparse", Series(self.rows // 100, KEYS, stride=stride))

    def many(self, runs: int) -> Place:
        """The histories of so many runs, each a tenth of an ordinary one."""
        all_series = tuple(Series(self.rows // 10, KEYS, number=number + 1) for number in range(runs))
        for number, series in enumerate(all_series):
            seed.history(self._server, MANY, f"run{number:02d}", series)
        return replace(self.near, path=f"{self._server.entity}/{MANY}", all_series=all_series)

    @cached_property
    def parquet(self) -> Place:
        """An ordinary history with more keys, on a server that offers it as Parquet."""
        folder = self._folder / "parquet"
        folder.mkdir()
        server = self._parquet_server = start_local_server(folder / "server", parquet=1)
        env = _with_checks(self._env | sdk_env(server, folder))
        place = _log(server, env, "short", Series(self.rows, PARQUET_KEYS))
        seed.exported(server, PROJECT, "short")
        return replace(place, words=", from Parquet")

    @contextmanager
    def far(self) -> Iterator[Place]:
        """The ordinary history, far away."""
        near = self.near
        with FarServer(self._server.url, DELAY_S).running() as far:
            yield replace(
                near,
                env=near.env | {"WANDB_BASE_URL": far.url},
                served=lambda: far.requests,
                words=f", from a server {DELAY_S * 1000:.0f} ms away",
            )

    def _logged(self, run: str, series: Series) -> Place:
        return _log(self._server, self._env, run, series)


def _log(server: LocalServer, env: dict[str, str], run: str, series: Series) -> Place:
    print(f"Seeding {series.rows:,} rows x {series.keys} keys ...", file=sys.stderr, flush=True)
    seed.history(server, PROJECT, run, series)
    return Place(f"{server.entity}/{PROJECT}/{run}", (series,), env, lambda: seed.requests_served(server))


def _with_checks(env: dict[str, str]) -> dict[str, str]:
    """The scripts check what they found with modules of the bench; that a sample is one, the bench knows."""
    paths = os.pathsep.join((env["PYTHONPATH"], str(REPOSITORY)))
    return env | {"PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
