"""Samples of histories: always the same rows, their number, both ends, the extremes of every key."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtapd.history.columns import rows_of
from runtapd.history.sample import sample
from runtapd.history.table import Rows, joined
from tests.support.history_rows import plain_rows

NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=True), st.sampled_from([0, 1.5, "NaN"])
)
CELLS = st.one_of(st.none(), NUMBERS, st.booleans(), st.text(max_size=2), st.just({"deep": [1]}))


@st.composite
def histories(draw: st.DrawFn) -> list[Rows]:
    """A history in parts: some keys of one kind, some of any, all with gaps; steps with jumps."""
    kinds: dict[str, Any] = {
        "int": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(),
        "small": st.integers(0, 2),
        "any": CELLS,
        "text": st.text(max_size=2),
    }
    keys = draw(st.lists(st.sampled_from(sorted(kinds)), unique=True))
    steps = itertools.accumulate(draw(st.lists(st.sampled_from([1, 1, 1, 7, 10**12]), max_size=60)))
    parts: list[list[Any]] = [[]]
    for step in steps:
        if draw(st.integers(0, 9)) == 0:
            parts.append([])
        row = {key: draw(kinds[key]) for key in keys if draw(st.integers(0, 2))}
        parts[-1].append({"_step": step, **row, "_timestamp": float(step)})
    return [rows_of(part) for part in parts]


def steps_of(rows: Rows) -> list[int]:
    return [int(step) for step in rows.steps]


def logged(count: int, **keys: Any) -> Rows:
    """Rows with steps from 0 and these keys, each a function of the step; None: not logged."""
    return rows_of(
        [
            {"_step": step} | {key: cell for key, at in keys.items() if (cell := at(step)) is not None}
            for step in range(count)
        ]
    )


@given(histories(), st.integers(1, 40), st.sampled_from(["_step", "int", "float", "text", "nowhere"]))
def test_what_is_promised(parts: list[Rows], count: int, x_axis: str) -> None:
    whole = joined(parts)
    few = sample(parts, count, x_axis)
    assert few.length == min(count, whole.length)
    rows = {row["_step"]: row for row in plain_rows(whole)}
    assert repr(plain_rows(few)) == repr([rows[step] for step in steps_of(few)]), "rows stay whole"
    assert steps_of(few) == sorted(set(steps_of(few)))
    assert steps_of(sample(parts, count, x_axis)) == steps_of(few), "the same rows each time"
    if whole.length:
        assert steps_of(few)[-1] == steps_of(whole)[-1]
        assert count == 1 or steps_of(few)[0] == steps_of(whole)[0]
    keys = [key for key in whole.columns if key not in ("_step", "_timestamp")]
    if count >= 2 + 2 * len(keys):
        for key in keys:
            _check_extremes(parts, few, key)


def _check_extremes(parts: list[Rows], few: Rows, key: str) -> None:
    assert key in few.columns, "every key has a row"
    kinds = {
        (column.json, str(column.values.type)) for p in parts if (column := p.columns.get(key)) is not None
    }
    if kinds <= {(False, "int64")} or kinds <= {(False, "double")}:
        every = [cell for part in parts if key in part.columns for cell in _numbers(part, key)]
        kept = _numbers(few, key)
        assert not every or (min(every), max(every)) == (min(kept), max(kept))


def _numbers(rows: Rows, key: str) -> list[Any]:
    return [
        cell for cell in rows.columns[key].values.to_pylist() if cell is not None and not math.isnan(cell)
    ]


def test_how_it_is_cut_into_parts_changes_nothing() -> None:
    rows = logged(1000, loss=lambda s: 1 / (s + 1), noise=lambda s: s * 7919 % 1009 if s % 3 else None)
    whole = steps_of(sample([rows], 50))
    for size in (1, 7, 999):
        parts = [rows.slice(begin, begin + size) for begin in range(0, 1000, size)]
        assert steps_of(sample(parts, 50)) == whole


def test_a_spike_anywhere_survives_and_quiet_stretches_stay() -> None:
    for at in (1, 499, 777, 998):
        rows = logged(1000, loss=lambda s, at=at: 9e9 if s == at else 1.0)
        kept = steps_of(sample([rows], 100))
        assert at in kept
        assert max(after - before for before, after in itertools.pairwise(kept)) < 40


def test_spikes_of_stretches_survive_beside_larger_ones() -> None:
    rows = logged(10_000, loss=lambda s: 100.0 + s if s % 1000 == 321 else math.sin(s))
    assert {s for s in range(10_000) if s % 1000 == 321} <= set(steps_of(sample([rows], 200)))


def test_integers_that_doubles_cannot_tell_apart() -> None:
    rows = logged(100, n=lambda s: 2**60 + (1 if s == 50 else 0))
    assert 50 in steps_of(sample([rows], 5))


def test_a_step_far_off_does_not_take_all_rows() -> None:
    rows = rows_of([{"_step": step, "x": 1.0} for step in [*range(1000), 10**12]])
    kept = steps_of(sample([rows], 100))
    assert len(kept) == 100
    assert max(after - before for before, after in itertools.pairwise(kept[:-1])) <= 12


def test_rows_spread_over_the_x_axis_that_is_asked_for() -> None:
    # Nine rows of ten lie in the first tenth of the epochs.
    rows = logged(1000, epoch=lambda s: s / 9000 if s < 900 else (s - 899) / 100)
    by_step = [s for s in steps_of(sample([rows], 100)) if s >= 900]
    by_epoch = [s for s in steps_of(sample([rows], 100, "epoch")) if s >= 900]
    assert len(by_step) < 20 and len(by_epoch) > 60
    backwards = logged(1000, back=lambda s: -s, peak=lambda s: 5 if s == 333 else 0)
    assert 333 in steps_of(sample([backwards], 20, "back"))


def test_too_few_rows_for_all_keys_serve_the_first() -> None:
    rows = logged(500, **{f"k{i}": lambda s, i=i: -abs(s - 10 * i - 5) for i in range(20)})
    kept = set(steps_of(sample([rows], 8)))
    assert {0, 499, 5, 15} <= kept and len(kept) == 8


@pytest.mark.parametrize("extreme", [math.inf, -math.inf, 1.7e308, -1.7e308])
def test_extreme_numbers_are_no_trouble(extreme: float) -> None:
    rows = logged(100, x=lambda s: extreme if s == 70 else s / 7, y=lambda s: -1.7e308 if s == 3 else 1e308)
    assert {3, 70} <= set(steps_of(sample([rows], 20, "x")))
    tiny = logged(100, x=lambda s: 5e-324 if s < 50 else 0.0)
    assert len(steps_of(sample([tiny], 20, "x"))) == 20


def test_nothing_and_system_metrics_without_steps() -> None:
    assert sample([], 5).length == 0
    events = rows_of([{"system.cpu": i % 50, "_timestamp": float(i)} for i in range(200)])
    few = sample([events], 10, "_timestamp")
    cells = few.columns["_timestamp"].values.to_pylist()
    assert (len(cells), cells[0], cells[-1]) == (10, 0.0, 199.0)
