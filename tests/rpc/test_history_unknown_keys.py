"""Keys that no row has are told as such, and no others: also where rows must have all of the keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtap.v1 import history_pb2 as pb
from tests.support.daemon import start_daemon
from tests.support.history_shapes import disjoint
from tests.support.history_world import FORMATS, HistoryWorlds, history_worlds


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryWorlds]:
    with start_daemon(tmp_path_factory.mktemp("keys") / "home") as daemon, history_worlds(daemon) as make:
        yield make


@pytest.mark.parametrize("wanted", FORMATS)
def test_keys_that_are_never_together_are_known(worlds: HistoryWorlds, wanted: str) -> None:
    world = worlds()
    path = world.server.run(disjoint())
    for keys, unknown in (
        (["metric0", "metric1"], []),
        (["metric0", "never"], ["never"]),
        (["never"], ["never"]),
    ):
        found = world.read(path, keys=keys, join=pb.HISTORY_JOIN_INNER, format=FORMATS[wanted])
        assert (found.rows, list(found.end.unknown_keys)) == ([], unknown)
