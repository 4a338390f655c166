"""What is known of a run's history by key: how many values of each type, kept up to date as rows come and go."""

import math
from collections import Counter
from collections.abc import Sequence
from operator import le
from typing import Any, Final

Keys = dict[str, dict[str, Any]]
_MAX_KEYS: Final = 100_000
_MAX_KEY_LENGTH: Final = 4096
_KINDS: Final = {
    type(None): "nil",
    bool: "bool",
    int: "number",
    float: "number",
    str: "string",
    list: "list",
}
_NUMBERS: Final = (int, float)


def add_rows(keys: Keys, rows: Sequence[dict[str, Any]]) -> None:
    """Count the values of new rows. Keys without end, in number or length, are logged but not listed."""
    for key, values in _columns(rows).items():
        stats = keys.get(key)
        if stats is None:
            if len(keys) >= _MAX_KEYS or len(key) > _MAX_KEY_LENGTH:
                continue
            stats = keys[key] = {"typeCounts": [], "monotonic": True}
        for kind, count in Counter(map(_type_of, values)).items():
            _count(stats, kind, count)
        numbers = [value for value in values if type(value) in _NUMBERS and -math.inf < value < math.inf]
        if numbers:
            before = [stats.get("previousValue", numbers[0]), *numbers]
            stats["monotonic"] = stats["monotonic"] and all(map(le, before, numbers))
            stats["previousValue"] = numbers[-1]


def remove_rows(keys: Keys, rows: Sequence[dict[str, Any]]) -> None:
    """Take back the values of rows that are overwritten."""
    for key, values in _columns(rows).items():
        stats = keys.get(key)
        if stats is None:
            continue
        for kind, count in Counter(map(_type_of, values)).items():
            _count(stats, kind, -count)
        if not stats["typeCounts"]:
            del keys[key]


def _count(stats: dict[str, Any], kind: str, by: int) -> None:
    for entry in stats["typeCounts"]:
        if entry["type"] == kind:
            entry["count"] += by
            if entry["count"] <= 0:
                stats["typeCounts"].remove(entry)
            return
    if by > 0:
        stats["typeCounts"].append({"type": kind, "count": by})


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in _leaves("", row) if dict in map(type, row.values()) else row.items():
            values = columns.get(key)
            if values is None:
                columns[key] = [value]
            else:
                values.append(value)
    return columns


def _leaves(prefix: str, row: dict[str, Any]) -> list[tuple[str, Any]]:
    """(dotted key, value) of a row; objects that name their type are values, others are more keys."""
    found: list[tuple[str, Any]] = []
    for key, value in row.items():
        nested = isinstance(value, dict) and value and "_type" not in value
        if nested and len(prefix) + len(key) < _MAX_KEY_LENGTH:
            found.extend(_leaves(f"{prefix}{key}.", value))
        else:
            found.append((prefix + key, value))
    return found


def _type_of(value: Any) -> str:
    return _KINDS.get(type(value)) or str(value.get("_type", "map"))
