"""The order of runs: ``[+|-]column``, ties by run id, and what is missing last whichever way one sorts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from .columns import Column, Document, resolve_column, value_getter
from .errors import QueryError

D = TypeVar("D", bound=Document)


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
        root = self.column.root
        return (
            frozenset(("duration", "created_at", "heartbeat_at"))
            if root == "duration"
            else frozenset((root,))
        )


DEFAULT_ORDER: Final = "-created_at"


def parse_order(text: str | None) -> Order:
    """Parse an order; nothing means newest first, and a column without a sign goes downwards, as the docs say."""
    if text is not None and not isinstance(text, str):
        raise QueryError(f"an order must be a text such as '-created_at', not {text!r}")
    text = (text or "").strip() or DEFAULT_ORDER
    name = text[1:] if text[0] in "+-" else text
    if not name.strip():
        raise QueryError(
            f"order {text!r} names no column; write it as '+created_at' or '-summary_metrics.loss'"
        )
    return Order(resolve_column(name.strip()), descending=text[0] != "+")


def sort_documents(documents: Iterable[D], order: Order | str | None = None) -> list[D]:
    """Sort documents (each a dict with a ``name``): values first by the order, then the missing, ties by name."""
    if not isinstance(order, Order):
        order = parse_order(order)
    get = value_getter(order.column)
    present: list[tuple[tuple[int, Any], D]] = []
    missing: list[D] = []
    for document in sorted(documents, key=_name):
        key = _rank(get(document))
        if key is None:
            missing.append(document)
        else:
            present.append((key, document))
    # Sorting keeps equals in their present order in both directions, so that ties stay sorted by name.
    present.sort(key=lambda pair: pair[0], reverse=order.descending)
    return [document for _, document in present] + missing


def _name(document: Document) -> str:
    return str(document.get("name") or "")


def _rank(value: Any) -> tuple[int, Any] | None:
    """Numbers before texts before truths; what cannot be ordered (NaN, null, lists, objects) counts as missing."""
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return None if value != value else (0, value)
    if isinstance(value, str):
        return (1, value)
    return None
