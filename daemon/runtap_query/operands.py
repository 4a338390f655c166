"""What each operator may be given: operands it could do nothing with are refused instead of quietly matching no run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .columns import Column, Kind
from .errors import QueryError, shown
from .patterns import Pattern, PatternError, compile_pattern
from .times import parse_moment

ORDERING: Final = ("$gt", "$gte", "$lt", "$lte")
LISTS: Final = ("$in", "$nin", "$all")
COMPARING: Final = ("$eq", "$ne", *ORDERING, *LISTS, "$exists", "$contains", "$size")
_ON_MOMENTS: Final = ("$eq", "$ne", *ORDERING, "$in", "$nin", "$exists")


def is_operators(operand: object) -> bool:
    """Whether an operand is an object of operators, and not a value to compare with."""
    return isinstance(operand, Mapping) and any(str(key).startswith("$") for key in operand)


def checked(column: Column, operator: str, operand: Any, path: str) -> Any:
    """Return the operand as the tree holds it. Raises QueryError."""
    if column.kind is Kind.TIME and operator not in _ON_MOMENTS:
        raise _not_on_moments(column, operator, path)
    if operator in LISTS:
        if not isinstance(operand, list | tuple):
            raise QueryError(f"{operator} on {column} needs a list, not {shown(operand)}", path)
        for item in operand:
            _check_value(column, operator, item, path)
        return tuple(operand)
    if operator == "$exists":
        if not isinstance(operand, bool) and operand not in (0, 1):
            raise QueryError(f"$exists on {column} needs true or false, not {shown(operand)}", path)
        return bool(operand)
    if operator == "$size":
        if isinstance(operand, bool) or not isinstance(operand, int) or operand < 0:
            raise QueryError(
                f"$size on {column} needs a whole number of at least 0, not {shown(operand)}", path
            )
        return operand
    if operator in ORDERING and (isinstance(operand, bool) or not isinstance(operand, int | float | str)):
        raise QueryError(
            f"{operator} on {column} needs a number, a text or a date, not {shown(operand)}", path
        )
    if operator == "$contains" and (operand is None or isinstance(operand, list | tuple | Mapping)):
        raise QueryError(
            f"$contains on {column} needs one text or number, not {shown(operand)}; for several use $all",
            path,
        )
    _check_value(column, operator, operand, path)
    return operand


def comparisons(column: Column, operator: str, operand: Any) -> int:
    """How much work a comparison is for each run. Texts and numbers of an ``$in`` are one look-up; all else is not."""
    if operator not in LISTS or not isinstance(operand, list | tuple):
        return 1
    if operator == "$all" or column.kind is Kind.TIME:
        return len(operand)
    return 1 + sum(type(item) not in (str, int, float) for item in operand)


def pattern(column: Column, operand: object, options: object, path: str) -> Pattern:
    """Return the operand of ``$regex``, compiled. Raises QueryError."""
    if column.kind is Kind.TIME:
        raise _not_on_moments(column, "$regex", path)
    if not isinstance(operand, str):
        raise QueryError(f"$regex on {column} needs a text, not {shown(operand)}", path)
    if not isinstance(options, str):
        raise QueryError(f"$options on {column} needs a text such as 'i', not {shown(options)}", path)
    try:
        return compile_pattern(operand, options)
    except PatternError as error:
        raise QueryError(f"$regex on {column} is not a valid pattern: {error}", path) from None


def _check_value(column: Column, operator: str, operand: Any, path: str) -> None:
    if is_operators(operand):
        raise QueryError(
            f"{operator} on {column} compares with values, and {next(iter(operand))} is an operator; join the two "
            "by $and or $or",
            path,
        )
    if column.kind is Kind.TIME and operand is not None and parse_moment(operand) is None:
        raise QueryError(
            f"{operator} on {column} needs a date such as '2024-05-31', '2024-05-31T12', '2024-05-31T12:30:00Z' or "
            f"unix seconds, not {shown(operand)}",
            path,
        )


def _not_on_moments(column: Column, operator: str, path: str) -> QueryError:
    return QueryError(
        f"{operator} does not work on {column}, which is a date: use $gte and $lt, or a date that is cut short, as in "
        f"{{'{column}': '2024-05'}} for all of May",
        path,
    )
