"""Whatever a server does about large answers, a random history comes as it was logged, or is said not to be whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import history_model
from tests.support.daemon import start_daemon
from tests.support.history_world import HistoryWorld, HistoryWorlds, history_worlds
from tests.support.scripted_world import options
from tests.support.upstream_histories import Line

_numbers = itertools.count()
NOW = options(max_age=Duration())
cells = st.one_of(
    st.integers(-3, 3),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Line]:
    """Rows with some keys; those of each key mostly of one kind."""
    step = draw(st.sampled_from([-1, 99, 10**9]))
    rows: list[Line] = []
    for gap in draw(st.lists(st.sampled_from([1, 1, 1, 3, 10**6]), max_size=40)):
        step += gap
        row: dict[str, Any] = {"_step": max(0, step), "n": next(_numbers)}
        if draw(st.booleans()):
            row["odd"] = draw(cells)
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryWorlds]:
    with start_daemon(tmp_path_factory.mktemp("servers") / "home") as daemon, history_worlds(daemon) as make:
        yield make


@pytest.fixture(scope="module")
def world(worlds: HistoryWorlds) -> HistoryWorld:
    return worlds()


@settings(max_examples=60)
@given(
    lines=histories(),
    cap=st.sampled_from([None, None, 2, 3, 7]),
    gives=st.sampled_from(["sample", "first"]),
    sampling=st.sampled_from(["even", "random"]),
    more=st.sampled_from([1.0, 1.0, 1.1, 1.6]),
    page=st.sampled_from([0, 0, 2, 5, 12]),
)
def test_any_server(
    world: HistoryWorld, lines: list[Line], cap: Any, gives: Any, sampling: Any, more: float, page: int
) -> None:
    server = world.server
    server.hidden_cap, server.cap_gives, server.sampling, server.answers_more = cap, gives, sampling, more
    path = server.run(lines, f"any{next(_numbers)}")
    if cap is None:
        world.check(path, upstream_page_size=page)
        world.check(path, last_rows=5)
        return
    # A server that gives so few rows is not suspected of giving too few. What it withheld is told of.
    found, wanted = world.read(path, upstream_page_size=page), history_model.expected(lines)
    steps = set(found.steps)
    history_model.same(found.rows, [row for row in wanted if row["_step"] in steps])
    assert found.end.exact == (len(found.rows) == len(wanted))
