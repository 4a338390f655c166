"""Rows as servers write them: JSON texts with three spellings of NaN. Pure.

A row that cannot be read does not take the others with it: it is left out, so that fewer rows come than the server
counts, and the history is not called exact. A row whose `_step` is no whole number is one of them: at another step it
would be a row that nobody logged, and where it is, no range of steps and no resumed stream could find it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from runtapd.model import jsontext

Row = dict[str, Any]
ABSENT = object()
"""Stands for what a row did not log; its null is None."""
_DIGITS = re.compile("-?[0-9]{1,19}")


def parsed(texts: Sequence[str]) -> list[Row]:
    """Returns the rows in step order, without those that cannot be read."""
    rows = [row for row in _values(texts) if isinstance(row, dict) and _has_readable_step(row)]
    rows.sort(key=_step)
    return rows


def _values(texts: Sequence[str]) -> list[Any]:
    """The values of texts, those that are not JSON left out."""
    # One text for many parses several times faster than a thousand small ones.
    together = ",".join(texts)
    if "N" in together or "I" in together:
        # The fast parser knows no bare NaN: only the rows that have it shall pay for it, not the whole page.
        odd = ["NaN" in text or "Infinity" in text for text in texts]
        if any(odd) and not all(odd):
            return _apart(texts, odd)
    try:
        found = jsontext.loads(f"[{together}]")
    except ValueError:
        return _one_by_one(texts)
    return list(found) if len(found) == len(texts) else _one_by_one(texts)


def _apart(texts: Sequence[str], odd: Sequence[bool]) -> list[Any]:
    """The values of two kinds of texts, each kind parsed together."""
    plain = _values([text for text, is_odd in zip(texts, odd, strict=True) if not is_odd])
    others = _values([text for text, is_odd in zip(texts, odd, strict=True) if is_odd])
    if len(plain) + len(others) < len(texts):
        return _one_by_one(texts)
    places = iter(plain), iter(others)
    return [next(places[is_odd]) for is_odd in odd]


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
