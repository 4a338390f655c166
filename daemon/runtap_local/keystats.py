"""What is known of a run's history by key: how many values of each type, kept up to date row by row."""

import math
from typing import Any, Final

Keys = dict[str, dict[str, Any]]
_MAX_KEYS: Final = 100_000
_MAX_KEY_LENGTH: Final = 4096


def add_row(keys: Keys, row: dict[str, Any]) -> None:
    """Count the values of a row. Keys without end, in number or length, are logged but not listed."""
    for key, value in _leaves("", row):
        if key not in keys and (len(keys) >= _MAX_KEYS or len(key) > _MAX_KEY_LENGTH):
            continue
        stats = keys.setdefault(key, {"typeCounts": [], "monotonic": True})
        _count(stats, _type_of(value), 1)
        number = isinstance(value, int) and not isinstance(value, bool)
        if number or (isinstance(value, float) and math.isfinite(value)):
            if value < stats.get("previousValue", value):
                stats["monotonic"] = False
            stats["previousValue"] = value


def remove_row(keys: Keys, row: dict[str, Any]) -> None:
    """Take back the values of a row that is overwritten."""
    for key, value in _leaves("", row):
        stats = keys.get(key)
        if stats is None:
            continue
        _count(stats, _type_of(value), -1)
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
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "list"
    return str(value.get("_type", "map")) if isinstance(value, dict) else "unknown"
