"""Histories that change between two reads, while one is under way, and behind a resume token: what comes is right for
one moment, or the reader is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support import history_model
from tests.support.daemon import start_daemon
from tests.support.history_shapes import dense, repeated_steps, rows, sparse
from tests.support.history_world import HistoryWorld, HistoryWorlds, history_worlds
from tests.support.scripted_world import failing, options
from tests.support.upstream_histories import Line

NOW = options(max_age=Duration())
FIRST = rows(range(0, 4000, 2))
CHANGES: dict[str, Sequence[Line]] = {
    "grown": [*FIRST, *rows(range(4000, 4100))],
    "grown by one": [*FIRST, *rows([4001])],
    "grown with new keys": [*FIRST, *({"_step": 4000 + i, "val/acc": i / 2} for i in range(20))],
    "resumed with overlap": [*FIRST, *rows(range(3000, 4500))],
    "resumed from the beginning": [*FIRST, *rows(range(4000))],
    "more rows of the last step": [*FIRST, *rows([3998, 3998])],
    "rewound": FIRST[:700],
    "rewound and grown beyond": [*FIRST[:700], *rows(range(1400, 9000, 2), again=True)],
    "rewound and grown to the same count": [*FIRST[:700], *rows(range(1400, 4000, 2), again=True)],
    "the last row rewritten": [*FIRST[:-1], {"_step": 3998, "loss": 99}],
    "all rows rewritten": rows(range(0, 4000, 2), again=True),
    "every tenth row rewritten": [
        {"_step": 2 * i, "loss": 99} if i % 10 == 3 else FIRST[i] for i in range(2000)
    ],
    "emptied": [],
    "later steps": rows(range(10**9, 10**9 + 2000)),
}
"""What becomes of a history of 2,000 rows."""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryWorlds]:
    with start_daemon(tmp_path_factory.mktemp("changes") / "home") as daemon, history_worlds(daemon) as make:
        yield make


@pytest.mark.parametrize("state", ["running", "finished"])
@pytest.mark.parametrize("keeps", [{}, {"lacks_updated_at": True}], ids=["updatedAt", "older server"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_next_read_gives_what_is_there_now(
    worlds: HistoryWorlds, change: str, state: str, keeps: Any
) -> None:
    world = worlds(**keeps)
    path = world.server.run(FIRST, state=state)
    world.check(path, options=NOW)
    world.server.rewrite(path, CHANGES[change])
    world.check(path, options=NOW)
    world.check(path, keys=["loss", "val/acc", "again"], options=NOW)
    world.check(path, last_rows=5, options=NOW)


@pytest.mark.parametrize(
    "lines", [FIRST, [], rows([5]), CHANGES["rewound"]], ids=["same", "none", "one", "fewer"]
)
def test_a_run_made_again_under_its_path_is_another_run(worlds: HistoryWorlds, lines: Sequence[Line]) -> None:
    world = worlds()
    path = world.server.run(FIRST, state="running")
    world.check(path, options=NOW)
    world.server.recreate(
        path, [*lines[:-1], *({**line, "loss": -1} for line in lines[-1:] if isinstance(line, dict))]
    )
    world.check(path, options=NOW)


def test_many_small_steps_of_growth(worlds: HistoryWorlds) -> None:
    world = worlds()
    path = world.server.run([], state="running")
    for i in range(0, 60, 3):
        world.server.log(path, rows(range(i, i + 3)))
        world.check(path, options=NOW)
    world.server.set_state(path, "finished")
    world.check(path, options=NOW)


@pytest.mark.parametrize(
    "first", [dense(2500), sparse(), repeated_steps()], ids=["dense", "sparse", "repeated"]
)
@pytest.mark.parametrize("requests", [1, 2, 3])
def test_growth_while_it_is_read(worlds: HistoryWorlds, first: list[Line], requests: int) -> None:
    """Rows that come later may be there or not, but none of those before is missing, and none comes twice."""
    world = worlds()
    path = world.server.run(first, state="running")
    more = rows(range(2_000_000, 2_000_050))
    world.server.meanwhile(requests, lambda: world.server.log(path, more))
    found = world.read(path, options=NOW)
    both = history_model.expected([*first, *more])
    assert len(first) <= len(found.rows) <= len(both)
    history_model.same(found.rows, both[: len(found.rows)])
    world.server.catch_up()
    world.check(path, options=NOW)


def _tokens(world: HistoryWorld, path: str) -> list[tuple[str, int]]:
    return world.check(path, options=NOW, upstream_page_size=200).tokens


def test_growth_behind_a_token_is_no_matter(worlds: HistoryWorlds) -> None:
    world = worlds()
    path = world.server.run(FIRST, state="running")
    tokens = _tokens(world, path)
    world.server.log(path, rows(range(4000, 4100)))
    everything = world.server.steps(path)
    for token, done in tokens[:4]:
        rest = world.read(path, resume_token=token, options=NOW, upstream_page_size=200)
        got = [*everything[:done], *rest.steps]
        assert got == everything[: len(got)] and len(got) >= len(FIRST)


@pytest.mark.parametrize("how", ["rewound", "emptied", "made again"])
def test_a_token_of_rows_that_are_gone_is_told_so(worlds: HistoryWorlds, how: str) -> None:
    world = worlds()
    path = world.server.run(FIRST, state="running")
    token, _ = _tokens(world, path)[1]
    if how == "made again":
        world.server.recreate(path, FIRST)
    else:
        world.server.rewrite(path, CHANGES[how])
    told = failing(lambda: world.read(path, resume_token=token, options=NOW, upstream_page_size=200))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "HISTORY_REWRITTEN")
