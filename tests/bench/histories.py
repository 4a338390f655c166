"""Rows about histories: as frames and as dicts, near and far, from JSON and from Parquet, touched first and kept."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench import digest, seed
from tests.bench.contest import Contest, Contestant, Target, targets
from tests.bench.measure import Sample, middle
from tests.bench.series import Series
from tests.support.far_server import FarServer
from tests.support.local_server import REPOSITORY, LocalServer, sdk_env, start_local_server

DELAY_S = 0.05
ROUNDS = 3
KEYS, PARQUET_KEYS = 10, 25
ONE_KEY = ("metric_5",)
"""One that not every row has."""
RUNS, SAMPLES, STRIDE = 50, 500, 1000
LARGE_PAGES = 10_000
ENOUGH = 2.5
"""Million rows a second that are quick enough, however quick the real client is."""
PROJECT, MANY = "bench-series", "bench-series-many"
WANDB, WANDB_AGAIN = "wandb", "wandb, a second process"
COLD, WARM = "runtap, nothing cached", "runtap, a second process"


@dataclass(frozen=True)
class Place:
    """A history and where it lies."""

    path: str
    series: Series
    env: dict[str, str]
    served: Callable[[], int]
    words: str = ""


class HistoryRows:
    """A server, the environment of the scripts, and how to make a daemon that has never seen anything.

    `rows` is how long a history is; the longest has ten times as many.
    """

    def __init__(
        self,
        server: LocalServer,
        env: dict[str, str],
        rounds: int,
        rows: int,
        folder: Path,
        fresh_daemon: Callable[[], int],
    ) -> None:
        self._server, self._rounds, self._rows, self._folder = server, min(rounds, ROUNDS), rows, folder
        self._fresh_daemon = fresh_daemon
        self._daemon: int | None = None
        self._parquet_server: LocalServer | None = None
        self._env = _with_checks(env)

    def close(self) -> None:
        """Ends the server of Parquet parts, if one was needed."""
        if self._parquet_server is not None:
            self._parquet_server.stop()

    def frames(self) -> list[str]:
        """Whole histories as frames, and a sample."""
        lines, theirs = self._near_frames()
        with self._far(self._near) as far:
            lines += self._far_frames(far)
        return [
            *lines,
            *self._parquet_frames(),
            *self._many_frames(),
            *self._long_frames(theirs),
            *self._samples(),
        ]

    def rows(self) -> list[str]:
        """Whole histories as dicts."""
        with self._far(self._near) as far:
            contest = self._of_rows(far)
            clients = self._clients(far, large_pages=True)
            lines = [*contest.run(clients), *_reached(clients, cold=4, warm=15)]
        contest = self._of_rows(self._parquet)
        clients = self._clients(self._parquet, keeps=True)
        lines += [*contest.run(clients), *_reached(clients, cold=5, warm=15)]
        return lines + self._sparse_rows()

    def _near_frames(self) -> tuple[list[str], Sample]:
        clients = self._clients(self._near)
        lines = [*self._of_frame(self._near).run(clients), *_reached(clients, warm=20)]
        one = self._clients(self._near, keys=ONE_KEY, once=True)
        return lines + self._of_frame(self._near, ONE_KEY).run(one), middle(clients[0].samples)

    def _far_frames(self, far: Place) -> list[str]:
        clients = self._clients(far, large_pages=True)
        lines = [*self._of_frame(far).run(clients), *_reached(clients, cold=5, warm=20)]
        one = self._clients(far, keys=ONE_KEY, once=True)
        return lines + self._of_frame(far, ONE_KEY).run(one)

    def _parquet_frames(self) -> list[str]:
        clients = self._clients(self._parquet, keeps=True)
        return [*self._of_frame(self._parquet).run(clients), *_reached(clients, cold=15, warm=20)]

    def _many_frames(self) -> list[str]:
        all_series = [Series(self._rows // 10, KEYS, number=number + 1) for number in range(RUNS)]
        for number, series in enumerate(all_series):
            seed.history(self._server, MANY, f"run{number:02d}", series)
        columns = [series.columns() for series in all_series]
        whole = {key: np.concatenate([each[key] for each in columns]) for key in columns[0]}
        place = replace(self._near, path=f"{self._server.entity}/{MANY}")
        contest = self._contest(
            place,
            f"Histories of {RUNS} runs, {self._rows // 10:,} rows x {KEYS} keys each, as one frame",
            "history_frames.py",
            f"{RUNS} runs, {digest.of_columns(whole)}",
        )
        clients = self._clients(place, once=True)
        return contest.run(clients)

    def _long_frames(self, theirs: Sample) -> list[str]:
        """The real client's time is reckoned: ten times what a row of the short history took it, and its start."""
        place = self._place(self._server, self._env, "long", Series(self._rows * 10, KEYS))
        contest = self._of_frame(place)
        start = replace(contest, expected="").once(_contestant(WANDB, "wandb", place.path, max_step=1))
        reckoned = replace(
            theirs,
            from_api_s=start.from_api_s + 10 * (theirs.from_api_s - start.from_api_s),
            process_s=start.process_s + 10 * (theirs.process_s - start.process_s),
            peak_mib=math.nan,
            requests=start.requests + 10 * (theirs.requests - start.requests),
            found=contest.expected,
        )
        wandb = Contestant(f"wandb, reckoned from {self._rows:,} rows, not measured", "wandb", rounds=0)
        wandb.samples.append(reckoned)
        cold, warm = self._ours(place.path)
        lines = contest.run([wandb, replace(cold, rounds=1), warm])
        ours = middle(warm.samples)
        rate = place.series.rows / ours.from_api_s / 1e6
        quick = [
            Target("a second process, or 30 times wandb", rate, ENOUGH, "M rows/s"),
            Target(f"a second process, or {ENOUGH}M rows/s", reckoned.from_api_s / ours.from_api_s, 30),
        ]
        data_mib = place.series.bytes / 2**20
        return [
            *lines,
            f"The data is {data_mib:.0f} MiB; reading it took the second process {ours.grown_mib:.0f} MiB more than "
            "it had before.",
            "",
            *targets(
                max(quick, key=lambda target: target.reached / target.least),
                Target("memory it took, in sizes of the data", ours.grown_mib / data_mib, 3, under=True),
            ),
        ]

    def _samples(self) -> list[str]:
        place, rows = self._near, self._near.series.rows
        contest = self._contest(
            place,
            f"{SAMPLES} of {rows:,} rows x {KEYS} keys: `history()`",
            "history_sample.py",
            f"{SAMPLES} rows of steps 0 to {place.series.last_step}, all as logged",
        )
        arguments = (place.path, str(rows), str(KEYS), str(SAMPLES))
        whole, reader = self._of_frame(place), _contestant("", "runtap", place.path)
        return contest.run(
            [
                Contestant(WANDB, "wandb", arguments),
                Contestant(COLD, "runtap", arguments, self._nothing_cached),
                Contestant(
                    "runtap, all rows kept by another process",
                    "runtap",
                    arguments,
                    lambda: whole.once(reader),
                ),
            ]
        )

    def _sparse_rows(self) -> list[str]:
        series = Series(self._rows // 100, KEYS, stride=STRIDE)
        place = self._place(self._server, self._env, "sparse", series)
        clients = self._clients(place, once=True)
        lines = replace(
            self._of_rows(place), title=f"{series.rows:,} rows, {STRIDE:,} steps apart, as dicts"
        ).run(clients)
        theirs, ours = middle(clients[0].samples), middle(clients[1].samples)
        return [*lines, *targets(Target("nothing cached, requests", theirs.requests / ours.requests, 100))]

    @cached_property
    def _near(self) -> Place:
        return self._place(self._server, self._env, "short", Series(self._rows, KEYS))

    @cached_property
    def _parquet(self) -> Place:
        folder = self._folder / "parquet"
        folder.mkdir()
        server = self._parquet_server = start_local_server(folder / "server", parquet=1)
        env = _with_checks(self._env | sdk_env(server, folder))
        place = self._place(server, env, "short", Series(self._rows, PARQUET_KEYS))
        seed.exported(server, PROJECT, "short")
        return replace(place, words=", from Parquet")

    @contextmanager
    def _far(self, near: Place) -> Iterator[Place]:
        with FarServer(self._server.url, DELAY_S).running() as far:
            yield replace(
                near,
                env=near.env | {"WANDB_BASE_URL": far.url},
                served=lambda: far.requests,
                words=f", from a server {DELAY_S * 1000:.0f} ms away",
            )

    def _place(self, server: LocalServer, env: dict[str, str], run: str, series: Series) -> Place:
        print(f"Seeding {series.rows:,} rows x {series.keys} keys ...", file=sys.stderr, flush=True)
        seed.history(server, PROJECT, run, series)
        return Place(f"{server.entity}/{PROJECT}/{run}", series, env, lambda: seed.requests_served(server))

    def _of_frame(self, place: Place, keys: tuple[str, ...] = ()) -> Contest:
        columns = place.series.columns()
        if keys:
            held = ~np.isnan(columns[keys[0]])
            columns = {key: columns[key][held] for key in ("_step", *keys)}
        return self._contest(
            place,
            f"A history of {place.series.rows:,} rows x {place.series.keys} keys as a frame"
            + (", one key" if keys else ""),
            "history_frame.py",
            digest.of_columns(columns),
        )

    def _of_rows(self, place: Place) -> Contest:
        return self._contest(
            place,
            f"A history of {place.series.rows:,} rows x {place.series.keys} keys as dicts",
            "history_rows.py",
            digest.of_rows(seed.dicts(place.series.columns())),
        )

    def _contest(self, place: Place, title: str, script: str, expected: str) -> Contest:
        return Contest(
            title + place.words,
            script,
            place.env,
            place.served,
            self._rounds,
            daemon=lambda: self._daemon,
            expected=expected,
        )

    def _clients(
        self,
        place: Place,
        *,
        keys: Iterable[str] = (),
        keeps: bool = False,
        large_pages: bool = False,
        once: bool = False,
    ) -> list[Contestant]:
        """`keeps`: the real client keeps what it has read for its next process, which it does with Parquet only."""
        options: dict[str, Any] = {"keys": list(keys)} if keys else {}
        wandb = _contestant(WANDB, "wandb", place.path, **options)
        theirs = [replace(wandb, rounds=1 if once else None, prepare=lambda: _forget(place))]
        if keeps:
            theirs.append(replace(wandb, name=WANDB_AGAIN, samples=[]))
        if large_pages:
            pages = _contestant(
                f"wandb, `page_size={LARGE_PAGES}`", "wandb", place.path, page_size=LARGE_PAGES
            )
            theirs.append(replace(pages, rounds=1))
        return [*theirs, *self._ours(place.path, **options)]

    def _ours(self, path: str, **options: Any) -> list[Contestant]:
        return [
            replace(_contestant(COLD, "runtap", path, **options), prepare=self._nothing_cached),
            _contestant(WARM, "runtap", path, **options),
        ]

    def _nothing_cached(self) -> None:
        self._daemon = self._fresh_daemon()


def _with_checks(env: dict[str, str]) -> dict[str, str]:
    """The scripts check what they found with modules of the bench."""
    return env | {"PYTHONPATH": os.pathsep.join((env["PYTHONPATH"], str(REPOSITORY)))}


def _contestant(name: str, module: str, path: str, **options: Any) -> Contestant:
    return Contestant(name, module, (path, json.dumps(options)))


def _forget(place: Place) -> None:
    """Takes from the real client what it keeps on disk."""
    cache = Path(place.env["WANDB_CACHE_DIR"])
    shutil.rmtree(cache)
    cache.mkdir()


def _reached(clients: list[Contestant], *, cold: float | None = None, warm: float) -> list[str]:
    """The targets of a contest: each of our rows to the real client's of the same kind."""
    rows = {client.name: middle(client.samples) for client in clients}
    theirs = rows[WANDB].from_api_s
    again = rows.get(WANDB_AGAIN, rows[WANDB]).from_api_s
    first = [] if cold is None else [Target("nothing cached", theirs / rows[COLD].from_api_s, cold)]
    return targets(*first, Target("a second process", again / rows[WARM].from_api_s, warm))
