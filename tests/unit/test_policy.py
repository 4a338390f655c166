"""Whether something cached may be used."""

from __future__ import annotations

import pytest

from runtapd.cache.policy import SoftLimits, Wishes, usable

NOW = 1000.0


@pytest.mark.parametrize(
    ("age", "wishes", "floor", "expected"),
    [
        (4.0, Wishes(), 0.0, True),
        (5.0, Wishes(), 0.0, False),
        (-1.0, Wishes(), 0.0, False),  # the clock was set back
        (60.0, Wishes(max_age_s=61.0), 0.0, True),
        (1.0, Wishes(max_age_s=0.5), 0.0, False),
        (0.0, Wishes(max_age_s=0.0), 0.0, False),
        (0.0, Wishes(no_cache=True), 0.0, False),
        (1.0, Wishes(not_before=NOW - 2), 0.0, True),
        (2.0, Wishes(not_before=NOW - 2), 0.0, True),
        (3.0, Wishes(not_before=NOW - 2), 0.0, False),
        (3.0, Wishes(not_before=NOW - 2, max_age_s=100.0), 0.0, False),
        (3.0, Wishes(), NOW - 2, False),
        (1e9, Wishes(cache_only=True), NOW, True),
        (4.0, Wishes(allow_stale_on_error=True), 0.0, True),
        (6.0, Wishes(allow_stale_on_error=True), 0.0, False),
    ],
)
def test_usable(age: float, wishes: Wishes, floor: float, expected: bool) -> None:
    assert usable(NOW - age, NOW, 5.0, wishes, floor) is expected


def test_a_limit_of_zero_revalidates_always() -> None:
    assert not usable(NOW, NOW, 0.0, Wishes(), 0.0)


@pytest.mark.parametrize(
    ("state", "limit"),
    [("running", 5), ("pending", 5), ("preempting", 5), ("finished", 300), ("crashed", 300), ("new", 300)],
)
def test_runs_that_move_are_asked_for_more_often(state: str, limit: float) -> None:
    assert SoftLimits(running_s=5, list_s=10, finished_s=300).of_run(state) == limit
