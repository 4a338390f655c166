"""What changed between the run that was read and the run as edited: pure comparison, as patches. No I/O.

An edit names a key path, what shall be there, and what the caller had read there. Only what differs is named, so a
patch never touches what somebody else is changing meanwhile.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from runtap.errors import InvalidRequestError
from runtap.values import check_text, plain, same


class Absent(enum.Enum):
    """Stands for "no such key"; an enum, so that it stays itself when pickled."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


@dataclass(frozen=True)
class Edit:
    """One change of one key path."""

    path: tuple[str, ...]
    """The keys from the top down."""
    value: Any
    """The plain value to set, or ABSENT to remove the key."""
    base: Any
    """The plain value that was read there, or ABSENT."""


def changes(base: dict[str, Any], edited: dict[str, Any], place: str) -> list[Edit]:
    """The edits that lead from `base` to `edited`; `place` names the document in errors."""
    return list(_walk(base, plain(edited, place), ()))


def _walk(base: dict[str, Any], edited: dict[str, Any], path: tuple[str, ...]) -> Iterator[Edit]:
    for key, value in edited.items():
        before = base.get(key, ABSENT)
        if isinstance(value, dict) and isinstance(before, dict):
            yield from _walk(before, value, (*path, key))
        elif before is ABSENT or not same(before, value):
            yield Edit((*path, key), value, before)
    for key, before in base.items():
        if key not in edited:
            yield Edit((*path, key), ABSENT, before)


def apply(edits: Sequence[Edit], document: dict[str, Any]) -> None:
    """Makes the edits in `document`, with missing dicts on the way."""
    for edit in edits:
        *way, last = edit.path
        place = document
        for key in way:
            inner = place.get(key)
            if not isinstance(inner, dict):
                inner = place[key] = {}
            place = inner
        if edit.value is ABSENT:
            place.pop(last, None)
        else:
            place[last] = edit.value


def replace(target: dict[str, Any], source: dict[str, Any]) -> None:
    """Makes `target` equal to `source` in place, so that dicts people hold, nested ones too, stay the run's."""
    for key in [key for key in target if key not in source]:
        del target[key]
    for key, value in source.items():
        current = target.get(key)
        if isinstance(current, dict) and isinstance(value, dict):
            replace(current, value)
        elif current is not value or key not in target:
            target[key] = value


@dataclass(frozen=True)
class TagEdit:
    """One change of the tags: either `replace`, or `add` and `remove`."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    replace: tuple[str, ...] | None = None


def tag_changes(base: Sequence[str], edited: Any) -> TagEdit | None:
    """The change of tags, None when there is none; a replacement only where order or duplicates matter."""
    old, new = tuple(base), _tags(edited)
    if old == new:
        return None
    added = tuple(tag for tag in new if tag not in old)
    kept = tuple(tag for tag in old if tag in new)
    if new == kept + added and len(set(new)) == len(new):
        return TagEdit(add=added, remove=tuple(tag for tag in old if tag not in new))
    return TagEdit(replace=new)


def _tags(tags: Any) -> tuple[str, ...]:
    if (
        not isinstance(tags, Iterable)
        or isinstance(tags, str)
        or not all(isinstance(tag, str) for tag in tags)
    ):
        raise InvalidRequestError(f"tags is a list of strings, not {tags!r}", reason="INVALID_FIELD")
    for tag in tags:
        check_text(tag, "tags")
    return tuple(tags)


def apply_tags(edit: TagEdit | None, tags: Sequence[str]) -> list[str]:
    """The tags with an edit made in them."""
    if edit is None:
        return list(tags)
    if edit.replace is not None:
        return list(edit.replace)
    return [tag for tag in tags if tag not in edit.remove] + [tag for tag in edit.add if tag not in tags]
