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
_DIGITS = re.compile("-?[0-9]{1,19}")


def parsed(texts: Sequence[str]) -> list[Row]:
    """Returns the rows in step order, without those that cannot be read. Raises InvalidAnswer when that is none."""
    found = _values(texts)
    rows = [row for row in found if isinstance(row, dict) and _has_readable_step(row)]
    if texts and not rows:
        raise InvalidAnswer(
            f"none of {len(texts)} history rows is a JSON object with a whole number as its step"
        )
    rows.sort(key=_step)
    return rows


def _values(texts: Sequence[str]) -> list[Any]:
    """The values of texts, those that are not JSON left out.

    The fast parser knows no bare NaN: only the rows that have it shall pay for it, not the whole page.
    """
    odd = ["NaN" in text or "Infinity" in text for text in texts]
    if not any(odd) or all(odd):
        return _together(texts)
    values = {
        kind: _together([t for t, is_odd in zip(texts, odd, strict=True) if is_odd is kind])
        for kind in (True, False)
    }
    if len(values[True]) + len(values[False]) < len(texts):
        return _one_by_one(texts)
    places = {kind: iter(found) for kind, found in values.items()}
    return [next(places[is_odd]) for is_odd in odd]


def _together(texts: Sequence[str]) -> list[Any]:
    """One text for many parses several times faster than a thousand small ones."""
    try:
        found = jsontext.loads("[" + ",".join(texts) + "]")
    except ValueError:
        return _one_by_one(texts)
    return list(found) if len(found) == len(texts) else _one_by_one(texts)


def _one_by_one(texts: Iterable[str]) -> list[Any]:
    found = []
    for text in texts:
        try:
            found.append(jsontext.loads(text))
        except ValueError:
            continue
    return found


def _has_readable_step(row: Row) -> bool:
    """Whether the row has a step, now an integer of 64 bits, or none at all."""
    step = row.get("_step")
    if step is None:
        row.pop("_step", None)
        return True
    if type(step) is not int:
        if isinstance(step, str) and _DIGITS.fullmatch(step):
            step = int(step)  # numbers of 64 bits are often written as texts
        elif isinstance(step, float) and step.is_integer():
            step = int(step)
        else:
            return False
        row["_step"] = step
    return -(2**63) <= step < 2**63


def _step(row: Row) -> int:
    step: int = row.get("_step", 0)
    return step
