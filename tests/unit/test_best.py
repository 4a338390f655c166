"""Which page of values shows that its server orders."""

from __future__ import annotations

import pytest

from runtapd.reads.best import is_ordered


@pytest.mark.parametrize(
    ("values", "ascending", "descending"),
    [
        ([1.0, 2.0, 2.0, 3.0], True, False),
        ([3.0, 2.0, 1.0, None, None], False, True),
        ([1.0, None], True, True),
        ([None, 1.0], False, False),
        ([1.0, None, 2.0], False, False),
        ([2.0, 1.0, 3.0], False, False),
        ([None, None], False, False),
        ([], False, False),
    ],
)
def test_only_an_ordered_page_is_believed(
    values: list[float | None], ascending: bool, descending: bool
) -> None:
    assert is_ordered(values, descending=False) == ascending
    assert is_ordered(values, descending=True) == descending
