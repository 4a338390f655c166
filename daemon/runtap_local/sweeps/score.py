"""The best value of a sweep's metric. Pure: summaries come in as texts."""

import math
from collections.abc import Iterable
from typing import Any

from .. import jsontext
from .config import Metric


def best(metric: Metric | None, summaries: Iterable[str]) -> float | None:
    """The best value among the runs that have a number for the metric; None where none has."""
    if metric is None:
        return None
    found = [value for value in (_value(text, metric.name) for text in summaries) if value is not None]
    if not found:
        return None
    return max(found) if metric.maximize else min(found)


def _value(text: str, name: str) -> float | None:
    summary = jsontext.loads(text)
    value = summary.get(name) if isinstance(summary, dict) else None
    if value is None and "." in name:
        value = _nested(summary, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _nested(summary: Any, name: str) -> Any:
    value = summary
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
