"""Servers that give less than they were asked for, or fail where an answer is large: all rows come all the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.daemon import start_daemon
from tests.support.history_shapes import SHAPES
from tests.support.history_world import HistoryWorlds, history_worlds
from tests.support.upstream_faults import Status

SOME_SHAPES = ("dense, three pages", "clustered", "sparse", "several rows of a step")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryWorlds]:
    with start_daemon(tmp_path_factory.mktemp("large") / "home") as daemon, history_worlds(daemon) as make:
        yield make


@pytest.mark.parametrize("gives", ["sample", "first"])
@pytest.mark.parametrize("shape", SOME_SHAPES)
def test_a_hidden_cap_of_500_rows(worlds: HistoryWorlds, shape: str, gives: Any) -> None:
    world = worlds(hidden_cap=500, cap_gives=gives)
    world.check(world.server.run(SHAPES[shape]()))


@pytest.mark.parametrize("shape", ["dense, three pages", "clustered", "sparse"])
def test_an_answer_of_500_rows_times_out(worlds: HistoryWorlds, shape: str) -> None:
    world = worlds(fails_over_rows=499)
    world.check(world.server.run(SHAPES[shape]()))


@pytest.mark.parametrize("code", [502, 504, 524])
def test_answers_of_a_megabyte_fail(worlds: HistoryWorlds, code: int) -> None:
    world = worlds(fails_over_bytes=2**20, too_large=Status(code))
    lines = [{"_step": i, "text": f"{i}" * 2000} for i in range(1000)]
    world.check(world.server.run(lines))
