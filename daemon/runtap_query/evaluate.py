"""Filters evaluated on documents: a parsed tree becomes one closure, built once and called per document.

The rules are MongoDB's: a missing value equals null, ``$ne`` and ``$nin`` match it, ordering does not; a list matches
when one of its items does; a bool is no number; ordering compares numbers with numbers and texts with texts only.
"""

from __future__ import annotations

import math
import operator as compare
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .columns import Column, Kind
from .operands import ORDERING
from .parse import And, Compare, Node, Not, Or
from .times import parse_moment
from .values import MISSING, SPELLED_NUMBERS, Document, Several, may_be_several, value_getter

Predicate = Callable[[Document], bool]
Test = Callable[[Any], bool]

_ORDER: Final = {"$gt": compare.gt, "$gte": compare.ge, "$lt": compare.lt, "$lte": compare.le}
# Types of which equal values have equal hashes and nothing else does: true, which is not 1, is left out.
_PLAIN: Final = frozenset((str, int, float))
_OPPOSITE: Final = {"$ne": "$eq", "$nin": "$in"}


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
    return Filter(_build(node), _roots(node), node == And(()))


def _roots(node: Node) -> frozenset[str]:
    if isinstance(node, Compare):
        return node.column.roots
    if isinstance(node, Not):
        return _roots(node.item)
    return frozenset[str]().union(*(_roots(item) for item in node.items))


def _build(node: Node) -> Predicate:
    if isinstance(node, Compare):
        return _compare(node)
    if isinstance(node, Not):
        return _not(_build(node.item))
    items = [_build(item) for item in (_merged(node.items) if isinstance(node, Or) else node.items)]
    if len(items) == 1:
        return items[0]
    if len(items) == 2:  # by far the most frequent size, and twice as quick without a loop
        first, second = items
        if isinstance(node, Or):
            return lambda document: first(document) or second(document)
        return lambda document: first(document) and second(document)
    if isinstance(node, Or):
        return lambda document: any(item(document) for item in items)
    return lambda document: all(item(document) for item in items)


def _merged(items: tuple[Node, ...]) -> list[Node]:
    """One column that may equal this or that or that is one look-up, not a comparison for each."""
    others: list[Node] = []
    equal: dict[Column, list[Any]] = {}
    for item in items:
        if isinstance(item, Compare) and item.operator == "$eq":
            equal.setdefault(item.column, []).append(item.operand)
        else:
            others.append(item)
    return [*others, *(Compare(column, "$in", tuple(operands)) for column, operands in equal.items())]


def _not(predicate: Predicate) -> Predicate:
    return lambda document: not predicate(document)


def _compare(node: Compare) -> Predicate:
    """Negative operators are the positive ones denied, whatever a path through lists leads to."""
    column, operator, operand = node.column, node.operator, node.operand
    if operator in _OPPOSITE:
        return _not(_compare(Compare(column, _OPPOSITE[operator], operand)))
    if operator == "$exists" and not operand:
        return _not(_compare(Compare(column, operator, True)))
    if operator == "$all":  # each of them for itself, as in MongoDB; of none nothing has all
        return _build(And(tuple(Compare(column, "$eq", item) for item in operand)) if operand else Or(()))
    get = value_getter(column)
    test = _test(column, operator, operand)
    if may_be_several(column):

        def matches(document: Document) -> bool:
            value = get(document)
            return any(map(test, value)) if isinstance(value, Several) else test(value)

        return matches
    return lambda document: test(get(document))


def _test(column: Column, operator: str, operand: Any) -> Test:
    if column.kind is Kind.TIME:
        return _moment_test(operator, operand)
    if column.kind is Kind.TAGS:
        return _tags_test(operator, operand)
    return _value_test(operator, operand, spelled=column.kind is Kind.JSON)


def _value_test(operator: str, operand: Any, spelled: bool = False) -> Test:
    if spelled:
        operator, operand = _both_spellings(operator, operand)
    if operator in ORDERING:
        return (
            _text_order(operator, operand) if isinstance(operand, str) else _order(operator, operand, spelled)
        )
    if operator == "$eq":
        return _equals(operand)
    if operator == "$in":
        return _any_of(operand)
    if operator == "$exists":
        # A null in a config or a summary counts as present, as in MongoDB.
        return lambda value: value is not MISSING
    if operator == "$regex":
        search = operand.search
        return lambda value: (
            search(value)
            if isinstance(value, str)
            else isinstance(value, list | tuple)
            and any(isinstance(item, str) and search(item) for item in value)
        )
    if operator == "$contains":
        return lambda value: (
            (isinstance(value, str) and isinstance(operand, str) and operand in value)
            or (isinstance(value, list | tuple) and any(_same(item, operand) for item in value))
        )
    assert operator == "$size", operator  # the parser lets no other through
    return lambda value: isinstance(value, list | tuple) and len(value) == operand


def _text_order(operator: str, operand: str) -> Test:
    decide = _ORDER[operator]

    def matches(value: Any) -> bool:
        if isinstance(value, str):
            return bool(decide(value, operand))
        return isinstance(value, list | tuple) and any(
            isinstance(item, str) and decide(item, operand) for item in value
        )

    return matches


def _order(operator: str, operand: float, spelled: bool) -> Test:
    decide = _same if operand != operand and operator in ("$gte", "$lte") else _ORDER[operator]

    def one(value: Any) -> bool:
        kind = type(value)
        if kind is float or kind is int:
            return bool(decide(value, operand))
        return (
            spelled and kind is str and value in SPELLED_NUMBERS and decide(SPELLED_NUMBERS[value], operand)
        )

    return lambda value: any(map(one, value)) if isinstance(value, list | tuple) else one(value)


def _equals(operand: Any) -> Test:
    if operand is None:
        return lambda value: (
            value is MISSING or value is None or (isinstance(value, list | tuple) and None in value)
        )
    if isinstance(operand, str):
        return lambda value: (
            value == operand
            if isinstance(value, str)
            else isinstance(value, list | tuple) and operand in value
        )
    return lambda value: (
        _same(value, operand)
        or (isinstance(value, list | tuple) and any(_same(item, operand) for item in value))
    )


def _both_spellings(operator: str, operand: Any) -> tuple[str, Any]:
    """A number that strict JSON does not have is one value, as a number and as text, in filters as in runs."""
    if operator in ORDERING and isinstance(operand, str):
        return operator, SPELLED_NUMBERS.get(operand, operand)
    if operator == "$in":
        return operator, tuple(spelling for item in operand for spelling in _spellings(item))
    if operator == "$eq" and len(spellings := _spellings(operand)) > 1:
        return "$in", spellings
    return operator, operand


def _spellings(operand: Any) -> tuple[Any, ...]:
    if isinstance(operand, str) and operand in SPELLED_NUMBERS:
        return operand, SPELLED_NUMBERS[operand]
    if isinstance(operand, float) and not math.isfinite(operand):
        return operand, "NaN" if operand != operand else "Infinity" if operand > 0 else "-Infinity"
    return (operand,)


def _any_of(operands: tuple[Any, ...]) -> Test:
    """Texts and numbers by one look-up however many there are; the others one after the other."""
    plain = frozenset(item for item in operands if type(item) in _PLAIN)
    tests = [_equals(item) for item in operands if type(item) not in _PLAIN or item != item]

    def matches(value: Any) -> bool:
        if type(value) in _PLAIN:
            if value in plain:
                return True
        elif isinstance(value, list | tuple) and any(
            type(item) in _PLAIN and item in plain for item in value
        ):
            return True
        return any(test(value) for test in tests)

    return matches


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON means it: true is not 1, 1 is 1.0, NaN equals itself, keys have no order."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or (one != one and other != other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def _tags_test(operator: str, operand: Any) -> Test:
    """Tests on lists of tags. That there are none is one thing, however it is stored and however it is asked for."""
    if operator == "$exists":
        return bool
    test = _value_test(operator, operand)
    return lambda value: test(value) if value else test(MISSING) or test([])


def _moment_test(operator: str, operand: Any) -> Test:
    """Tests on moments. A partial date is its first instant in comparisons and its whole span in equality."""
    if operator == "$exists":
        return lambda value: value is not MISSING
    if operator in ORDERING:
        moment = parse_moment(operand)
        assert moment is not None  # the parser lets nothing else through
        return _order(operator, moment.start, spelled=False)
    operands = operand if operator == "$in" else (operand,)
    moments = [moment for operand in operands if (moment := parse_moment(operand)) is not None]
    null = None in operands

    def matches(value: Any) -> bool:
        if value is MISSING:
            return null
        return any(moment.start == value or moment.start <= value < moment.end for moment in moments)

    return matches
