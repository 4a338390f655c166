"""One text for filters and orders of one meaning: a parsed tree written down again.

Owns the canonical form: what has no order is sorted, what stands twice stands once, what nests without need is flat.
Whatever is written here is read back by ``parse_filter`` and matches the same documents.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from .columns import Column
from .order import Order
from .parse import And, Compare, Node, Not, Or

Spelling = Callable[[Column], str]
"""How a column is written down."""

_DENIED: Final = {"$eq": "$ne", "$ne": "$eq", "$in": "$nin", "$nin": "$in"}
_MANY: Final = {"$eq": "$in", "$ne": "$nin"}
_SINGLE: Final = {"$in": "$eq", "$all": "$eq", "$nin": "$ne"}
# The old name of a state (`public-api.md` C 22); whoever asks for it means the one that servers write today.
_OLD_STATES: Final = {"aborted": "killed"}
_EXACT: Final = 2**53


def spelled(column: Column) -> str:
    """Write a column as this language has it; it is read back as the same one."""
    return f"keys_info.keys.{column.path}" if column.root == "history_keys" else str(column)


def normalised(node: Node) -> Node:
    """Bring a parsed filter into the form of which there is one for each meaning that can be told apart easily."""
    if isinstance(node, Compare):
        return _compare(node)
    if isinstance(node, Not):
        return _denied(normalised(node.item))
    kind = type(node)
    found: dict[str, Node] = {}
    for item in map(normalised, node.items):
        for one in item.items if isinstance(item, kind) else (item,):
            found.setdefault(filter_text(one), one)
    items = tuple(found[text] for text in sorted(found))
    return items[0] if len(items) == 1 else kind(items)


def filter_text(node: Node, spelling: Spelling = spelled) -> str:
    """Write a filter as JSON; equal texts for equal trees."""
    return _json(_object(node, spelling))


def order_text(order: Order, spelling: Spelling = spelled) -> str:
    """Write an order, always with its sign."""
    return ("-" if order.descending else "+") + spelling(order.column)


def _compare(node: Compare) -> Node:
    column, operator, operand = node.column, node.operator, node.operand
    if column.root == "state" and operator != "$regex":
        operator, operand = _with_new_states(operator, operand)
    if operator in ("$in", "$nin", "$all"):
        found = {_json(value): value for value in map(_value, operand)}
        operand = tuple(found[text] for text in sorted(found))
        if len(operand) == 1:
            operator, operand = _SINGLE[operator], operand[0]
    elif operator not in ("$regex", "$exists", "$size"):
        operand = _value(operand)
    return Compare(column, operator, operand)


def _with_new_states(operator: str, operand: Any) -> tuple[str, Any]:
    """Who names a state by its old name gets both: a server may still hold the old one."""
    if operator in _MANY and isinstance(operand, str) and operand in _OLD_STATES:
        return _MANY[operator], (operand, _OLD_STATES[operand])
    if operator in ("$in", "$nin"):
        new = (_OLD_STATES[item] for item in operand if isinstance(item, str) and item in _OLD_STATES)
        return operator, (*operand, *new)
    return operator, operand


def _denied(node: Node) -> Node:
    if isinstance(node, Not):
        return node.item
    if node in (And(()), Or(())):
        return Or(()) if node == And(()) else And(())
    if isinstance(node, Compare):
        if node.operator in _DENIED:
            return Compare(node.column, _DENIED[node.operator], node.operand)
        if node.operator == "$exists":
            return Compare(node.column, "$exists", not node.operand)
    if isinstance(node, Or):  # as a list that can be joined with others
        return normalised(And(tuple(map(_denied, node.items))))
    return Not(node)


def _value(value: Any) -> Any:
    """A value to compare with, numbers that are equal written in one way."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, dict):
        return {key: _value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    return value


def _object(node: Node, spelling: Spelling) -> dict[str, Any]:
    """The filter as people would write it: columns side by side, what does not fit beside in lists."""
    if isinstance(node, Compare):
        return {spelling(node.column): _operand(node)}
    if isinstance(node, Or):
        return {"$or": _objects(node.items, spelling)}
    if isinstance(node, Not):
        return {"$nor": _objects((node.item,), spelling)}
    made: dict[str, Any] = {}
    beside: list[dict[str, Any]] = []
    nots = [item.item for item in node.items if isinstance(item, Not)]
    if nots:
        made["$nor"] = _objects(nots, spelling)
    for item in node.items:
        if isinstance(item, Not):
            continue
        one = _object(item, spelling)
        ((name, operand),) = one.items() if len(one) == 1 else ((None, None),)
        if name is None or not _added(made, name, operand):
            beside.append(one)
    if beside:
        made["$and"] = beside
    return made


def _objects(nodes: Iterable[Node], spelling: Spelling) -> list[dict[str, Any]]:
    return sorted((_object(node, spelling) for node in nodes), key=_json)


def _operand(node: Compare) -> Any:
    if node.operator == "$eq":
        return node.operand
    if node.operator == "$regex":
        options = {"$options": node.operand.options} if node.operand.options else {}
        return {"$regex": node.operand.text, **options}
    return {node.operator: node.operand}


def _added(made: dict[str, Any], name: str, operand: Any) -> bool:
    """Put a comparison beside the others, together with those on the same column; False where that is impossible."""
    if name not in made and name != "$and":
        made[name] = dict(operand) if _is_operators(operand) else operand
        return True
    there = made.get(name, {})
    if _is_operators(there) and _is_operators(operand) and not there.keys() & operand.keys():
        there.update(operand)
        return True
    return False


def _is_operators(operand: Any) -> bool:
    return isinstance(operand, dict) and any(key.startswith("$") for key in operand)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
