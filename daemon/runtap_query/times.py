"""Moments as people write them: unix seconds, dates, partial and full ISO 8601, with and without zone.

A text means the span of its smallest unit: ``2024-05`` a month, ``2024-05-31T12`` an hour, ``...:15.25`` ten
milliseconds. Whoever compares for order takes the first instant of the span, whoever compares for equality the span.
"""

from __future__ import annotations

import math
import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

_ISO: Final = re.compile(
    r"""\s*(?P<year>\d{4})-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2})
    (?:[Tt\ ](?P<hour>\d{1,2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?)?)?
    \s*(?P<zone>[Zz]|UTC|[+-]\d{2}(?::?\d{2})?)?\s*""",
    re.VERBOSE | re.ASCII,
)
_LONGEST: Final = 64  # no moment is longer, and what is remembered must not be
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_UNITS: Final = (
    ("second", 1_000_000),
    ("minute", 60_000_000),
    ("hour", 3_600_000_000),
    ("day", 86_400_000_000),
)


class Moment(tuple[float, float]):
    """The span of time a value means, as unix seconds: [start, end). A number spans nothing: its end is its start."""

    __slots__ = ()

    @property
    def start(self) -> float:
        """First instant of the span: what ``$lt``, ``$gt`` and their kin compare with."""
        return self[0]

    @property
    def end(self) -> float:
        """First instant after the span."""
        return self[1]


def parse_moment(value: object) -> Moment | None:
    """Read a moment; None where the value is not one. A zone left out means UTC, as on the wire."""
    if isinstance(value, str):
        return _parse_text(value) if len(value) <= _LONGEST else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            seconds = float(value)
        except OverflowError:  # a whole number beyond all dates
            return None
        return Moment((seconds, seconds)) if math.isfinite(seconds) else None
    if isinstance(value, datetime):
        seconds = _microseconds(value if value.tzinfo else value.replace(tzinfo=UTC)) / 1e6
        return Moment((seconds, seconds))
    return None


@lru_cache(maxsize=65536)
def _parse_text(text: str) -> Moment | None:
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    parts = match.groupdict()
    try:
        first = datetime(
            int(parts["year"]),
            int(parts["month"]),
            int(parts["day"] or 1),
            int(parts["hour"] or 0),
            int(parts["minute"] or 0),
            int(parts["second"] or 0),
            int((parts["fraction"] or "").ljust(6, "0")[:6]),
            tzinfo=_zone(parts["zone"]),
        )
    except ValueError:
        return None
    # Whole microseconds until the last step: sums of fractions would miss moments by a hair.
    start = _microseconds(first)
    return Moment((start / 1e6, (start + _width(first, parts)) / 1e6))


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _zone(text: str | None) -> timezone:
    if text is None or text.upper() in ("Z", "UTC"):
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _width(first: datetime, parts: dict[str, str | None]) -> int:
    """How many microseconds the smallest unit that was written down lasts."""
    fraction = parts["fraction"]
    if fraction is not None:
        return int(10 ** max(0, 6 - len(fraction)))
    for unit, microseconds in _UNITS:
        if parts[unit] is not None:
            return microseconds
    return monthrange(first.year, first.month)[1] * 86_400_000_000
