"""Moments are read in every form people write them, and partial ones mean what filters take them for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtap_query import compile_filter, parse_filter, parse_moment


@pytest.mark.parametrize(
    ("text", "year_to_second", "width"),
    [
        ("2022-02", (2022, 2, 1), 28 * 86400),
        ("2022-02-08", (2022, 2, 8), 86400),
        ("2022-02-08T10", (2022, 2, 8, 10), 3600),
        ("2022-02-08 10:30", (2022, 2, 8, 10, 30), 60),
        ("2022-02-08T10:30:15", (2022, 2, 8, 10, 30, 15), 1),
        ("2022-02-08T10:30:15Z", (2022, 2, 8, 10, 30, 15), 1),
        ("2022-02-08T10:30:15.250000Z", (2022, 2, 8, 10, 30, 15, 250000), 1e-6),
        ("2022-02-08T10:30:15.25+02:00", (2022, 2, 8, 8, 30, 15, 250000), 0.01),
        ("2022-02-08T10:30:15-0130", (2022, 2, 8, 12, 0, 15), 1),
    ],
)
def test_moments_in_all_forms(text: str, year_to_second: tuple[int, ...], width: float) -> None:
    moment = parse_moment(text)
    assert moment is not None
    assert moment.start == datetime(*year_to_second, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]
    assert moment.end - moment.start == pytest.approx(width, abs=1e-6)


def test_moments_as_numbers_and_what_is_none() -> None:
    moment = parse_moment(1644316200.5)
    assert moment is not None and moment.start == moment.end == 1644316200.5
    assert parse_moment(datetime(2022, 1, 1)) == parse_moment(datetime(2022, 1, 1, tzinfo=UTC))
    nothing: list[object] = [True, None, float("nan"), "", "x", "2022-02-30", "22-01-01", [], {}]
    for value in nothing:
        assert parse_moment(value) is None


@pytest.mark.parametrize(
    ("operator", "asked", "expected"),
    [
        # The run was made at 10:30:00.5 on the 8th. Comparing for order takes the first instant of what was written ...
        ("$gt", "2022-02-08", True),
        ("$gt", "2022-02-08T10", True),
        ("$gte", "2022-02-08T11", False),
        ("$lt", "2022-02-08", False),
        ("$lte", "2022-02-08", False),
        ("$lt", "2022-02-08T11", True),
        ("$lt", "2022-02-09", True),
        ("$gt", "2022-02", True),
        ("$lt", "2022-02", False),
        ("$gt", "2022-02-08T10:30:00", True),
        ("$lte", "2022-02-08T10:30:00", False),
        ("$lte", "2022-02-08T10:30:00.5", True),
        ("$gte", "2022-02-08T10:30:00.500Z", True),
        ("$gt", "2022-02-08T10:30:00.500000Z", False),
        ("$lt", "2022-02-08T11:30:00+01:00", False),
        ("$lt", "2022-02-08T11:31:00+01:00", True),
        ("$gt", 1644316200, True),
        ("$lt", 1644316200.75, True),
        # ... and equality all of it.
        ("$eq", "2022-02", True),
        ("$eq", "2022-02-08", True),
        ("$eq", "2022-02-08T10", True),
        ("$eq", "2022-02-08T11", False),
        ("$eq", "2022-02-08T10:30", True),
        ("$eq", "2022-02-08T10:30:00", True),
        ("$eq", "2022-02-08T10:30:00.5", True),
        ("$eq", "2022-02-08T10:30:00.500", True),
        ("$eq", "2022-02-08T10:30:00.500001", False),
        ("$eq", 1644316200.5, True),
        ("$eq", 1644316200, False),
        ("$ne", "2022-02-08", False),
        ("$ne", "2022-02-09", True),
        ("$in", ["2021", "2022-02-08"][1:], True),
        ("$in", ["2022-02-07", None], False),
        ("$nin", ["2022-02-07", "2022-02-09"], True),
        ("$exists", True, True),
        ("$eq", None, False),
    ],
)
def test_partial_dates_in_filters(operator: str, asked: Any, expected: bool) -> None:
    matches = compile_filter(parse_filter({"createdAt": {operator: asked}}))
    for moment in (
        "2022-02-08T10:30:00.500000Z",
        "2022-02-08T10:30:00.5",
        1644316200.5,
        datetime(2022, 2, 8, 10, 30, 0, 500000),
    ):
        assert matches({"created_at": moment}) is expected
    gone = operator in ("$ne", "$nin") or (operator == "$in" and None in asked) or asked is None
    for nothing in ({}, {"created_at": None}, {"created_at": "soon"}, {"created_at": float("inf")}):
        assert matches(nothing) is gone


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 12, 31)), st.integers(-14 * 60, 14 * 60))
def test_every_moment_finds_itself_and_no_other(moment: datetime, minutes: int) -> None:
    """To the microsecond, in every zone: the server keeps microseconds, and what it shows can be asked for."""
    shown = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    parsed = parse_moment(shown if "." in shown else shown[:19] + ".000000" + shown[19:])
    microseconds = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    assert (
        parsed is not None
        and parsed.start == microseconds / 1e6
        and round(parsed.start * 1e6) == microseconds
    )
    equal = compile_filter(parse_filter({"created_at": moment.isoformat(timespec="microseconds")}))
    assert equal({"created_at": microseconds / 1e6})
    assert not equal({"created_at": (microseconds + 1) / 1e6}) and not equal(
        {"created_at": (microseconds - 1) / 1e6}
    )


@given(st.text("0123456789-:T.Z+ ", max_size=30))
def test_any_text_is_a_moment_or_none(text: str) -> None:
    moment = parse_moment(text)
    assert moment is None or moment.start < moment.end
