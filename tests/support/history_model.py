"""What reading a history must give, said in plain Python: which rows, which keys, and what counts as the same value.

The model knows no columns, no batches and no servers: rows are dicts, a missing key is not in them, a logged null is
None.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]
CLOCK = ("_runtime", "_timestamp")
_SPELLED = ("NaN", "Infinity", "-Infinity")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ABSENT = object()


def logged(lines: Iterable[str | Row]) -> list[Row]:
    """The rows that these texts are, in step order; rows of one step stay as they were."""
    rows = [json.loads(line) if isinstance(line, str) else line for line in lines]
    return sorted(rows, key=lambda row: int(row["_step"]))


def expected(
    lines: Iterable[str | Row],
    keys: Sequence[str] = (),
    *,
    inner: bool = False,
    min_step: int | None = None,
    max_step: int | None = None,
    last_rows: int = 0,
) -> list[Row]:
    """The rows that a read with these arguments gives."""
    rows = [
        row
        for row in logged(lines)
        if (min_step is None or row["_step"] >= min_step) and (max_step is None or row["_step"] < max_step)
    ]
    if wanted := [key for key in dict.fromkeys(keys) if key != "_step"]:
        rows = [chosen for row in rows if (chosen := _choice(row, wanted, inner=inner)) is not None]
    return rows[-last_rows:] if last_rows else rows


def unknown(lines: Iterable[str | Row], keys: Sequence[str]) -> list[str]:
    """The keys that no row has."""
    rows = logged(lines)
    return [key for key in dict.fromkeys(keys) if all(_value(row, key) is _ABSENT for row in rows)]


def _choice(row: Row, keys: Sequence[str], *, inner: bool) -> Row | None:
    found = {key: value for key in keys if (value := _value(row, key)) is not _ABSENT}
    deciding = [key for key in keys if key not in CLOCK] or list(keys)
    enough = len(found) == len(keys) if inner else any(key in found for key in deciding)
    return {"_step": row["_step"]} | found if enough else None


def _value(row: Row, key: str) -> Any:
    """The literal key first, then a way into nested values."""
    if key in row:
        return row[key]
    here: Any = row
    for part in key.split("."):
        if not isinstance(here, dict) or part not in here:
            return _ABSENT
        here = here[part]
    return here


# What is the same


def same(rows: Sequence[Row], others: Sequence[Row]) -> None:
    """Fails where the rows are not the same: every key, and every value by kind and to the last digit."""
    assert [row["_step"] for row in rows] == [row["_step"] for row in others], "the same steps"
    for row, other in zip(rows, others, strict=True):
        left, right = canonical(row), canonical(other)
        if left != right:
            keys = sorted(
                key for key in left.keys() | right.keys() if left.get(key, "") != right.get(key, "")
            )
            raise AssertionError(
                f"step {row['_step']}: "
                + "; ".join(
                    f"{key!r}: {left.get(key, '(missing)')!r} is not {right.get(key, '(missing)')!r}"
                    for key in keys
                )
            )


def canonical(value: Any) -> Any:
    """A value such that equal means the same: truth values are no numbers, integers equal doubles of that very value,
    and the non-finite numbers have one spelling however they were written."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, float) and not math.isfinite(value):
        return ("number", "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity")
    if isinstance(value, int | float):
        return ("number", value)
    if isinstance(value, str):
        return ("number", value) if value in _SPELLED else ("text", _SURROGATE.sub("\ufffd", value))
    if isinstance(value, dict):
        return {_SURROGATE.sub("\ufffd", key): canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return value


def kinds(rows: Sequence[Row]) -> dict[str, set[str]]:
    """In which kinds of column each key may come, given all its values: as narrow as they allow, in every message."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in row.items():
            values.setdefault(_SURROGATE.sub("\ufffd", key), []).append(value)
    return {key: _kinds(cells) for key, cells in values.items()}


def _kinds(cells: list[Any]) -> set[str]:
    seen = {_kind(cell) for cell in cells if cell is not None}
    if not seen:
        return {"int64", "double", "bool", "string", "json"}  # nulls alone have no kind
    if seen <= {"int64", "double", "nonfinite"}:
        exact = seen == {"int64"} or all(
            not isinstance(cell, int) or abs(cell) <= 2**53 for cell in cells if cell is not None
        )
        # What has been integers may go on as numbers; large ones beside doubles are texts, to stay exact.
        return ({"int64"} if seen == {"int64"} else {"int64", "double"}) | (set() if exact else {"json"})
    if seen == {"bool"}:
        return {"bool"}
    if seen <= {"string", "nonfinite"}:
        return {"string", "double", "json"} if "nonfinite" in seen else {"string"}
    return {"int64", "double", "bool", "string", "json"}


def _kind(cell: Any) -> str:
    if isinstance(cell, bool):
        return "bool"
    if isinstance(cell, int):
        return "int64" if -(2**63) <= cell < 2**63 else "json"
    if isinstance(cell, float):
        return "double" if math.isfinite(cell) else "nonfinite"
    if isinstance(cell, str):
        return "nonfinite" if cell in _SPELLED else "string"
    return "json"
