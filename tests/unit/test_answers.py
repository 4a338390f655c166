"""What a list of runs falls back on, and when runs of it are missing."""

from __future__ import annotations

import pytest

from runtapd.faults import Fault
from runtapd.reads.answers import Answer, KeptAnswers, as_stale, best, fallback, missing
from runtapd.reads.stretches import Row, Stretch, Unread


def answer(length: int, *, done: bool = False, first: int = 0, former: Answer | None = None) -> Answer:
    ids = [f"r{i}" for i in range(length)]
    return Answer("k", 100.0, 100.0, 0, first=first, ids=ids, cursors=ids[:], done=done, former=former)


def test_the_best_answer_is_the_complete_one_then_the_longest() -> None:
    assert best(None) is None and best(answer(0)) is None
    new = answer(3)
    assert best(new) is new
    for former, length in (
        (answer(2, done=True), 3),
        (answer(4), 3),
        (answer(1), 0),
        (answer(0, done=True), 1),
    ):
        assert best(answer(length, former=former)) is former
    for former in (answer(3), answer(2), answer(0)):
        new.former = former
        assert best(new) is new


def test_who_has_had_nothing_yet_is_given_the_answer_before() -> None:
    complete = answer(60, done=True)
    for offset in (0, 5, 60, 99):
        assert fallback(answer(0, former=complete), offset) is complete
    part = answer(50)
    new = answer(0, former=part)
    assert [fallback(new, offset) for offset in (0, 49, 50)] == [part, part, None]
    assert fallback(answer(10, former=complete), 0) is complete
    assert fallback(answer(0), 0) is None


def test_who_is_under_way_keeps_to_its_answer() -> None:
    new = answer(10, former=answer(60, done=True))
    assert [fallback(new, offset) for offset in (1, 9, 10)] == [new, new, None]
    behind = answer(5, first=20)
    assert [fallback(behind, offset) for offset in (20, 24, 25)] == [behind, behind, None]


@pytest.mark.parametrize(
    ("begun", "ended", "listed", "expected"),
    [
        (60, 60, 60, None),  # nothing happened
        (60, 61, 60, None),  # one appeared before the reader's place
        (60, 61, 61, None),  # and one behind it
        (60, 58, 60, None),  # two deleted that had been listed
        (60, 58, 58, None),  # and two that had not
        (60, 61, 59, 60),  # lost, whatever appeared
        (60, 59, 59, None),  # two appeared, three were deleted
        (60, 60, 57, 60),  # lost
        (60, 58, 57, 58),  # lost, even with the two that were deleted
        (60, 0, 50, None),  # all deleted half-way
        (0, 0, 0, None),
        (5, 5, 9, None),  # a server that counts too few
        (None, None, 3, None),  # a server that does not count
        (60, None, 60, None),
        (60, None, 59, 60),
        (None, 60, 59, 60),
    ],
)
def test_missing_runs(begun: int | None, ended: int | None, listed: int, expected: int | None) -> None:
    assert missing(begun, ended, listed) == expected


def test_a_stale_copy_goes_on_behind_its_own_last_run() -> None:
    original = answer(3)
    original.behind, original.more = "r9", False
    assert as_stale(original).behind == "r9" and not as_stale(original).more
    original.stretches.append(Stretch([Row("r3", "r3", "", "r3", "")], []))
    copy = as_stale(original)
    assert (copy.behind, copy.more, list(copy.stretches)) == ("r2", True, [])
    copy.errors["r0"] = Unread("team/vision/r0", Fault("gone"), 0.0)
    copy.append(Row("r8", "r8", "", "r8", ""))
    assert not original.errors and original.ids == ["r0", "r1", "r2"] and len(original.stretches) == 1


def test_long_lists_leave_memory_before_many_short_ones() -> None:
    kept = KeptAnswers(most=5, most_places=100)
    for name in "abcde":
        kept[name] = answer(10)
    assert kept.get("a") is not None
    kept["f"] = answer(10)
    assert [name for name in "abcdef" if kept.get(name) is None] == ["b"]
    kept["long"] = answer(70, former=answer(10))
    assert [name for name in "acdef" if kept.get(name) is None] == ["a", "c", "d"]
    kept["longest"] = grown = answer(0)
    grown.ids += ["r"] * 1000
    kept["one more"] = answer(1)
    assert kept.get("longest") is None and kept.get("one more") is not None
    kept["alone"] = alone = answer(1000)
    assert kept.get("alone") is alone and kept.get("one more") is None
