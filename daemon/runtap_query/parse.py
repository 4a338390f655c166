"""Filters as clients send them (MongoDB style JSON) parsed into a small tree; every surprise is a QueryError.

Owns the shape of filters: which operator may stand where, and how much of everything there may be. What an operator may
be given is in ``operands``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from . import limits
from .columns import JSON_ROOTS, Column, resolve_column
from .errors import QueryError, nearest, shown
from .operands import COMPARING, LISTS, checked, comparisons, is_operators, pattern


@dataclass(frozen=True, slots=True)
class And:
    """True where all items are; without items, everywhere."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where at least one item is."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True where the item is not."""

    item: Node


@dataclass(frozen=True, slots=True)
class Compare:
    """One operator on one column. ``operand`` is what the client wrote, checked for the operator.

    Lists are tuples, ``$exists`` has a bool, ``$regex`` a Pattern.
    """

    column: Column
    operator: str
    operand: Any


Node = And | Or | Not | Compare

COMBINING: Final = ("$and", "$or", "$nor", "$not")
"""Operators that stand where a column can."""
OPERATORS: Final = (*COMPARING, "$regex", "$options", "$not")
"""Operators that stand inside a column."""


def parse_filter(filters: str | Mapping[str, Any] | None) -> Node:
    """Parse a filter, given as JSON text or as the dictionary itself; nothing at all means every run."""
    if isinstance(filters, str):
        filters = _from_json(filters)
    return _Parser().document(filters, "", 0)


def _from_json(text: str) -> Any:
    if len(text) > limits.MAX_TEXT:
        raise QueryError(f"the filter is longer than {limits.MAX_TEXT} characters")
    if not text.strip():
        return None
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise _too_deep("") from None
    except QueryError:
        raise
    except ValueError as error:
        raise QueryError(f"filters are not valid JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        # JSON readers keep the last one and drop the others without a word: runs would match that should not.
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise QueryError(f"{shown(twice)} stands twice in one object of the filter; join the two by $and")
    return made


def _too_deep(path: str) -> QueryError:
    return QueryError(f"filters are nested deeper than {limits.MAX_DEPTH} levels", path)


class _Parser:
    """Parses one filter and counts what it holds."""

    def __init__(self) -> None:
        self._counts = {"comparisons": 0, "values in lists": 0, "patterns": 0}

    def document(self, filters: object, path: str, depth: int) -> Node:
        """Parse an object of columns and combining operators."""
        if filters is None:
            return And(())
        if not isinstance(filters, Mapping):
            raise QueryError(f"a filter must be an object, not {shown(filters)}", path)
        if depth > limits.MAX_DEPTH:
            raise _too_deep(path)
        return _all([self._entry(str(key), value, path, depth) for key, value in filters.items()])

    def _entry(self, key: str, operand: object, path: str, depth: int) -> Node:
        if not key.startswith("$"):
            return self._column(_resolve(key, operand, path), operand, _join(path, key), depth + 1)
        inside = _join(path, key)
        if key == "$not":
            return Not(self.document(operand, inside, depth + 1))
        if key not in COMBINING:
            raise QueryError(_misplaced(key), path)
        if not isinstance(operand, list | tuple):
            raise QueryError(f"{key} needs a list of filters, not {shown(operand)}", path)
        items = [
            self.document(item, f"{inside}[{number}]", depth + 1)
            for number, item in enumerate(operand)
            if item is not None  # the SDK's generator writes null for a filter that is switched off
        ]
        if key == "$and" or (operand and not items):
            return _all(items)
        return _any(items) if key == "$or" else Not(_any(items))

    def _column(self, column: Column, operand: object, path: str, depth: int) -> Node:
        if not is_operators(operand):
            return self._compare(column, "$eq", operand, path, depth)
        assert isinstance(operand, Mapping)
        if depth > limits.MAX_DEPTH:
            raise _too_deep(path)
        options = operand.get("$options", "")
        items: list[Node] = []
        for operator, value in operand.items():
            inside = _join(path, str(operator))
            if operator == "$options":
                if "$regex" not in operand:
                    raise QueryError(f"$options on {column} stands without $regex", inside)
            elif operator == "$not":
                items.append(Not(self._negated(column, value, inside, depth + 1)))
            elif operator == "$regex":
                self._count("comparisons", 1, inside)
                self._count("patterns", 1, inside)
                items.append(Compare(column, "$regex", pattern(column, value, options, inside)))
            elif operator in COMPARING:
                items.append(self._compare(column, operator, value, inside, depth))
            else:
                raise QueryError(f"unknown operator {shown(operator)} on {column}{_like(operator)}", inside)
        return _all(items)

    def _negated(self, column: Column, operand: object, path: str, depth: int) -> Node:
        if not is_operators(operand):
            raise QueryError(
                f"$not on {column} needs operators, as in {{'$not': {{'$regex': 'x'}}}}, not {shown(operand)}; "
                "to exclude a value use $ne",
                path,
            )
        return self._column(column, operand, path, depth)

    def _compare(self, column: Column, operator: str, operand: Any, path: str, depth: int) -> Compare:
        self._count("comparisons", comparisons(column, operator, operand), path)
        if operator in LISTS and isinstance(operand, list | tuple):
            self._count("values in lists", len(operand), path)
        if _depth_exceeds(operand, limits.MAX_DEPTH - depth):
            raise _too_deep(path)
        return Compare(column, operator, checked(column, operator, operand, path))

    def _count(self, what: str, more: int, path: str) -> None:
        self._counts[what] += more
        most = _MOST[what]
        if self._counts[what] > most:
            cure = "; many texts or numbers of one column go into one $in" if what == "comparisons" else ""
            raise QueryError(f"the filter has more than {most} {what}{cure}", path)


_MOST: Final = {
    "comparisons": limits.MAX_CLAUSES,
    "values in lists": limits.MAX_VALUES,
    "patterns": limits.MAX_PATTERNS,
}


def _all(items: list[Node]) -> Node:
    return items[0] if len(items) == 1 else And(tuple(items))


def _any(items: list[Node]) -> Node:
    return items[0] if len(items) == 1 else Or(tuple(items))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _resolve(key: str, operand: object, path: str) -> Column:
    if key == "order" and isinstance(operand, str):
        raise QueryError(
            f"'order' is no filter: give it as the order argument beside the filters, order={shown(operand)}",
            path,
        )
    try:
        return resolve_column(key)
    except QueryError as error:
        if key in JSON_ROOTS and isinstance(operand, Mapping) and operand and not is_operators(operand):
            inner = str(next(iter(operand)))
            meant = f"{key}.{inner}" if len(inner) <= 40 else f"{key}.<key>"
            raise QueryError(
                f"column {shown(key)} cannot be compared as a whole; name the key with it, as in {meant!r}",
                path,
            ) from None
        raise QueryError(str(error), path) from None


def _misplaced(key: str) -> str:
    if key in OPERATORS:
        return f"operator {key} cannot stand here; it belongs inside a column, as in {{'state': {{'{key}': ...}}}}"
    return f"operator {shown(key)[1:-1]} cannot stand here{_like(key, COMBINING)}"


def _like(name: object, known: tuple[str, ...] = OPERATORS) -> str:
    # Without the sign they have in common, which would make everything look alike.
    near = nearest(str(name).lstrip("$"), [one[1:] for one in known])
    return f"; did you mean ${near}?" if near else f"; known are {', '.join(known)}"


def _depth_exceeds(value: Any, levels: int) -> bool:
    if isinstance(value, Mapping):
        return levels <= 0 or any(_depth_exceeds(item, levels - 1) for item in value.values())
    if isinstance(value, list | tuple):
        return levels <= 0 or any(_depth_exceeds(item, levels - 1) for item in value)
    return False
