"""Stories for the model test of freshness: which world, and who does what when. Made up from a seed.

Each story has a pace and a few favourite runs and lists of its own, so that some are told in which the same thing is
asked again and again, in moments or over minutes, and some in which everything happens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runtapd.cache.policy import Wishes
from runtapd.model.patch import Edit, Patch
from tests.support.freshness_world import Query
from tests.support.remembering_server import Kind

STEPS = 30
RUNS = 7
CLIENTS = 3
FLOOR_S = 10.0
"""How far before its making a client's floor lies."""
QUERIES = (
    Query("all"),
    Query("the oldest first", order="+created_at"),
    Query("the finished", '{"state": "finished"}'),
    Query("tagged x", '{"tags": "x"}', order="+created_at"),
    Query("with config.a 1", '{"config.a": 1}'),
    Query("with summary.deep.b 1", '{"summary_metrics.deep.b": 1}'),
    Query("by summary.c", order="-summary_metrics.c"),
)
HURRIED = (0.0, 0.01, 0.05, 0.1, 0.1, 0.3, 0.3, 0.5, 1.0, 2.0)
SLOW = (0.3, 4.0, 6.0, 9.0, 11.0, 40.0, 120.0, 290.0, 310.0)
WEIGHTS = {
    "read": 30,
    "list": 30,
    "write": 12,
    "edit": 30,
    "create": 5,
    "delete": 4,
    "flush": 3,
    "flush all": 2,
    "new client": 4,
    "set clock": 2,
    "fail": 3,
    "restart": 1,
}


@dataclass(frozen=True)
class Step:
    """Something somebody does, so long after the step before."""

    pause: float
    what: str
    detail: tuple[Any, ...]

    def __str__(self) -> str:
        return f"after {self.pause:g} s: {self.what} {', '.join(map(str, self.detail))}"


@dataclass(frozen=True)
class Story:
    """A world, and what happens there."""

    seed: int
    kind: Kind
    knows_server: bool
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        begin = f"seed {self.seed}: {self.kind}, knows_server={self.knows_server}"
        return "\n  ".join([begin, *map(str, self.steps)])


def story(seed: int) -> Story:
    """Makes up the story of a seed."""
    chance = random.Random(f"story {seed}")
    knows_server = chance.random() < 0.4
    kind = Kind(
        tells_updates=chance.random() < 0.6,
        in_seconds=chance.random() < 0.4,
        cursors="snapshot" if knows_server else chance.choice(["keyset", "offset"]),
        page_cap=chance.choice([2, 3, 1000, 1000]),
    )
    maker = _Maker(chance)
    steps = tuple(maker.step() for _ in range(chance.randint(STEPS // 2, STEPS)))
    return Story(seed, kind, knows_server, steps)


class _Maker:
    """Makes up the steps of one story."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._runs = chance.sample(range(RUNS), chance.choice([1, 3, RUNS]))
        self._queries = chance.sample(QUERIES, chance.choice([1, 2, len(QUERIES)]))
        self._pauses: Sequence[float] = chance.choice([HURRIED, SLOW, HURRIED + SLOW])

    def step(self) -> Step:
        chance = self._chance
        (what,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        run, client = f"r{chance.choice(self._runs)}", chance.randrange(CLIENTS)
        details: dict[str, Callable[[], tuple[Any, ...]]] = {
            "read": lambda: (run, client, _wishes(chance)),
            "list": lambda: (
                chance.choice(self._queries),
                client,
                _wishes(chance),
                chance.choice([None, None, 2]),
            ),
            "write": lambda: (run, _patch(chance)),
            "edit": lambda: (run, *edit(chance)),
            "create": lambda: (run,),
            "delete": lambda: (run,),
            "flush": lambda: (client,),
            "new client": lambda: (client,),
            "set clock": lambda: (chance.choice([-30.0, -2.0, 3.0, 20.0, 400.0]),),
            "fail": lambda: (chance.choice([1, 2, 5]),),
        }
        return Step(chance.choice(self._pauses), what, details.get(what, tuple)())


def _wishes(chance: random.Random) -> Wishes:
    """What a reader wishes; the floor is that of its client."""
    return chance.choice(
        [
            *[Wishes()] * 12,
            Wishes(max_age_s=0.0),
            Wishes(max_age_s=3.0),
            Wishes(max_age_s=60.0),
            Wishes(cache_only=True),
            Wishes(no_cache=True),
            Wishes(allow_stale_on_error=True),
        ]
    )


def _patch(chance: random.Random) -> Patch:
    """An own write."""
    value = str(chance.randrange(3))
    return chance.choice(
        [
            Patch(config=(Edit(("a",), value),)),
            Patch(summary=(Edit(("c",), value),)),
            Patch(summary=(Edit(("deep", "b"), value),), fields=(("notes", f"n{value}"),)),
            Patch(tags_add=("x",)),
            Patch(tags_remove=("x",)),
        ]
    )


def edit(chance: random.Random) -> tuple[str, Any]:
    """What somebody else changes."""
    value = chance.randrange(3)
    return chance.choice(
        [
            ("config", json.dumps({"a": {"value": value}})),
            ("summary", json.dumps({"c": value, "deep": {"b": chance.randrange(2)}})),
            ("summary", json.dumps({"c": value, "deep": {"b": chance.randrange(2)}})),
            ("tags", chance.choice([(), ("x",), ("x", "y")])),
            ("state", chance.choice(["running", "finished"])),
            ("heartbeat_at", f"2026-01-02T00:00:{chance.randrange(60):02}Z"),
            ("notes", f"of others {value}"),
        ]
    )
