"""Rows about histories: as frames and as dicts, near and far, from JSON and from Parquet, touched first and kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.bench import digest, seed
from tests.bench.contest import Contest, Contestant, Target, targets
from tests.bench.measure import Sample, middle
from tests.bench.places import KEYS, Place, Places
from tests.bench.series import Columns

ROUNDS = 3
ONE_KEY = "metric_5"
"""One that not every row has."""
RUNS, SAMPLES, STRIDE = 50, 500, 1000
LARGE_PAGES = 10_000
ENOUGH = 2.5
"""Million rows a second that are quick enough, however quick the real client is."""
WANDB, WANDB_AGAIN = "wandb", "wandb, a second process"
COLD, WARM = "runtap, nothing cached", "runtap, a second process"


class HistoryRows:
    """Places with histories, and how to make a daemon that has never seen anything."""

    def __init__(self, places: Places, rounds: int, fresh_daemon: Callable[[], int]) -> None:
        self._places, self._rounds = places, min(rounds, ROUNDS)
        self._fresh_daemon = fresh_daemon
        self._daemon: int | None = None

    def frames(self) -> list[str]:
        """Whole histories as frames, and a sample."""
        lines, theirs = self._near_frames()
        with self._places.far() as far:
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
        with self._places.far() as far:
            clients = self._clients(far, large_pages=True)
            lines = [*self._of_rows(far).run(clients), *_reached(clients, cold=4, warm=15)]
        parquet = self._places.parquet
        clients = self._clients(parquet, keeps=True)
        lines += [*self._of_rows(parquet).run(clients), *_reached(clients, cold=5, warm=15)]
        return lines + self._sparse_rows()

    def _near_frames(self) -> tuple[list[str], Sample]:
        near = self._places.near
        clients = self._clients(near)
        lines = [*self._of_frame(near).run(clients), *_reached(clients, warm=20)]
        return lines + self._one_key(near), middle(clients[0].samples)

    def _far_frames(self, far: Place) -> list[str]:
        clients = self._clients(far, large_pages=True)
        lines = [*self._of_frame(far).run(clients), *_reached(clients, cold=5, warm=20)]
        return lines + self._one_key(far)

    def _one_key(self, place: Place) -> list[str]:
        columns = place.series.columns()
        held = ~np.isnan(columns[ONE_KEY])
        contest = replace(
            self._of_frame(place),
            title=f"One key of a history of {_size(place)} as a frame{place.words}",
            expected=digest.of_columns({key: columns[key][held] for key in ("_step", ONE_KEY)}),
        )
        return contest.run(self._clients(place, once=True, keys=[ONE_KEY]))

    def _parquet_frames(self) -> list[str]:
        parquet = self._places.parquet
        clients = self._clients(parquet, keeps=True)
        return [*self._of_frame(parquet).run(clients), *_reached(clients, cold=15, warm=20)]

    def _many_frames(self) -> list[str]:
        place = self._places.many(RUNS)
        contest = self._contest(
            place,
            f"Histories of {RUNS} runs, {_size(place)} each, as one frame",
            "history_frames.py",
            f"{RUNS} runs, {digest.of_columns(_together([each.columns() for each in place.all_series]))}",
        )
        return contest.run(self._clients(place, once=True))

    def _long_frames(self, theirs: Sample) -> list[str]:
        """The real client would take most of a minute, so its time is reckoned: its start, and ten times what the rows
        of the ordinary history took it. Its memory is not reckoned."""
        place = self._places.long
        contest = self._of_frame(place)
        starter = _contestant(WANDB, "wandb", place, max_step=1)
        start = middle([contest.once(starter) for _ in range(self._rounds)])
        nine_more_s = 9 * (theirs.from_api_s - start.from_api_s)
        reckoned = replace(
            theirs,
            from_api_s=theirs.from_api_s + nine_more_s,
            process_s=theirs.process_s + nine_more_s,
            peak_mib=math.nan,
            requests=theirs.requests + 9 * (theirs.requests - start.requests),
            found=contest.expected,
        )
        wandb = Contestant(f"wandb, reckoned from {self._places.rows:,} rows", "wandb", rounds=0)
        wandb.samples.append(reckoned)
        cold, warm = self._ours(place)
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
        near = self._places.near
        contest = self._contest(
            near,
            f"{SAMPLES} of {_size(near)}: `history()`",
            "history_sample.py",
            f"{SAMPLES} rows of steps 0 to {near.series.last_step}, all as logged",
        )
        arguments = (near.path, str(near.series.rows), str(KEYS), str(SAMPLES))
        whole, reader = self._of_frame(near), _contestant("", "runtap", near)
        kept = "runtap, all rows kept by another process"
        return contest.run(
            [
                Contestant(WANDB, "wandb", arguments),
                Contestant(COLD, "runtap", arguments, self._nothing_cached),
                Contestant(kept, "runtap", arguments, lambda: whole.once(reader)),
            ]
        )

    def _sparse_rows(self) -> list[str]:
        place = self._places.sparse(STRIDE)
        title = f"A history of {_size(place)}, {STRIDE:,} steps apart, as dicts"
        clients = self._clients(place, once=True)
        lines = replace(self._of_rows(place), title=title).run(clients)
        theirs, ours = middle(clients[0].samples), middle(clients[1].samples)
        return [*lines, *targets(Target("nothing cached, requests", theirs.requests / ours.requests, 100))]

    def _of_frame(self, place: Place) -> Contest:
        title = f"A history of {_size(place)} as a frame"
        return self._contest(place, title, "history_frame.py", digest.of_columns(place.series.columns()))

    def _of_rows(self, place: Place) -> Contest:
        title = f"A history of {_size(place)} as dicts"
        logged = seed.dicts(place.series.columns())
        return self._contest(place, title, "history_rows.py", digest.of_rows(logged))

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
        keeps: bool = False,
        large_pages: bool = False,
        once: bool = False,
        **options: Any,
    ) -> list[Contestant]:
        """`keeps`: the real client keeps what it has read for its next process, as it does with Parquet. `once`: it has
        one round. `large_pages`: it is also asked for pages that are larger than they are by default."""
        wandb = _contestant(WANDB, "wandb", place, **options)
        theirs = [replace(wandb, rounds=1 if once else None, prepare=place.forget)]
        if keeps:
            theirs.append(replace(wandb, name=WANDB_AGAIN, samples=[]))
        if large_pages:
            name = f"wandb, `page_size={LARGE_PAGES}`"
            theirs.append(
                replace(_contestant(name, "wandb", place, page_size=LARGE_PAGES, **options), rounds=1)
            )
        return [*theirs, *self._ours(place, **options)]

    def _ours(self, place: Place, **options: Any) -> list[Contestant]:
        return [
            replace(_contestant(COLD, "runtap", place, **options), prepare=self._nothing_cached),
            _contestant(WARM, "runtap", place, **options),
        ]

    def _nothing_cached(self) -> None:
        self._daemon = self._fresh_daemon()


def _size(place: Place) -> str:
    return f"{place.series.rows:,} rows x {place.series.keys} keys"


def _together(each: list[Columns]) -> Columns:
    return {key: np.concatenate([columns[key] for columns in each]) for key in each[0]}


def _contestant(name: str, module: str, place: Place, **options: Any) -> Contestant:
    return Contestant(name, module, (place.path, json.dumps(options)))


def _reached(clients: list[Contestant], *, cold: float | None = None, warm: float) -> list[str]:
    """The targets of a contest: each of our rows to the real client's of the same kind."""
    rows = {client.name: middle(client.samples) for client in clients}
    theirs = rows[WANDB].from_api_s
    again = rows.get(WANDB_AGAIN, rows[WANDB]).from_api_s
    first = [] if cold is None else [Target("nothing cached", theirs / rows[COLD].from_api_s, cold)]
    return targets(*first, Target("a second process", again / rows[WARM].from_api_s, warm))
