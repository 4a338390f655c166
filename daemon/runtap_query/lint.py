"""What is legal in a filter or an order, but surely not meant: sentences for people, each with what would be right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from .columns import Column, Kind
from .errors import nearest, shown
from .operands import ORDERING
from .order import DIRECTIONS, parse_order
from .parse import OPERATORS, Compare, Node, Not

STATES: Final = (
    "running", "finished", "crashed", "failed", "killed", "preempting", "preempted", "pending",
)  # fmt: skip
_ALIASES: Final = {"aborted": "killed"}
_NOT_SECONDS: Final = 1e11
"""Unix seconds beyond this lie in the year 5138: whoever writes them means milliseconds."""


def lint(filters: Mapping[str, Any], node: Node, order: str = "") -> list[str]:
    """Say what looks wrong in a filter, given as written and as parsed, and in an order as written."""
    found = [text for compare in _comparisons(node) for text in _of_comparison(compare)]
    names = [*_names(filters), order.lstrip("+- ")]
    found += [
        f"{shown(name)} is understood here; to servers, and in wandb.Api(), it is "
        f"{shown('summary_metrics.' + name.removeprefix('summary.'))}"
        for name in names
        if name.startswith("summary.")
    ]
    if order.strip() and order.strip()[0] not in "+-":
        found.append(
            f"order {shown(order)} has no sign and goes downwards; write +{order.strip()} to go upwards"
        )
    if len(order.split()) > 1 and order.split()[-1].lower() in DIRECTIONS:
        found.append(
            f"order {shown(order)} is by a key that ends in a direction; that is a sign in front of it"
        )
    if order.strip() and parse_order(order).column.kind is Kind.TAGS:
        found.append(f"order {shown(order)} names a list, and lists have no order; runs come by their id")
    return list(dict.fromkeys(found))


def _comparisons(node: Node) -> Iterator[Compare]:
    if isinstance(node, Compare):
        yield node
    elif isinstance(node, Not):
        yield from _comparisons(node.item)
    else:
        for item in node.items:
            yield from _comparisons(item)


def _names(value: Any) -> Iterator[str]:
    """The names of columns as they were written."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not str(key).startswith("$"):
                yield str(key)
            elif isinstance(item, list):
                for one in item:
                    yield from _names(one)
            else:
                yield from _names(item)


def _of_comparison(node: Compare) -> Iterator[str]:
    column, operator, operand = node.column, node.operator, node.operand
    values: Iterable[Any] = operand if isinstance(operand, tuple) else (operand,)
    if operand == () and operator in ("$in", "$all"):
        yield f"{operator} on {column} has an empty list and matches no run"
    if operand == () and operator == "$nin":
        yield f"$nin on {column} has an empty list and matches every run"
    if operator in ("$regex", "$exists", "$size", "$contains"):
        return
    for value in values:
        if isinstance(value, Mapping):
            yield from _of_object(column, value)
        if column.root == "state" and isinstance(value, str):
            yield from _of_state(value)
        else:
            yield from _of_value(column, operator, value)


def _of_object(column: Column, value: Mapping[str, Any]) -> Iterator[str]:
    for key in value:
        if f"${key}" in OPERATORS:
            yield f"{column} is compared with an object that has the key {shown(key)}; the operator is '${key}'"


def _of_state(value: str) -> Iterator[str]:
    if value in _ALIASES:
        yield f"state {shown(value)} is an old name of {shown(_ALIASES[value])}; both are looked for"
    elif value not in STATES:
        near = nearest(value.lower(), STATES)
        hint = f"did you mean {near!r}?" if near else f"known are {', '.join(STATES)}"
        yield f"no run is known to have the state {shown(value)}; {hint}"


def _of_value(column: Column, operator: str, value: Any) -> Iterator[str]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    looks_like_number = isinstance(value, str) and _is_number(value)
    if column.kind is Kind.NUMBER and isinstance(value, str):
        yield f"{operator} compares {column}, a number, with the text {shown(value)}, which it never is" + (
            f"; write {value} without quotes" if looks_like_number else ""
        )
    elif column.kind is Kind.TEXT and is_number:
        yield (
            f"{operator} compares {column}, a text, with the number {shown(value)}, which it never is; "
            "write it in quotes"
        )
    elif column.kind is Kind.JSON and looks_like_number and column.root != "tags":
        what = "are not ordered with" if operator in ORDERING else "are not equal to"
        yield (
            f"{operator} on {column} has the text {shown(value)}, and numbers {what} texts; "
            f"write {value} without quotes"
        )
    elif column.kind is Kind.TIME and is_number and abs(value) > _NOT_SECONDS:
        yield f"{operator} on {column} has {shown(value)} unix seconds; these look like milliseconds"


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False
