"""Small answers survive the way to disk and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtapd.model.project import ProjectData
from runtapd.model.sweep import Search, SweepData
from runtapd.reads.smalltexts import answer_of, text_of
from runtapd.upstream.api import Page

PROJECTS = st.builds(ProjectData)
SWEEPS = st.builds(SweepData, search=st.builds(Search), best_loss=st.none() | st.floats(allow_nan=False))


@given(PROJECTS | SWEEPS | st.builds(Page, st.tuples(PROJECTS, SWEEPS) | st.just(()), st.text()))
def test_what_was_written_is_read(answer: object) -> None:
    assert answer_of(text_of(answer)) == answer


def test_numbers_that_are_none_come_back() -> None:
    sweep = SweepData("s", "e", "p", "i", "", Search(), best_loss=float("inf"))
    assert answer_of(text_of(sweep)) == sweep


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "7",
        "[]",
        '["sweep", {}]',
        '["project", {"unknown": 1}]',
        '["page", {"items": 3, "next_cursor": ""}]',
        '["x", {}]',
    ],
)
def test_what_cannot_be_read_is_nothing(text: str) -> None:
    assert answer_of(text) is None


def test_other_things_are_not_written() -> None:
    with pytest.raises(TypeError, match="int is no small answer"):
        text_of(7)
