"""Whatever a run logged comes back as it was: random histories through a real daemon, in both formats, by any choice of
rows and keys, from any token on; and random stories of a history that is read while it changes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

from runtap.v1 import history_pb2 as pb
from tests.support import history_model
from tests.support.daemon import start_daemon
from tests.support.history_world import FORMATS, HistoryWorld, HistoryWorlds, history_worlds
from tests.support.scripted_world import options
from tests.support.upstream_histories import Line

_numbers = itertools.count()
NOW = options(max_age=Duration())
KEYS = ["a", "b", "a.b", "a/b", "é\n", "_runtime", "_timestamp", "c"]
numbers = st.one_of(
    st.integers(-5, 5),
    st.integers(),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, 2**64, 10**30]),
    st.floats(width=64),
    st.sampled_from([0.5, -0.0, 1e300, 5e-324, float("nan"), float("inf"), float("-inf")]),
)
texts = st.one_of(
    st.text(max_size=6), st.sampled_from(["NaN", "Infinity", "-Infinity", "1", "null", "{}", "\ud800"])
)
values = st.recursive(
    st.one_of(numbers, texts, st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*KEYS, "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)
same_kind = st.sampled_from(
    [numbers, st.integers(-(2**63), 2**63 - 1), st.floats(), texts, st.booleans(), values]
)
"""What the values of one key are, mostly."""
gaps = st.sampled_from([0, 1, 1, 1, 1, 2, 7, 1000, 10**9])


@st.composite
def histories(draw: st.DrawFn, most: int = 30) -> list[Line]:
    """Rows, each with some of the keys."""
    kinds = {key: draw(same_kind) for key in draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=5))}
    rows: list[Line] = []
    step = draw(st.sampled_from([0, 0, 1, 5000, 10**12]))
    for gap in draw(st.lists(gaps, max_size=most)):
        step += gap
        row: dict[str, Any] = {"_step": step}
        for key, kind in kinds.items():
            if draw(st.integers(0, 3)):
                row[key] = None if draw(st.integers(0, 7)) == 0 else draw(kind)
        rows.append(_spelled(row, draw(st.booleans())))
    return rows


def _spelled(row: dict[str, Any], huge: bool) -> str:
    """As a server may write it: infinities also as numbers that are too large."""
    text = json.dumps(row)
    return text.replace("Infinity,", "1e999,") if huge else text


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryWorlds]:
    with start_daemon(tmp_path_factory.mktemp("any") / "home") as daemon, history_worlds(daemon) as make:
        yield make


@pytest.fixture(scope="module")
def world(worlds: HistoryWorlds) -> HistoryWorld:
    return worlds(answers_more=1.1, sampling="random")


def run(world: HistoryWorld, lines: list[Line], **fields: Any) -> str:
    """A run that no other example has."""
    return world.server.run(lines, f"any{next(_numbers)}", **fields)


pages = st.sampled_from([0, 0, 2, 5])
some_keys = st.lists(st.sampled_from([*KEYS, "a.x", "never"]), min_size=1, max_size=4, unique=True)


@settings(max_examples=80)
@given(lines=histories(), page=pages)
def test_all_rows(world: HistoryWorld, lines: list[Line], page: int) -> None:
    path = run(world, lines)
    for wanted in FORMATS.values():
        world.check(path, format=wanted, upstream_page_size=page)


@settings(max_examples=120)
@given(lines=histories(), data=st.data(), page=pages, wanted=st.sampled_from(list(FORMATS.values())))
def test_any_choice_of_rows(
    world: HistoryWorld, lines: list[Line], data: st.DataObject, page: int, wanted: Any
) -> None:
    path = run(world, lines)
    steps = world.server.steps(path) or [0]
    bound = st.one_of(st.sampled_from(steps), st.sampled_from(steps).map(lambda step: step + 1), st.just(3))
    bounds = {
        name: value
        for name in ("min_step", "max_step")
        if (value := data.draw(st.none() | bound)) is not None
    }
    fields: dict[str, Any] = {"format": wanted, "upstream_page_size": page, **bounds}
    if data.draw(st.booleans()):
        fields["last_rows"] = data.draw(st.integers(1, 9))
    if data.draw(st.booleans()):
        fields["keys"] = data.draw(some_keys)
        fields["join"] = data.draw(st.sampled_from([pb.HISTORY_JOIN_OUTER, pb.HISTORY_JOIN_INNER]))
    world.check(path, **fields)


@settings(max_examples=40)
@given(lines=histories(), data=st.data(), keys=st.just([]) | some_keys)
def test_going_on_from_any_token(
    world: HistoryWorld, lines: list[Line], data: st.DataObject, keys: list[str]
) -> None:
    path = run(world, lines)
    fields: dict[str, Any] = {"keys": keys, "upstream_page_size": 2}
    whole = world.check(path, **fields)
    if whole.tokens:
        token, done = data.draw(st.sampled_from(whole.tokens))
        rest = world.read(path, resume_token=token, **fields)
        history_model.same(rest.rows, whole.rows[done:])
        assert rest.end.unknown_keys == whole.end.unknown_keys


# Stories: what happens to a history between reads

changes = st.one_of(
    st.tuples(st.just("log"), st.integers(0, 12), gaps),
    st.tuples(st.just("overlap"), st.integers(1, 12), gaps),
    st.tuples(st.just("rewind"), st.integers(0, 20), gaps),
    st.tuples(st.just("rewrite last"), st.integers(1, 3), gaps),
    st.tuples(st.just("again"), st.integers(0, 12), gaps),
    st.tuples(st.just("state"), st.integers(0, 1), gaps),
    st.tuples(st.just("nothing"), st.just(0), gaps),
)
reads = st.sampled_from([{}, {}, {"last_rows": 4}, {"keys": ["n", "a"]}, {"min_step": 3}, {"max_step": 9}])


@settings(max_examples=60)
@given(first=st.integers(0, 40), story=st.lists(st.tuples(changes, reads), min_size=1, max_size=7))
def test_stories(world: HistoryWorld, first: int, story: list[Any]) -> None:
    path = run(world, [_row(step) for step in range(first)], state="running")
    world.check(path, options=NOW)
    for (change, count, gap), read in story:
        _happens(world, path, change, count, gap)
        world.check(path, options=NOW, **read)
    world.check(path, options=NOW)


def _happens(world: HistoryWorld, path: str, change: str, count: int, gap: int) -> None:
    lines: list[Line] = list(world.server.lines[path])
    last = max(world.server.steps(path), default=-1)
    if change == "log":
        world.server.log(path, [_row(last + 1 + i * max(1, gap)) for i in range(count)])
    elif change == "overlap":
        world.server.log(path, [_row(max(0, last - count // 2) + i) for i in range(count)])
    elif change == "rewind":
        world.server.rewrite(path, lines[:count])
    elif change == "rewrite last":
        kept = history_model.logged(lines)
        world.server.rewrite(path, [*kept[:-count], *(_row(row["_step"]) for row in kept[-count:])])
    elif change == "again":
        world.server.recreate(path, [_row(i * max(1, gap)) for i in range(count)])
    elif change == "state":
        world.server.set_state(path, ("running", "finished")[count])


def _row(step: int) -> Line:
    """A row unlike any before."""
    number = next(_numbers)
    return {"_step": step, "n": number} | ({"a": number / 2} if number % 3 else {})
