"""Rows of the daemon's tables as plain dicts, to be compared with what was logged."""

from __future__ import annotations

import json
from typing import Any

from runtapd.history.table import Rows


def plain_rows(rows: Rows) -> list[dict[str, Any]]:
    """One dict per row, with None for logged nulls and without keys that were not logged."""
    found: list[dict[str, Any]] = [{} for _ in range(rows.length)]
    for key, column in rows.columns.items():
        nulls = set() if column.nulls is None else set(column.nulls.tolist())
        for i, cell in enumerate(column.values.to_pylist()):
            if cell is not None:
                found[i][key] = json.loads(cell) if column.json else cell
            elif i in nulls:
                found[i][key] = None
    return found
