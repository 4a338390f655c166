"""Moments as people write them: unix seconds, dates, partial and full ISO 8601, with and without zone."""

import math
import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_ISO = re.compile(
    r"""^\s*(?P<year>\d{4})-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2})
    (?:[T\ ](?P<hour>\d{1,2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?)?)?
    \s*(?P<zone>Z|z|UTC|[+-]\d{2}:?\d{2})?\s*$""",
    re.VERBOSE,
)


class Moment(tuple[float, float]):
    """The span of time a text means, as unix seconds: [start, end). A full timestamp spans its own precision."""

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
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            seconds = float(value)
        except OverflowError:  # a whole number beyond all dates
            return None
        return Moment((seconds, seconds)) if math.isfinite(seconds) else None
    if isinstance(value, datetime):
        seconds = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        return Moment((seconds, seconds))
    if isinstance(value, str):
        return _parse_text(value)
    return None


@lru_cache(maxsize=65536)
def _parse_text(text: str) -> Moment | None:
    match = _ISO.match(text)
    if match is None:
        return None
    parts = match.groupdict()
    fraction = (parts["fraction"] or "").ljust(6, "0")[:6]
    try:
        start = datetime(
            int(parts["year"]),
            int(parts["month"]),
            int(parts["day"] or 1),
            int(parts["hour"] or 0),
            int(parts["minute"] or 0),
            int(parts["second"] or 0),
            int(fraction),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    seconds = start.timestamp() - _zone_offset(parts["zone"])
    return Moment((seconds, seconds + _width(start, parts)))


def _zone_offset(zone: str | None) -> float:
    if zone is None or zone.upper() in ("Z", "UTC"):
        return 0.0
    sign = -1.0 if zone[0] == "-" else 1.0
    digits = zone[1:].replace(":", "")
    return sign * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def _width(start: datetime, parts: dict[str, str | None]) -> float:
    """How long the span is: as long as the smallest unit that was written down."""
    if parts["fraction"] is not None:
        return 0.0
    if parts["second"] is not None:
        return 1.0
    if parts["minute"] is not None:
        return 60.0
    if parts["hour"] is not None:
        return 3600.0
    if parts["day"] is not None:
        return 86400.0
    return timedelta(days=monthrange(start.year, start.month)[1]).total_seconds()
