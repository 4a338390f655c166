"""The keys of a history: read from the JSON in which servers count them, whatever its shape. Pure.

That document is `{"keys": {"<key>": {"typeCounts": [{"type": "number", "count": 12}, ...]}}, "lastStep": 11}`. Keys of
nested values are dotted there, or lie under `nested` of what is counted. Of a key with another shape only the name is
read; a document with another shape has no keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runtapd.model import jsontext

LONGEST_KEY = 2**14
"""Bytes; longer keys are left out, so that a message with one key and the token behind it stays small."""
LONGEST_TYPE = 2**8
"""Characters; longer names of types are cut."""
MOST_TYPES = 100
"""Types of one key."""
LARGEST_COUNT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class HistoryKey:
    """One key."""

    key: str
    type_counts: Mapping[str, int]
    """How many values it has of each type; 0 where that is not told."""


def history_keys(document: str | bytes) -> list[HistoryKey]:
    """Reads the keys of a document, ordered by name."""
    try:
        parsed = jsontext.loads(document) if document else None
    except ValueError:
        return []
    found: dict[str, dict[str, int]] = {}
    for key, entries in _all_keys(_dict(_dict(parsed).get("keys"))):
        if key not in found:
            found[key] = _type_counts(entries)
    return [HistoryKey(key, found[key]) for key in sorted(found)]


def _all_keys(keys: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yields every key with what is counted of it, outer ones before those nested in them."""
    rest = [("", keys)]
    while rest:
        prefix, keys = rest.pop()
        for name, told in keys.items():
            key = prefix + jsontext.encodable(name)
            if len(key) > LONGEST_KEY or len(key.encode()) > LONGEST_KEY:
                continue
            entries = [entry for entry in _list(_dict(told).get("typeCounts")) if isinstance(entry, dict)]
            yield key, entries
            rest += [(f"{key}.", nested) for entry in entries if (nested := _dict(entry.get("nested")))]


def _type_counts(entries: list[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in entries:
        kind = entry.get("type")
        if not isinstance(kind, str):
            continue
        kind = jsontext.encodable(kind)[:LONGEST_TYPE]
        if kind in counts or len(counts) < MOST_TYPES:
            counts[kind] = min(counts.get(kind, 0) + _count(entry.get("count")), LARGEST_COUNT)
    return counts


def _count(value: Any) -> int:
    """A count, also when it is written as a text; 0 for what is none."""
    try:
        number = 0 if value is None or isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return min(max(number, 0), LARGEST_COUNT)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
