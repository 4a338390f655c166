"""The order of runs: ``[+|-]column``, ties by run id, and what is missing last whichever way one sorts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from .columns import Column, Kind, resolve_column
from .errors import QueryError, shown
from .values import SPELLED_NUMBERS, Document, value_getter

D = TypeVar("D", bound=Document)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Order:
    """One column and a direction."""

    column: Column
    descending: bool

    def __str__(self) -> str:
        return ("-" if self.descending else "+") + str(self.column)

    @property
    def roots(self) -> frozenset[str]:
        """The document fields that sorting reads, beside the name."""
        return self.column.roots


DEFAULT_ORDER: Final = "-created_at"
DIRECTIONS: Final = {"asc": "+", "ascending": "+", "desc": "-", "descending": "-"}
"""What people write behind a column, and the sign that means it here."""
_OTHER_SIGNS: Final = {"\u2212": "-", "\u2013": "-", "~": "-", "!": "-", "*": "-", ">": "-", "<": "+"}
"""What is written or pasted for a sign."""
_EXAMPLES: Final = "'-created_at' or '+summary_metrics.loss'"


def parse_order(text: str | None) -> Order:
    """Parse an order; nothing means newest first, and a column without a sign goes downwards, as the docs say."""
    if text is not None and not isinstance(text, str):
        raise QueryError(f"an order must be a text such as {_EXAMPLES}, not {shown(text)}")
    text = (text or "").strip() or DEFAULT_ORDER
    name = text[1:].strip() if text[0] in "+-" else text
    if not name:
        raise QueryError(f"order {shown(text)} names no column; write it as {_EXAMPLES}")
    try:
        column = resolve_column(name)
    except QueryError as error:
        raise QueryError(_misspelt(text) or f"order: {error}") from None
    return Order(column, descending=text[0] != "+")


def _misspelt(text: str) -> str:
    """What is wrong with an order that names a column with its direction in another form; empty when it names none."""
    name, _, direction = text.lstrip("+-").partition(" ")
    several = text.split(",")
    if direction.strip().lower() in DIRECTIONS:
        meant = DIRECTIONS[direction.strip().lower()] + name
        problem = "has its direction behind the column; it is a sign in front of it"
    elif len(several) > 1:
        meant = several[0].strip()
        problem = "names several columns; there is one, and ties go by run id"
    else:
        bare = text.lstrip("+-" + "".join(_OTHER_SIGNS)).strip()
        meant = _OTHER_SIGNS.get(text[0], text[0]) + bare
        problem = "begins with something else than one + or -"
    try:
        resolve_column(meant.lstrip("+-").strip())
    except QueryError:
        return ""
    return f"order {shown(text)} {problem}; did you mean {shown(meant)}?"


def sort_documents(documents: Iterable[D], order: Order | str | None = None) -> list[D]:
    """Sort documents (each a dict with a ``name``): values first by the order, then the missing, ties by name."""
    if not isinstance(order, Order):
        order = parse_order(order)
    get = value_getter(order.column)
    return sort_values(((_name(document), get(document), document) for document in documents), order)


def sort_values(found: Iterable[tuple[str, Any, T]], order: Order) -> list[T]:
    """Sort anything by its name and the value that the order's column has there."""
    spelled = order.column.kind is Kind.JSON
    present: list[tuple[tuple[int, Any], T]] = []
    missing: list[T] = []
    for _, value, item in sorted(found, key=_first):
        key = _rank(value, spelled)
        if key is None:
            missing.append(item)
        else:
            present.append((key, item))
    # Sorting keeps equals in their present order in both directions, so that ties stay sorted by name.
    present.sort(key=_first, reverse=order.descending)
    return [item for _, item in present] + missing


def _name(document: Document) -> str:
    return str(document.get("name") or "")


def _first(item: tuple[Any, ...]) -> Any:
    return item[0]


def _rank(value: Any, spelled: bool) -> tuple[int, Any] | None:
    """Numbers before texts before truths; what cannot be ordered (NaN, null, lists, objects) counts as missing."""
    if isinstance(value, str):
        if not spelled or value not in SPELLED_NUMBERS:
            return (1, value)
        value = SPELLED_NUMBERS[value]
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return None if value != value else (0, value)
    return None
