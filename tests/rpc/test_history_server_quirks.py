"""Servers that do not answer all that is asked for: what is read from them is right, or said to be incomplete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.daemon import start_daemon
from tests.support.history_shapes import SHAPES, clustered, dense, repeated_steps, rows, sparse
from tests.support.history_world import HistoryWorlds, history_worlds

SOME_SHAPES = ("dense, three pages", "clustered", "sparse", "several rows of a step", "one step of many rows")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryWorlds]:
    with start_daemon(tmp_path_factory.mktemp("quirks") / "home") as daemon, history_worlds(daemon) as make:
        yield make


@pytest.mark.parametrize("shape", SOME_SHAPES)
@pytest.mark.parametrize(
    "quirk",
    [
        {"sampling": "random"},
        {"answers_more": 1.048},
        {"answers_more": 1.048, "sampling": "random"},
        {"answers_more": 1.9},
    ],
    ids=str,
)
def test_a_sample_is_never_taken_for_all_rows(worlds: HistoryWorlds, shape: str, quirk: Any) -> None:
    world = worlds(**quirk)
    world.check(world.server.run(SHAPES[shape]()))


@pytest.mark.parametrize("page", [2, 100, 500])
def test_pages_as_small_as_one_likes(worlds: HistoryWorlds, page: int) -> None:
    world = worlds(answers_more=1.048, sampling="random")
    world.check(
        world.server.run([*rows(range(0, 900, 3)), *rows(range(5000, 5040))]), upstream_page_size=page
    )


@pytest.mark.parametrize("shape", [dense, sparse, clustered, repeated_steps])
@pytest.mark.parametrize(
    "told", [lambda count: None, lambda count: count - 7, lambda count: 1], ids=["none", "fewer", "one"]
)
def test_rows_count_not_what_the_server_says_of_them(
    worlds: HistoryWorlds, shape: Callable[..., Any], told: Callable[[int], int | None]
) -> None:
    lines = shape(1500) if shape is dense else shape()
    world = worlds(tells_lines=told)
    world.check(world.server.run(lines))


@pytest.mark.parametrize(
    "quirk", [{"tells_keys": False}, {"tells_last": lambda last: None}], ids=["no keys", "no step"]
)
@pytest.mark.parametrize("lines", [dense(1500), sparse(), rows([10**12])], ids=["dense", "sparse", "late"])
def test_a_server_that_does_not_say_which_step_is_the_last(
    worlds: HistoryWorlds, quirk: Any, lines: Any
) -> None:
    world = worlds(**quirk)
    world.check(world.server.run(lines))


def test_a_sample_of_system_metrics_is_said_to_be_one(worlds: HistoryWorlds) -> None:
    world = worlds()
    path = world.server.run()
    lines = [f'{{"_timestamp":{i},"_runtime":{i},"system.cpu":{i}.5}}' for i in range(12_000)]
    world.server.event_lines[path] = lines
    found = world.messages(path, stream=2)
    assert not found[-1].exact and sum(message.row_count for message in found) >= 10_000
    world.server.event_lines[path] = lines[:9001]
    found = world.messages(path, stream=2)
    assert found[-1].exact and sum(message.row_count for message in found) == 9001
