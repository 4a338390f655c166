"""The columns a filter or an order may name: their spellings, their kinds, and how a value is found in a document."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import partial
from typing import Any, Final

from .errors import QueryError
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


class Kind(Enum):
    """How the values of a column compare."""

    TEXT = "text"
    NUMBER = "number"
    TIME = "time"
    TAGS = "tags"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: ``root`` is the document's field, ``path`` what follows it in a free-form field, as written."""

    root: str
    kind: Kind
    path: str = ""

    def __str__(self) -> str:
        return f"{self.root}.{self.path}" if self.path else self.root


_KINDS: Final[dict[str, Kind]] = {
    "name": Kind.TEXT,
    "display_name": Kind.TEXT,
    "state": Kind.TEXT,
    "tags": Kind.TAGS,
    "created_at": Kind.TIME,
    "heartbeat_at": Kind.TIME,
    "updated_at": Kind.TIME,
    "duration": Kind.NUMBER,
    "group": Kind.TEXT,
    "job_type": Kind.TEXT,
    "host": Kind.TEXT,
    "username": Kind.TEXT,
    "entity": Kind.TEXT,
    "project": Kind.TEXT,
    "sweep": Kind.TEXT,
    "commit": Kind.TEXT,
    "notes": Kind.TEXT,
    "description": Kind.TEXT,
    "program": Kind.TEXT,
    "exit_code": Kind.NUMBER,
    "history_line_count": Kind.NUMBER,
}
_OTHER_SPELLINGS: Final[dict[str, str]] = {
    "user": "username",
    "runtime": "duration",
    "hostname": "host",
    "groupName": "group",
    "group_name": "group",
    "sweepName": "sweep",
    "sweep_name": "sweep",
    "exitcode": "exit_code",
    "jobProgram": "program",
    "createdTimestamp": "created_at",
}
_JSON_ROOTS: Final[dict[str, str]] = {
    "config": "config",
    "summary": "summary_metrics",
    "summary_metrics": "summary_metrics",
    "summaryMetrics": "summary_metrics",
    "system_metrics": "system_metrics",
    "systemMetrics": "system_metrics",
    "keys_info": "history_keys",
    "keysInfo": "history_keys",
    "history_keys": "history_keys",
    "historyKeys": "history_keys",
}

_MAX_DOTS: Final = 30


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


_FLAT: Final[dict[str, str]] = {
    **{name: name for name in _KINDS},
    **{_camel(name): name for name in _KINDS},
    **_OTHER_SPELLINGS,
}
_SUGGESTED: Final = (
    *_FLAT,
    *(f"{root}.<key>" for root in ("config", "summary_metrics", "keys_info.keys", "tags")),
)


def resolve_column(name: str) -> Column:
    """Find the column a name means, in any of its spellings, or say which known one is nearest."""
    if name in _FLAT:
        root = _FLAT[name]
        return Column(root, _KINDS[root])
    head, dot, rest = name.partition(".")
    if head == "tags" and rest:
        return Column("tags", Kind.JSON, rest)
    if head in _JSON_ROOTS:
        if rest.count(".") > _MAX_DOTS:
            raise QueryError(f"column {name[:60]!r}... has more than {_MAX_DOTS} dots")
        if not rest:
            raise QueryError(f"column {name!r} needs a key after it, as in '{head}.<key>'")
        root = _JSON_ROOTS[head]
        if root == "history_keys":
            rest = rest.removeprefix("keys.")
        return Column(root, Kind.JSON, rest)
    raise QueryError(f"unknown column {name!r}{_nearest(head if dot else name)}")


def _nearest(name: str) -> str:
    close = get_close_matches(name, [*_FLAT, *_JSON_ROOTS], n=1, cutoff=0.6)
    if not close:
        return f"; known columns are {', '.join(sorted(_KINDS))}, config.<key>, summary_metrics.<key>"
    hint = close[0] + (".<key>" if close[0] in _JSON_ROOTS else "")
    return f"; did you mean {hint!r}?"


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


def _plain(value: Any) -> Any:
    """A plain column that holds null holds nothing; only in free-form fields is null a value somebody gave."""
    return MISSING if value is None else value


def _moment(value: Any) -> Any:
    moment = parse_moment(value)
    return MISSING if moment is None else moment.start


def _duration(document: Document) -> Any:
    if document.get("duration") is not None:
        return document["duration"]
    begin, end = _moment(document.get("created_at")), _moment(document.get("heartbeat_at"))
    return MISSING if begin is MISSING or end is MISSING else max(0.0, end - begin)


def _path_getter(root: str, path: str) -> Getter:
    if root == "tags":
        return lambda document: True if path in (document.get("tags") or ()) else MISSING
    if root == "history_keys":
        return lambda document: _child((document.get(root) or {}).get("keys"), path)
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
        return find_bare(document.get(root)) if found is MISSING else found

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
        finders.append(partial(_follow, ways, parts[begin]))
    return finders[-1]


def _follow(ways: list[tuple[str, Callable[[Any], Any]]], first: str, value: Any) -> Any:
    if isinstance(value, dict):
        for key, follow in ways:
            if key in value:
                found = follow(value[key])
                if found is not MISSING:
                    return found
        return MISSING
    found = _child(value, first)
    return MISSING if found is MISSING else ways[-1][1](found)


def _child(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key, MISSING)
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    return MISSING
