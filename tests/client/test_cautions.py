"""Warnings point at the caller's line and come once there, also when filters are touched in between; filters hold."""

from __future__ import annotations

import warnings

import pytest

from runtap import cautions
from runtap.cautions import caution


def test_what_is_about_the_same_is_said_once_a_line() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for number in range(3):
            with warnings.catch_warnings():  # pandas does that, and Python then forgets what it has shown
                warnings.simplefilter("always", DeprecationWarning)
            caution(f"{number} rows", about="rows")
            caution(f"{number} keys", about="keys")
        caution("9 rows", about="rows")
    assert [str(one.message) for one in caught] == ["0 rows", "0 keys", "9 rows"]
    assert {one.filename for one in caught} == {__file__}


@pytest.mark.parametrize("action", ["always", "error", "ignore"])
def test_filters_say_otherwise(action: str) -> None:
    for module in ("", __name__):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            warnings.filterwarnings(action, r"\d rows", UserWarning, module)  # type: ignore[arg-type]
            for _ in range(2):
                if action == "error":
                    with pytest.raises(UserWarning, match="7 rows"):
                        caution("7 rows", about=action)
                else:
                    caution("7 rows", about=action)
            assert len(caught) == (2 if action == "always" else 0)


def test_what_was_ignored_was_not_said() -> None:
    with warnings.catch_warnings(record=True) as caught:
        for action in ("ignore", "default", "default"):
            warnings.simplefilter(action)
            caution("rows", about="ignored at first")
    assert len(caught) == 1


def test_memory_of_what_was_said_is_bounded() -> None:
    with warnings.catch_warnings(record=True):
        warnings.resetwarnings()
        for number in range(cautions._MOST_TOLD + 5):
            caution("rows", about=number)
    assert len(cautions._told) <= cautions._MOST_TOLD
