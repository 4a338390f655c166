"""Filters as clients send them (MongoDB style JSON) parsed into a small tree; every surprise is a QueryError."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from .columns import Column, Kind, resolve_column
from .errors import QueryError
from .times import parse_moment


@dataclass(frozen=True, slots=True)
class And:
    """True where all items are; without items, everywhere."""

    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where at least one item is."""

    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True where the item is not."""

    item: "Node"


@dataclass(frozen=True, slots=True)
class Compare:
    """One operator on one column. ``operand`` is what the client wrote, checked for the operator."""

    column: Column
    operator: str
    operand: Any


Node = And | Or | Not | Compare

LOGICAL: Final = ("$and", "$or", "$nor", "$not")
ORDERING: Final = ("$gt", "$gte", "$lt", "$lte")
LISTS: Final = ("$in", "$nin", "$all")
COMBINING: Final = ("$and", "$or", "$nor", "$not")
OPERATORS: Final = ("$eq", "$ne", *ORDERING, *LISTS, "$exists", "$regex", "$contains", "$size", "$not")
_MAX_DEPTH: Final = 50
_MAX_PATTERN: Final = 1000
_REGEX_FLAGS: Final = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}


def parse_filter(filters: str | Mapping[str, Any] | None) -> Node:
    """Parse a filter, given as JSON text or as the dictionary itself; nothing at all means every run."""
    if filters is None or filters == "":
        return And(())
    if isinstance(filters, str):
        try:
            filters = json.loads(filters)
        except (ValueError, RecursionError) as error:
            raise QueryError(f"filters are not valid JSON: {error}") from None
    return _document(filters, 0)


def _document(filters: object, depth: int) -> Node:
    if filters is None:
        return And(())
    if not isinstance(filters, Mapping):
        raise QueryError(f"a filter must be an object, not {_shown(filters)}")
    if depth > _MAX_DEPTH:
        raise QueryError(f"filters are nested deeper than {_MAX_DEPTH} levels")
    items = [_entry(str(key), operand, depth) for key, operand in filters.items()]
    return items[0] if len(items) == 1 else And(tuple(items))


def _entry(key: str, operand: object, depth: int) -> Node:
    if not key.startswith("$"):
        if key == "order" and isinstance(operand, str):
            raise QueryError("'order' is no filter: give it as the order argument beside the filters")
        return _column(resolve_column(key), operand, depth + 1)
    if key == "$not":
        return Not(_document(operand, depth + 1))
    if key not in LOGICAL:
        place = (
            "; it belongs inside a column, as in {'state': {'$eq': 'finished'}}" if key in OPERATORS else ""
        )
        raise QueryError(f"operator {key} cannot stand here{place or _nearest(key, LOGICAL)}")
    if not isinstance(operand, list | tuple):
        raise QueryError(f"{key} needs a list of filters, not {_shown(operand)}")
    items = tuple(_document(item, depth + 1) for item in operand)
    if key == "$and":
        return And(items)
    return Or(items) if key == "$or" else Not(Or(items))


def _column(column: Column, operand: object, depth: int) -> Node:
    if depth > _MAX_DEPTH:
        raise QueryError(f"filters are nested deeper than {_MAX_DEPTH} levels")
    if not isinstance(operand, Mapping) or not any(str(key).startswith("$") for key in operand):
        return Compare(column, "$eq", _checked(column, "$eq", operand))
    options = operand.get("$options", "")
    items: list[Node] = []
    for operator, value in operand.items():
        if operator == "$options":
            if "$regex" not in operand:
                raise QueryError(f"$options on {column} stands without $regex")
        elif operator == "$not":
            inner = value if isinstance(value, Mapping) else {"$regex": value}
            items.append(Not(_column(column, inner, depth + 1)))
        elif operator == "$regex":
            items.append(Compare(column, "$regex", _pattern(column, value, options)))
        elif operator in OPERATORS:
            items.append(Compare(column, operator, _checked(column, operator, value)))
        else:
            raise QueryError(f"unknown operator {operator!r} on {column}{_nearest(str(operator), OPERATORS)}")
    return items[0] if len(items) == 1 else And(tuple(items))


def _checked(column: Column, operator: str, operand: Any) -> Any:
    """Refuse operands the operator can do nothing with, instead of quietly matching no run."""
    if operator in LISTS:
        if not isinstance(operand, list | tuple):
            raise QueryError(f"{operator} on {column} needs a list, not {_shown(operand)}")
        for item in operand:
            _check_time(column, operator, item)
        return tuple(operand)
    if operator == "$exists":
        if not isinstance(operand, bool | int):
            raise QueryError(f"$exists on {column} needs true or false, not {_shown(operand)}")
        return bool(operand)
    if operator == "$size" and (isinstance(operand, bool) or not isinstance(operand, int) or operand < 0):
        raise QueryError(f"$size on {column} needs a whole number of at least 0, not {_shown(operand)}")
    if operator in ORDERING and (isinstance(operand, list | tuple | Mapping | bool) or operand is None):
        raise QueryError(f"{operator} on {column} needs a number, a text or a date, not {_shown(operand)}")
    if operator not in ("$size", "$contains"):
        _check_time(column, operator, operand)
    return operand


def _check_time(column: Column, operator: str, operand: Any) -> None:
    if column.kind is Kind.TIME and operand is not None and parse_moment(operand) is None:
        raise QueryError(
            f"{operator} on {column} needs a date such as '2024-05-31', '2024-05-31T12:30:00Z' or unix "
            f"seconds, not {_shown(operand)}"
        )


def _pattern(column: Column, operand: object, options: object) -> re.Pattern[str]:
    if not isinstance(operand, str):
        raise QueryError(f"$regex on {column} needs a text, not {_shown(operand)}")
    if len(operand) > _MAX_PATTERN:
        raise QueryError(f"$regex on {column} is longer than {_MAX_PATTERN} characters")
    flags = re.RegexFlag(0)
    for letter in str(options):
        if letter not in _REGEX_FLAGS:
            raise QueryError(
                f"$options on {column}: unknown letter {letter!r}, known are {', '.join(_REGEX_FLAGS)}"
            )
        flags |= _REGEX_FLAGS[letter]
    try:
        return re.compile(operand, flags)
    except (re.error, RecursionError, OverflowError) as error:
        raise QueryError(f"$regex on {column} is not a valid pattern: {error}") from None


def _nearest(name: str, known: tuple[str, ...]) -> str:
    # Without the sign they have in common, which would make everything look alike.
    close = get_close_matches(name.lstrip("$"), [one[1:] for one in known], n=1, cutoff=0.5)
    return f"; did you mean ${close[0]}?" if close else f"; known are {', '.join(known)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
