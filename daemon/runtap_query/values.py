"""How the value of a column is found in a document: nested keys, keys that hold dots, lists on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from .columns import Column, Kind
from .times import parse_moment

Document = Mapping[str, Any]
Getter = Callable[[Document], Any]


class _Missing:
    """The value of a key that is not there; different from null, which is a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()


SPELLED_NUMBERS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How servers write, in strict JSON, the numbers that it does not have; in free-form fields they order as numbers."""


class Several(tuple[Any, ...]):
    """What a path that crosses a list leads to: something, or MISSING, for each object in the list.

    A comparison holds when it holds for one of them, so that none at all equals nothing, not even null.
    """

    __slots__ = ()


def value_getter(column: Column) -> Getter:
    """Build the function that finds the column's value in a document; MISSING where there is none."""
    root = column.root
    if column.kind is Kind.TIME:
        return lambda document: _moment(document.get(root))
    if column.kind is Kind.JSON:
        return _path_getter(root, column.path)
    if root == "duration":
        return _duration
    return lambda document: _plain(document.get(root))


def may_be_several(column: Column) -> bool:
    """Whether the column's getter can answer Several."""
    return column.kind is Kind.JSON and "." in column.path


def _plain(value: Any) -> Any:
    """A plain column that holds null holds nothing; only in free-form fields is null a value somebody gave."""
    return MISSING if value is None else value


def _moment(value: Any) -> Any:
    if type(value) is float and math.isfinite(value):
        return value
    moment = parse_moment(value)
    return MISSING if moment is None else moment.start


def _duration(document: Document) -> Any:
    if document.get("duration") is not None:
        return document["duration"]
    begin, end = _moment(document.get("created_at")), _moment(document.get("heartbeat_at"))
    return MISSING if begin is MISSING or end is MISSING else max(0.0, end - begin)


def _path_getter(root: str, path: str) -> Getter:
    if root == "tags":
        return lambda document: True if path in _texts(document.get("tags")) else MISSING
    if root == "history_keys":
        return lambda document: _child(_child(document.get(root), "keys"), path)
    parts = path.split(".")
    if len(parts) == 1:
        return lambda document: _child(document.get(root), path)
    find = _finder(parts)
    if root != "config" or "value" not in parts[1:]:
        return lambda document: find(document.get(root))
    # The web pages write config.<key>.value<.nested> where people write config.<key><.nested>.
    at = parts.index("value", 1)
    find_bare = _finder(parts[:at] + parts[at + 1 :])

    def find_either(document: Document) -> Any:
        found = find(document.get(root))
        return found if _is_there(found) else find_bare(document.get(root))

    return find_either


def _finder(parts: list[str]) -> Callable[[Any], Any]:
    """Follow dotted parts; a key that itself holds dots wins over nesting, since it says exactly what was asked.

    The ways to cut the rest of a path are worked out once, from its end, and shared by all that lead to it.
    """
    finders: list[Callable[[Any], Any]] = [lambda value: value]
    for begin in range(len(parts) - 1, -1, -1):
        ways = [
            (".".join(parts[begin:end]), finders[len(parts) - end]) for end in range(len(parts), begin, -1)
        ]
        finders.append(partial(_follow, ways))
    return finders[-1]


def _follow(ways: list[tuple[str, Callable[[Any], Any]]], value: Any) -> Any:
    if isinstance(value, dict):
        found: Any = MISSING
        for key, follow in ways:
            if key in value:
                found = follow(value[key])
                if _is_there(found):
                    break
        return found
    if not isinstance(value, list):
        return MISSING
    # As in MongoDB: each object in the list is asked; other items, lists among them, have no keys.
    found_in_items = [_follow(ways, item) for item in value if isinstance(item, dict)]
    first, rest = ways[-1]
    index = _index(first)
    if index is None:
        return Several(_flat(found_in_items))
    found_in_items = [found for found in found_in_items if _is_there(found)]
    if index < len(value):
        at_index = rest(value[index])
        return Several(_flat([at_index, *found_in_items])) if found_in_items else at_index
    return Several(_flat(found_in_items))


def _flat(found: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for value in found:
        if isinstance(value, Several):
            flat.extend(value)
        else:
            flat.append(value)
    return flat


def _is_there(found: Any) -> bool:
    if isinstance(found, Several):
        return any(value is not MISSING for value in found)
    return found is not MISSING


def _child(value: Any, key: str) -> Any:
    return value.get(key, MISSING) if isinstance(value, dict) else MISSING


def _index(key: str) -> int | None:
    return int(key) if key.isascii() and key.isdecimal() else None


def _texts(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else ()
