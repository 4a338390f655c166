"""Several ways to do one job, in turn, round after round: the table, its ratios, and what it was meant to reach."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.measure import Sample, middle, run_at_once

SCRIPTS = Path(__file__).with_name("scripts")


@dataclass
class Contestant:
    """One way to do a job."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    prepare: Callable[[], object] = lambda: None
    rounds: int | None = None
    """How many rounds it takes part in; None: all."""
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Contest:
    """A job, and where it is done."""

    title: str
    script: str
    env: Mapping[str, str]
    served: Callable[[], int]
    """How many requests the server has answered so far."""
    rounds: int
    at_once: int = 1
    """How many processes do it at the same time."""
    daemon: Callable[[], int | None] = lambda: None
    """The process of the daemon whose memory is of interest."""
    expected: str = ""
    """What is to be found, where it is known."""

    def run(self, contestants: list[Contestant]) -> list[str]:
        """Returns the table as lines of Markdown."""
        print(self.title, "...", file=sys.stderr, flush=True)
        for number in range(self.rounds):
            for contestant in contestants:
                if number < (self.rounds if contestant.rounds is None else contestant.rounds):
                    contestant.samples.append(self.once(contestant))
                    sample = contestant.samples[-1]
                    print(f"  {contestant.name}: {sample.from_api_s:.3f} s", file=sys.stderr, flush=True)
        found = {sample.found for c in contestants for sample in c.samples}
        found |= {self.expected} if self.expected else set()
        if len(found) != 1:
            raise SystemExit(f"{self.title}: the clients found different data: {found}")
        return [f"### {self.title}", "", f"Same data each time: {found.pop()}.", "", *_table(contestants), ""]

    def once(self, contestant: Contestant) -> Sample:
        """Does the job once."""
        contestant.prepare()
        arguments = [contestant.module, *contestant.arguments]
        daemon = self.daemon() if contestant.module == "runtap" else None
        return run_at_once(SCRIPTS / self.script, arguments, self.env, self.served, self.at_once, daemon)


def best_of(contestants: list[Contestant]) -> Sample:
    """The row of the real client that took the least time."""
    rows = [middle(c.samples) for c in contestants if c.module == "wandb"]
    return min(rows, key=lambda row: row.from_api_s)


@dataclass(frozen=True)
class Target:
    """What a row was meant to reach."""

    words: str
    reached: float
    least: float
    unit: str = "x"
    under: bool = False
    """Whether `least` is what it must stay under."""

    def line(self) -> str:
        """The target, what was measured, and whether that is enough."""
        met = self.reached < self.least if self.under else self.reached >= self.least
        wanted = f"{'under ' if self.under else ''}{self.least:g}{self.unit}"
        return (
            f"| {self.words} | {wanted} | {self.reached:.1f}{self.unit} | {'met' if met else '**missed**'} |"
        )


def targets(*each: Target) -> list[str]:
    """Returns the table of targets as lines of Markdown."""
    return ["| target | at least | here | |", "| --- | ---: | ---: | --- |", *(t.line() for t in each), ""]


def _table(contestants: list[Contestant]) -> list[str]:
    """The first contestant is the measure of the others, and so is the real client's best row if it has several."""
    first, best = middle(contestants[0].samples), best_of(contestants)
    measures = (
        [first] if best is first or sum(c.module == "wandb" for c in contestants) == 1 else [first, best]
    )
    ratio = ["ratio"] if len(measures) == 1 else ["to the first", "to wandb's best"]
    columns = ["", "from `Api()`", *ratio, "whole process", *ratio, "requests", "peak memory"]
    watched = not all(math.isnan(middle(c.samples).daemon_mib) for c in contestants)
    columns += ["the daemon's"] if watched else []
    lines = [f"| {' | '.join(columns)} |", f"| --- {'| ---: ' * (len(columns) - 1)}|"]
    for contestant in contestants:
        row = middle(contestant.samples)
        cells = [
            _named(contestant, max(len(c.samples) for c in contestants)),
            f"{row.from_api_s:.3f} s",
            *(f"{measure.from_api_s / row.from_api_s:.1f}x" for measure in measures),
            f"{row.process_s:.2f} s",
            *(f"{measure.process_s / row.process_s:.1f}x" for measure in measures),
            str(row.requests),
            _mib(row.peak_mib),
            *([_mib(row.daemon_mib)] if watched else []),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _mib(memory: float) -> str:
    return "" if math.isnan(memory) else f"{memory:.0f} MiB"


def _named(contestant: Contestant, rounds: int) -> str:
    return contestant.name + (" (one round)" if len(contestant.samples) == 1 < rounds else "")
