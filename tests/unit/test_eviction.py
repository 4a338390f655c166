"""What has to go: who gives way, and which of theirs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtapd.cache.eviction import (
    SLICE_BYTES,
    SLICE_ROWS,
    Kept,
    after_sweep,
    allowances,
    default_limit,
    victims,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("sizes", "limit", "allowed"),
    [
        ({}, 10, {}),
        ({"alone": 100}, 100, {"alone": 100}),
        ({"alone": 130}, 100, {"alone": 100}),
        ({"large": 90, "small": 20}, 100, {"large": 80, "small": 20}),
        ({"large": 90, "larger": 120, "small": 10}, 100, {"large": 45, "larger": 45, "small": 10}),
        ({"a": 5, "b": 7}, 0, {"a": 0, "b": 0}),
    ],
)
def test_the_largest_gives_way_first(sizes: dict[str, int], limit: int, allowed: dict[str, int]) -> None:
    assert allowances(sizes, limit) == allowed


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 10**12), min_size=1), st.integers(0, 10**12))
def test_allowances_keep_to_the_limit_and_leave_each_its_share(sizes: dict[str, int], limit: int) -> None:
    allowed = allowances(sizes, limit)
    assert allowed.keys() == sizes.keys()
    assert sum(allowed.values()) <= limit
    for account, size in sizes.items():
        assert min(size, limit // len(sizes)) <= allowed[account] <= size
    if sum(sizes.values()) <= limit:
        assert allowed == sizes
    else:
        assert sum(allowed.values()) > limit - len(sizes), "no more gives way than has to"


def test_the_limit_is_five_gib_or_a_tenth_of_the_disk() -> None:
    assert default_limit(500 * GIB) == 5 * GIB
    assert default_limit(20 * GIB) == 2 * GIB
    assert default_limit(0) == 5 * GIB
    assert 0 < after_sweep(100) < 100


def test_a_slice_takes_the_oldest_and_no_more_than_it_must() -> None:
    oldest = [Kept(name, "runs", 10) for name in ("a", "pinned", "b", "c")]
    assert [one.name for one in victims(oldest, 11, {"pinned"})] == ["a", "b"]
    assert victims(oldest, 0, ()) == []


def test_a_slice_is_bounded() -> None:
    assert len(victims((Kept(str(i), "runs", 0) for i in range(1000)), 10, ())) == SLICE_ROWS
    assert len(victims([Kept("a", "runs", SLICE_BYTES), Kept("b", "runs", 1)], 2**40, ())) == 1
