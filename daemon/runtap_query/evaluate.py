"""Filters evaluated on documents: a parsed tree becomes one closure, built once and called per document.

The rules are MongoDB's: a missing value equals null, ``$ne`` and ``$nin`` match it, ordering does not; a list matches
when one of its items does; a bool is no number; ordering compares numbers with numbers and texts with texts only.
"""

import operator as compare
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .columns import MISSING, Document, Kind, value_getter
from .parse import ORDERING, And, Compare, Node, Not, Or
from .times import parse_moment

Predicate = Callable[[Document], bool]
Test = Callable[[Any], bool]

_ORDER: Final = {"$gt": compare.gt, "$gte": compare.ge, "$lt": compare.lt, "$lte": compare.le}


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter ready to run. ``roots`` are the document fields it reads: others need not be loaded."""

    matches: Predicate
    roots: frozenset[str]
    matches_all: bool

    def __call__(self, document: Document) -> bool:
        return self.matches(document)


def compile_filter(node: Node) -> Filter:
    """Turn a parsed filter into a function of a document."""
    return Filter(_build(node), frozenset(_roots(node)), node == And(()))


def _roots(node: Node) -> set[str]:
    if isinstance(node, Compare):
        root = node.column.root
        return {"duration", "created_at", "heartbeat_at"} if root == "duration" else {root}
    if isinstance(node, Not):
        return _roots(node.item)
    return set().union(*(_roots(item) for item in node.items))


def _build(node: Node) -> Predicate:
    if isinstance(node, Compare):
        return _compare(node)
    if isinstance(node, Not):
        inner = _build(node.item)
        return lambda document: not inner(document)
    items = [_build(item) for item in node.items]
    if len(items) == 2:  # by far the most frequent size, and twice as quick without a loop
        first, second = items
        if isinstance(node, Or):
            return lambda document: first(document) or second(document)
        return lambda document: first(document) and second(document)
    if isinstance(node, Or):
        return lambda document: any(item(document) for item in items)
    return lambda document: all(item(document) for item in items)


def _compare(node: Compare) -> Predicate:
    get = value_getter(node.column)
    test = _time_test(node) if node.column.kind is Kind.TIME else _test(node.operator, node.operand)
    return lambda document: test(get(document))


def _test(operator: str, operand: Any) -> Test:
    if operator in ORDERING:
        return _ordering(operator, operand)
    if operator == "$eq":
        return _equals(operand)
    if operator == "$in":
        return _any_of(operand)
    if operator in ("$ne", "$nin"):
        positive = _equals(operand) if operator == "$ne" else _any_of(operand)
        return lambda value: not positive(value)
    if operator == "$exists":
        # A null in a config or a summary counts as present, as in MongoDB.
        return lambda value: (value is not MISSING) is operand
    if operator == "$regex":
        search = operand.search
        return lambda value: _each(value, lambda item: isinstance(item, str) and search(item) is not None)
    if operator == "$contains":
        return lambda value: (
            (isinstance(value, str) and isinstance(operand, str) and operand in value)
            or (isinstance(value, list | tuple) and any(_same(item, operand) for item in value))
        )
    if operator == "$all":
        tests = [_equals(item) for item in operand]
        return lambda value: bool(tests) and all(test(value) for test in tests)
    assert operator == "$size", operator  # the parser lets no other through
    return lambda value: isinstance(value, list | tuple) and len(value) == operand


def _each(value: Any, test: Test) -> bool:
    """Whether a value passes, or, being a list, one of its items."""
    if isinstance(value, list | tuple):
        return any(test(item) for item in value)
    return test(value)


def _ordering(operator: str, operand: Any) -> Test:
    decide = _ORDER[operator]
    wanted = str if isinstance(operand, str) else (int, float)

    def one(value: Any) -> bool:
        return isinstance(value, wanted) and not isinstance(value, bool) and bool(decide(value, operand))

    return lambda value: _each(value, one)


def _equals(operand: Any) -> Test:
    if operand is None:
        return lambda value: (
            value is MISSING or value is None or (isinstance(value, list | tuple) and None in value)
        )
    if isinstance(operand, str):
        return lambda value: value == operand if isinstance(value, str) else _each_same(value, operand)
    return lambda value: _each_same(value, operand)


def _each_same(value: Any, operand: Any) -> bool:
    if _same(value, operand):
        return True
    return isinstance(value, list | tuple) and any(_same(item, operand) for item in value)


def _any_of(operands: tuple[Any, ...]) -> Test:
    texts = frozenset(item for item in operands if isinstance(item, str))
    tests = [_equals(item) for item in operands if not isinstance(item, str)]

    def matches(value: Any) -> bool:
        if isinstance(value, str):
            return value in texts
        if isinstance(value, list | tuple) and any(isinstance(item, str) and item in texts for item in value):
            return True
        return any(test(value) for test in tests)

    return matches


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON means it: true is not 1, 1 is 1.0, NaN equals itself."""
    if isinstance(one, bool) or isinstance(other, bool):
        return isinstance(one, bool) and isinstance(other, bool) and one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or (one != one and other != other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def _time_test(node: Compare) -> Test:
    """Tests on moments. A partial date is its first instant in comparisons and its whole span in equality."""
    operator, operand = node.operator, node.operand
    if operator in ORDERING:
        moment = parse_moment(operand)
        return _ordering(operator, moment.start) if moment is not None else lambda value: False
    if operator in ("$eq", "$ne"):
        positive = _spans((operand,))
        return positive if operator == "$eq" else lambda value: not positive(value)
    if operator in ("$in", "$nin"):
        listed = _spans(operand)
        return listed if operator == "$in" else lambda value: not listed(value)
    if operator == "$exists":
        return lambda value: (value is not MISSING) is operand
    return lambda value: False  # patterns, sizes and contents mean nothing on a moment


def _spans(operands: tuple[Any, ...]) -> Test:
    moments = [moment for operand in operands if (moment := parse_moment(operand)) is not None]
    null = None in operands

    def matches(value: Any) -> bool:
        if value is MISSING:
            return null
        return any(moment.start == value or moment.start <= value < moment.end for moment in moments)

    return matches
