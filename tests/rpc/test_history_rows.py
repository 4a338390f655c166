"""Every shape of history comes row by row as it was logged: all of it, by keys, in ranges, in both formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runtap.v1 import history_pb2 as pb
from tests.support.daemon import start_daemon
from tests.support.history_shapes import SHAPES
from tests.support.history_world import FORMATS, MESSAGE_LIMIT, HistoryWorld, HistoryWorlds, history_worlds

HISTORY_PAGES = {
    "none": 0,
    "one step only": 1,
    "one step, a late one": 1,
    "sparse": 3,
    "huge steps": 3,
    "200 keys": 1,
    "disjoint keys": 1,
}
"""How many requests for rows a shape may cost, where the answer says something."""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryWorlds]:
    with start_daemon(tmp_path_factory.mktemp("rows") / "home") as daemon, history_worlds(daemon) as make:
        yield make


@pytest.fixture(scope="module")
def world(worlds: HistoryWorlds) -> HistoryWorld:
    """A server with a run of each shape."""
    world = worlds()
    for i, shape in enumerate(SHAPES.values()):
        world.server.run(shape(), f"r{i}")
    return world


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(shape: str) -> str:
    """The run of that shape."""
    return f"team/vision/r{list(SHAPES).index(shape)}"


def test_pandas_is_not_loaded(world: HistoryWorld) -> None:
    for wanted in FORMATS.values():
        world.check("team/vision/r0", format=wanted)
    libraries = {Path(part.path).parts for part in psutil.Process(world.daemon.pid).memory_maps()}
    assert any("pyarrow" in path for path in libraries)
    assert not any("pandas" in path for path in libraries)


@pytest.mark.parametrize("wanted", FORMATS)
def test_all_rows(world: HistoryWorld, shape: str, path: str, wanted: str) -> None:
    before = world.server.rows_asked
    world.sizes.clear()
    found = world.check(path, format=FORMATS[wanted])
    assert found.end.progress.total == len(found.rows)
    if shape in HISTORY_PAGES:
        assert world.server.rows_asked - before <= HISTORY_PAGES[shape]
    assert max(world.sizes) < MESSAGE_LIMIT


@pytest.mark.parametrize("join", ["outer", "inner"])
def test_rows_by_keys(world: HistoryWorld, path: str, join: str) -> None:
    joins = {"outer": pb.HISTORY_JOIN_OUTER, "inner": pb.HISTORY_JOIN_INNER}
    for keys in (
        ["loss"],
        ["loss", "_runtime"],
        ["metric0", "metric2"],
        ["a", "b"],
        ["odd", "never"],
        ["a.b", "text"],
    ):
        world.check(path, keys=keys, join=joins[join])


def test_rows_in_ranges(world: HistoryWorld, path: str) -> None:
    steps = world.server.steps(path) or [0]
    middle = steps[len(steps) // 2]
    world.check(path, min_step=middle)
    world.check(path, max_step=middle)
    world.check(path, min_step=steps[0] + 1, max_step=steps[-1])
    world.check(path, min_step=steps[-1] + 1)
    world.check(path, last_rows=3)
    world.check(path, last_rows=2, max_step=middle)


def test_going_on_behind_every_message(world: HistoryWorld, path: str) -> None:
    whole = world.check(path)
    for token, done in whole.tokens[:6]:
        rest = world.read(path, resume_token=token)
        assert rest.steps == whole.steps[done:]
        assert rest.end.progress.done == len(whole.rows)
