"""What SQL can judge of a filter and sort by of an order: exactly what ``runtap_query`` would say, or nothing at all.

Plain columns are pushed down; patterns, tags, durations and free-form documents are left to ``runtap_query``, whose
notion of a value no SQL shares. Conditions made here are never NULL, so that ``not`` turns them into their opposite.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, false, not_, or_, select, true

from runtap_query import And, Compare, Kind, Node, Not, Or, Order, parse_moment

from .tables import projects, runs, users

# SQLite bounds the depth of an expression and the number of its parameters.
_MOST_CONDITIONS: Final = 200
_MOST_PARAMETERS: Final = 5000
_INT64: Final = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class _Plain:
    """A column of SQL that holds what the column of the query language means."""

    value: ColumnElement[Any]
    nullable: bool

    def absent(self) -> ColumnElement[bool]:
        return self.value.is_(None) if self.nullable else false()

    def holds(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        return and_(self.value.is_not(None), condition) if self.nullable else condition


def _of_other(table: Any, column: str, key: str) -> _Plain:
    found = select(table.c[column]).where(table.c.pk == runs.c[key]).scalar_subquery()
    return _Plain(found, nullable=False)


_RENAMED: Final = {"group": "group_name", "sweep": "sweep_name"}
_OWN: Final = (
    "name", "display_name", "state", "created_at", "heartbeat_at", "updated_at", "group", "job_type", "host",
    "sweep", "commit", "notes", "description", "program", "exit_code", "history_line_count",
)  # fmt: skip
_COLUMNS: Final[dict[str, _Plain]] = {
    **{
        name: _Plain(column, bool(column.nullable))
        for name in _OWN
        for column in (runs.c[_RENAMED.get(name, name)],)
    },
    "username": _of_other(users, "name", "user_pk"),
    "entity": _of_other(projects, "entity", "project_pk"),
    "project": _of_other(projects, "name", "project_pk"),
}


@dataclass(frozen=True, slots=True)
class Split:
    """A filter in two parts: a run matches when the condition holds and the rest matches its document."""

    condition: ColumnElement[bool]
    rest: Node


def split(node: Node) -> Split:
    """Take from a filter what SQL can judge."""
    conditions_in_all, parameters = _size(node)
    if conditions_in_all > _MOST_CONDITIONS or parameters > _MOST_PARAMETERS:
        return Split(true(), node)
    conditions, rest = [], []
    for item in _conjuncts(node):
        condition = _translate(item)
        if condition is None:
            rest.append(item)
        else:
            conditions.append(condition)
    return Split(and_(true(), *conditions), rest[0] if len(rest) == 1 else And(tuple(rest)))


def sorting(order: Order) -> tuple[ColumnElement[Any], ...] | None:
    """The same order in SQL: what is missing last, ties by name. None where only ``runtap_query`` can tell."""
    column = _COLUMNS.get(order.column.root)
    if column is None or order.column.path:
        return None
    by = column.value.desc() if order.descending else column.value.asc()
    missing_last = (column.value.is_(None),) if column.nullable else ()
    return (*missing_last, by, runs.c.name.asc())


def _size(node: Node) -> tuple[int, int]:
    """How many conditions and how many parameters a filter would be in SQL."""
    if isinstance(node, Compare):
        listed = len(node.operand) if isinstance(node.operand, tuple) else 1
        return listed if node.column.kind is Kind.TIME else 1, listed
    sizes = [_size(item) for item in ((node.item,) if isinstance(node, Not) else node.items)]
    return sum(conditions for conditions, _ in sizes), sum(parameters for _, parameters in sizes)


def _conjuncts(node: Node) -> Iterator[Node]:
    """The parts that must all be true."""
    if isinstance(node, And):
        for item in node.items:
            yield from _conjuncts(item)
    elif isinstance(node, Not) and isinstance(node.item, Or):
        for item in node.item.items:
            yield from _conjuncts(Not(item))
    else:
        yield node


def _translate(node: Node) -> ColumnElement[bool] | None:
    """The whole of a filter as a condition; None where a part of it cannot be one."""
    if isinstance(node, Compare):
        return _compare(node)
    if isinstance(node, Not):
        inner = _translate(node.item)
        return None if inner is None else not_(inner)
    items = [_translate(item) for item in node.items]
    done = [item for item in items if item is not None]
    if len(done) < len(items):
        return None
    return or_(false(), *done) if isinstance(node, Or) else and_(true(), *done)


def _compare(node: Compare) -> ColumnElement[bool] | None:
    column = _COLUMNS.get(node.column.root)
    if column is None or node.column.path:
        return None
    operator, operand = node.operator, node.operand
    if operator == "$exists":
        return not_(column.absent()) if operand else column.absent()
    if operator in ("$ne", "$nin"):
        positive = Compare(node.column, "$eq" if operator == "$ne" else "$in", operand)
        condition = _compare(positive)
        return None if condition is None else not_(condition)
    rules = _RULES[node.column.kind]
    if operator == "$eq":
        return rules.among(column, (operand,))
    if operator == "$in":
        return rules.among(column, operand)
    if operator in _BOUNDS:
        return rules.beyond(column, operator, operand)
    # Patterns and contents are of texts only.
    return None if node.column.kind is Kind.TEXT or operator == "$all" else false()


_BOUNDS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "$gt": lambda column, bound: column > bound,
    "$gte": lambda column, bound: column >= bound,
    "$lt": lambda column, bound: column < bound,
    "$lte": lambda column, bound: column <= bound,
}


@dataclass(frozen=True, slots=True)
class _Rules:
    """How the values of a kind of column compare with operands: being one of them, lying beyond one."""

    among: Callable[[_Plain, tuple[Any, ...]], ColumnElement[bool] | None]
    beyond: Callable[[_Plain, str, Any], ColumnElement[bool] | None]


def _encodable(text: str) -> bool:
    """Whether a text can be sent to a database: lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text_among(column: _Plain, operands: tuple[Any, ...]) -> ColumnElement[bool] | None:
    texts = [item for item in operands if isinstance(item, str)]  # no text equals a number or a list
    if not all(map(_encodable, texts)):
        return None
    same = column.value == texts[0] if len(texts) == 1 else column.value.in_(texts)
    found = column.holds(same) if texts else false()
    return or_(found, column.absent()) if None in operands else found


def _text_beyond(column: _Plain, operator: str, operand: Any) -> ColumnElement[bool] | None:
    if not isinstance(operand, str):
        return false()
    # Both compare code points: UTF-8 keeps their order.
    return column.holds(_BOUNDS[operator](column.value, operand)) if _encodable(operand) else None


def _number_among(column: _Plain, operands: tuple[Any, ...]) -> ColumnElement[bool] | None:
    numbers = [item for item in operands if _is_number(item)]
    found = column.holds(column.value.in_(numbers)) if numbers else false()
    return or_(found, column.absent()) if None in operands else found


def _number_beyond(column: _Plain, operator: str, operand: Any) -> ColumnElement[bool] | None:
    if _is_number(operand):
        return column.holds(_BOUNDS[operator](column.value, operand))
    # A number that no column can hold still has an order; NaN (NULL to SQLite) and texts have none.
    return None if isinstance(operand, int) else false()


def _is_number(value: Any) -> bool:
    """Whether SQL can compare whole numbers with it."""
    if isinstance(value, bool):
        return False
    return value in _INT64 if isinstance(value, int) else isinstance(value, float) and not math.isnan(value)


def _time_among(column: _Plain, operands: tuple[Any, ...]) -> ColumnElement[bool] | None:
    spans = []
    for moment in filter(None, map(parse_moment, operands)):
        end = max(_first_after(moment.start), _first_from(moment.end))
        spans.append(and_(column.value >= _first_from(moment.start), column.value < end))
    found = column.holds(or_(false(), *spans))
    return or_(found, column.absent()) if None in operands else found


def _time_beyond(column: _Plain, operator: str, operand: Any) -> ColumnElement[bool] | None:
    moment = parse_moment(operand)
    if moment is None:
        return false()
    first = _first_from if operator in ("$gte", "$lt") else _first_after
    bound = first(moment.start)
    return column.holds(column.value >= bound if operator in ("$gt", "$gte") else column.value < bound)


def _first_from(seconds: float) -> int:
    """The first whole microsecond that is not before a moment, as the query language compares them: in seconds."""
    return _first(lambda moment_us: moment_us / 1_000_000 >= seconds)


def _first_after(seconds: float) -> int:
    return _first(lambda moment_us: moment_us / 1_000_000 > seconds)


def _first(reached: Callable[[int], bool]) -> int:
    """Bisection; beyond the ends of time, the ends."""
    low, high = _INT64[0], _INT64[-1]
    while low < high:
        middle = (low + high) // 2
        if reached(middle):
            high = middle
        else:
            low = middle + 1
    return low


_RULES: Final = {
    Kind.TEXT: _Rules(_text_among, _text_beyond),
    Kind.NUMBER: _Rules(_number_among, _number_beyond),
    Kind.TIME: _Rules(_time_among, _time_beyond),
}
