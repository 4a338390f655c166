"""Rows as servers write them: JSON texts with three spellings of NaN. Pure.

A row that cannot be read does not take the others with it: it is left out, so that fewer rows come than the server
counts, and the history is not called exact. A row whose `_step` is no whole number is one of them: at another step it
would be a row that nobody logged, and where it is, no range of steps and no resumed stream could find it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from runtapd.faults import InvalidAnswer
from runtapd.model import jsontext

Row = dict[str, Any]
ABSENT = object()
"""Stands for what a row did not log; its null is None."""
_DIGITS = re.compile("-?[0-9]{1,18}")


def parsed(texts: Sequence[str]) -> list[Row]:
    """Returns the rows in step order, without those that cannot be read. Raises InvalidAnswer when that is none."""
    try:
        # One text for the whole page parses several times faster than a thousand small ones.
        found = jsontext.loads("[" + ",".join(texts) + "]")
        if len(found) != len(texts):
            raise ValueError("texts that are several values, or none")
    except ValueError:
        found = _one_by_one(texts)
    rows = [row for row in found if isinstance(row, dict) and _has_readable_step(row)]
    if texts and not rows:
        raise InvalidAnswer(
            f"none of {len(texts)} history rows is a JSON object with a whole number as its step"
        )
    rows.sort(key=_step)
    return rows


def _one_by_one(texts: Iterable[str]) -> list[Any]:
    found = []
    for text in texts:
        try:
            found.append(jsontext.loads(text))
        except ValueError:
            continue
    return found


def _has_readable_step(row: Row) -> bool:
    """Whether the row has a step, now an integer, or none at all."""
    step = row.get("_step")
    if type(step) is int:
        return True
    if step is None:
        row.pop("_step", None)
        return True
    if isinstance(step, str) and _DIGITS.fullmatch(step):
        row["_step"] = int(step)  # numbers of 64 bits are often written as texts
        return True
    if isinstance(step, float) and step.is_integer():
        row["_step"] = int(step)
        return True
    return False


def _step(row: Row) -> int:
    step: int = row.get("_step", 0)
    return step
