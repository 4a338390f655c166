"""Rows as servers write them: JSON texts with three spellings of NaN; and choosing keys from them. Pure but for the
thread that parses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from runtapd.faults import InvalidAnswer
from runtapd.model import jsontext

Row = dict[str, Any]
ABSENT = object()
_CLOCK = ("_runtime", "_timestamp")


async def parse_rows(texts: Sequence[str]) -> list[Row]:
    """Parses rows in a thread; a page of 1,000 rows is a millisecond or more."""
    if not texts:
        return []
    return await asyncio.to_thread(_parse, texts)


def _parse(texts: Sequence[str]) -> list[Row]:
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


def value_at(row: Row, key: str) -> Any:
    """Returns what a row holds under a key; a dotted key reaches into nested values when it was not logged as such."""
    if key in row:
        return row[key]
    here: Any = row
    for part in key.split("."):
        if not isinstance(here, dict) or part not in here:
            return ABSENT
        here = here[part]
    return here


def choose(rows: Sequence[Row], keys: Sequence[str], *, inner: bool, always: Sequence[str]) -> list[Row]:
    """Returns the rows that have any (or, with `inner`, all) of the keys, holding only those and `always`.

    The clock's keys, which every row has, decide nothing unless nothing else was asked for.
    """
    deciding = [key for key in keys if key not in _CLOCK] or list(keys)
    chosen = []
    for row in rows:
        found = {key: value for key in keys if (value := value_at(row, key)) is not ABSENT}
        if len(found) == len(keys) if inner else any(key in found for key in deciding):
            chosen.append({key: row[key] for key in always if key in row} | found)
    return chosen
