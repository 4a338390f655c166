"""Names and opaque ids on the wire: storage ids of runs and files, cursors of lists, checks of names."""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Final

from .faults import BadRequest

_NAME: Final = re.compile(r"[^/\\#?%:\x00-\x1f\x7f\ud800-\udfff]{1,128}")
_MOST_OF_PLACE: Final = 1000


def checked_name(kind: str, name: str) -> str:
    """Refuse names that could not stand in an address."""
    if not _NAME.fullmatch(name) or name in (".", "..") or name != name.strip():
        raise BadRequest(
            f"invalid {kind} name {name[:140]!r}: 1 to 128 characters, none of them / \\ # ? % : or a control character"
        )
    return name


def checked_file_name(name: str) -> str:
    """Refuse file names that a reader could not safely write below a folder of its own."""
    parts = name.split("/")
    if (
        not name
        or len(name) > 1024
        or "\\" in name
        or "\x00" in name
        or any(p in ("", ".", "..") for p in parts)
    ):
        raise BadRequest(
            f"invalid file name {name[:200]!r}: a relative path without empty, '.' or '..' parts"
        )
    return name


def run_id(entity: str, project: str, run: str) -> str:
    """The storage id of a run."""
    return _pack(f"Run:v1:{run}:{project}:{entity}")


def split_run_id(storage_id: str) -> tuple[str, str, str] | None:
    """(entity, project, run) of a storage id; None where it is not one."""
    parts = _unpack(storage_id).split(":")
    if len(parts) != 5 or parts[:2] != ["Run", "v1"]:
        return None
    return parts[4], parts[3], parts[2]


def file_id(pk: int) -> str:
    """The id of a file."""
    return _pack(f"File:v1:{pk}")


def split_file_id(text: str) -> int | None:
    """The row of a file's id; None where it is not one."""
    parts = _unpack(text).split(":")
    if len(parts) != 3 or parts[0] != "File" or not parts[2].isdecimal() or len(parts[2]) > 15:
        return None
    return int(parts[2])


def sweep_id(entity: str, project: str, sweep: str) -> str:
    """The storage id of a sweep."""
    return _pack(f"Sweep:v1:{sweep}:{project}:{entity}")


def split_sweep_id(storage_id: str) -> tuple[str, str, str] | None:
    """(entity, project, sweep) of a storage id; None where it is not one."""
    parts = _unpack(storage_id).split(":")
    return (parts[4], parts[3], parts[2]) if len(parts) == 5 and parts[:2] == ["Sweep", "v1"] else None


def agent_id(pk: int) -> str:
    """The id of an agent."""
    return _pack(f"Agent:v1:{pk}")


def split_agent_id(text: str) -> int | None:
    """The row of an agent's id; None where it is not one."""
    parts = _unpack(text).split(":")
    known = len(parts) == 3 and parts[0] == "Agent" and parts[2].isdecimal() and len(parts[2]) <= 15
    return int(parts[2]) if known else None


def cursor(offset: int) -> str:
    """The cursor after which the list goes on at ``offset``."""
    return _pack(f"offset:{offset}")


def split_cursor(text: str | None) -> int:
    """The offset of a cursor; no cursor is the beginning."""
    if not text:
        return 0
    kind, _, number = _unpack(text).partition(":")
    if kind != "offset" or not number.isdecimal() or len(number) > 15:
        raise _no_cursor(text)
    return int(number)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a list of runs goes on: at ``offset``, or, when that has shifted, behind what the last run read was.

    ``value`` is what the run was sorted by.
    """

    offset: int
    pk: int | None = None
    name: str = ""
    value: str | float | None = None


def place_cursor(place: Place) -> str:
    """The cursor after which a list of runs goes on at a place."""
    text = f"place:{json.dumps([place.offset, place.pk, place.name, place.value])}"
    return cursor(place.offset) if place.pk is None or len(text) > _MOST_OF_PLACE else _pack(text)


def split_place_cursor(text: str | None) -> Place:
    """The place of a cursor; no cursor is the beginning."""
    kind, _, rest = _unpack(text or "").partition(":")
    if kind != "place" or len(rest) > _MOST_OF_PLACE:
        return Place(split_cursor(text))
    try:
        offset, pk, name, value = json.loads(rest)
    except (ValueError, TypeError, RecursionError):
        raise _no_cursor(text) from None
    numbers = all(type(number) is int and 0 < number < 10**15 for number in (offset, pk))
    if not numbers or not isinstance(name, str) or not isinstance(value, str | int | float | None):
        raise _no_cursor(text)
    return Place(offset, pk, name, value)


def name_cursor(name: str) -> str:
    """The cursor after which a list by name goes on with the next name."""
    return _pack(f"name:{name}")


def split_name_cursor(text: str) -> str:
    """The name of a cursor."""
    kind, _, name = _unpack(text).partition(":")
    if kind != "name" or not name:
        raise _no_cursor(text)
    return name


def _no_cursor(text: str | None) -> BadRequest:
    return BadRequest(
        f"invalid cursor {(text or '')[:80]!r}: pass on the cursor of an earlier answer, or null"
    )


def _pack(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _unpack(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
