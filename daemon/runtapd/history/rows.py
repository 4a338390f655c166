"""Rows as servers write them: JSON texts with three spellings of NaN. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtapd.faults import InvalidAnswer
from runtapd.model import jsontext

Row = dict[str, Any]
ABSENT = object()
"""Stands for what a row did not log; its null is None."""


def parsed(texts: Sequence[str]) -> list[Row]:
    """Returns the rows in step order. Raises InvalidAnswer."""
    try:
        # One text for the whole page parses several times faster than a thousand small ones.
        rows = jsontext.loads("[" + ",".join(texts) + "]")
    except ValueError as error:
        raise InvalidAnswer(f"a history row is not JSON: {error}") from error
    for row in rows:
        if not isinstance(row, dict):
            raise InvalidAnswer("a history row is not an object")
        step = row.get("_step")
        if isinstance(step, float) and step.is_integer():
            row["_step"] = int(step)
        elif step is None:
            row.pop("_step", None)
    rows.sort(key=_step)
    return list(rows)


def _step(row: Row) -> int:
    step = row.get("_step", 0)
    if isinstance(step, bool) or not isinstance(step, int):
        raise InvalidAnswer(f"a history row has the step {step!r}, which is not an integer")
    return step
