"""Which part of a query a server is given, and which is left to us: a table per kind of server, careful by default.

A server that is not known gets only what all servers are known to judge alike. What it refuses is remembered for a day
and left to us (`features.py`); error texts are not read for that. Pure but for what is remembered there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

from runtap_query import And, Column, Compare, Node, Not, Or, Order, filter_text, order_text, parse_order
from runtapd.faults import InvalidRequest
from runtapd.upstream import wire
from runtapd.upstream.features import ServerFeatures

NEWEST_FIRST: Final = parse_order("-created_at")


class Trust(IntEnum):
    """How much of a filter a server is given."""

    NOTHING = 0
    """No filter at all."""
    COLUMNS = 1
    """Plain columns: states, names, tags, moments."""
    KEYS = 2
    """Also single keys of config and summary, without dots and other signs in them."""
    EVERYTHING = 3
    """It judges by the same rules as we do: the local server."""


_TEXTS: Final = frozenset(("name", "state", "display_name", "group", "job_type", "sweep", "username", "tags"))
_NEVER_EMPTY: Final = frozenset(("name", "state"))
"""Servers take `$ne` as SQL does, to which nothing is not unequal to anything."""
_MOMENTS: Final = frozenset(("created_at", "heartbeat_at"))
_ORDERING: Final = frozenset(("$gt", "$gte", "$lt", "$lte"))
ONLY_THERE: Final = frozenset(("host", "program", "exit_code", "input_artifacts", "output_artifacts"))
"""Columns that runs do not bring along, so that only the server can judge them."""
_SIMPLE_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_NUMBERS: Final = frozenset(("NaN", "Infinity", "-Infinity"))


@dataclass(frozen=True, slots=True)
class Split:
    """A query in two parts."""

    trust: Trust
    sent: Node
    """The part of the filter that the server is given."""
    sent_order: Order
    rest: Node
    """The part that is left to us; without items, nothing."""
    check: Node
    """Everything that can be judged here, what the server is given included."""
    order: Order
    """The order that is wanted."""
    whole: bool
    """True when the server is given everything, so that its pages are the answer's."""

    @property
    def filters_text(self) -> str:
        """The filter as it is sent."""
        known = self.trust is Trust.EVERYTHING
        return filter_text(self.sent) if known else filter_text(self.sent, wire.in_filters)

    @property
    def order_text(self) -> str:
        """The order as it is sent."""
        known = self.trust is Trust.EVERYTHING
        return order_text(self.sent_order) if known else order_text(self.sent_order, wire.in_orders)

    @property
    def checked(self) -> bool:
        """Whether a page of this server is looked through before it is believed."""
        return self.trust is not Trust.EVERYTHING

    def here(self) -> Split:
        """The same with its order, and with its filter once more, left to us."""
        if self.order.column.root in ONLY_THERE:
            raise _bad_order(self.order)
        return replace(self, whole=False, sent_order=NEWEST_FIRST)

    def base(self) -> Split:
        """What is asked of the server so that we can do our part: its runs are taken as they come."""
        return replace(self, rest=And(()), check=And(()), whole=True)


def split(node: Node, order: Order, trust: Trust, *, sorts: bool = True) -> Split:
    """Parts a normalised query. Raises InvalidRequest where neither side could answer it."""
    if trust is Trust.EVERYTHING:
        return Split(trust, node, order, And(()), And(()), order, whole=True)
    items = node.items if isinstance(node, And) else (node,)
    sent = [item for item in items if _given(item, trust)]
    rest = [item for item in items if not _given(item, trust)]
    for item in rest:
        if unknown := sorted({str(column) for column in columns(item) if column.root in ONLY_THERE}):
            raise _bad_filter(unknown[0])
    check = [item for item in items if not any(column.root in ONLY_THERE for column in columns(item))]
    there = order.column.root in ONLY_THERE or (order.column.root == "created_at" and sorts)
    found = Split(trust, _all(sent), order, _all(rest), _all(check), order, whole=not rest and there)
    return found if found.whole else found.here()


def weaker(former: Split, node: Node, order: Order, *, sorts: bool) -> Split | None:
    """The same query for a server that refused the former split; None when there is nothing less to ask for."""
    for trust in range(former.trust - 1, -1, -1):
        found = split(node, order, Trust(trust), sorts=sorts)
        if found.filters_text != former.filters_text:
            return found
    return None


@dataclass
class Servers:
    """Parts queries by what is known of each server, by its address."""

    is_local: Callable[[str], bool]
    features: ServerFeatures

    def split(self, server: str, node: Node, order: Order) -> Split:
        """Parts a query for a server."""
        return split(node, order, self._trust(server), sorts=self.sorts(server))

    def sorts(self, server: str) -> bool:
        """False for a day after a server gave runs in another order than it was asked for."""
        return self.features.sorts(server)

    def does_not_sort(self, server: str) -> None:
        """Remembers that a server ignored the order."""
        self.features.does_not_sort(server)

    def took_only(self, server: str, trust: Trust) -> None:
        """Remembers that a server refused a query and took it in this form."""
        self.features.took_only(server, trust)

    def _trust(self, server: str) -> Trust:
        taken = self.features.trust(server)
        if taken in list(Trust):
            return Trust(taken)
        return Trust.EVERYTHING if self.is_local(server) else Trust.KEYS


def columns(node: Node) -> Iterator[Column]:
    """The columns a filter names."""
    if isinstance(node, Compare):
        yield node.column
    else:
        for item in (node.item,) if isinstance(node, Not) else node.items:
            yield from columns(item)


def _given(node: Node, trust: Trust) -> bool:
    """Whether a part of a filter is given to a server that is trusted so far."""
    if isinstance(node, Or):
        return bool(node.items) and all(_given(item, trust) for item in node.items)
    if isinstance(node, And):
        return all(_given(item, trust) for item in node.items)
    if isinstance(node, Not):
        return all(column.root in ONLY_THERE for column in columns(node))
    if node.column.root in ONLY_THERE:
        return True
    if trust is Trust.NOTHING:
        return False
    if node.column.root in ("config", "summary_metrics"):
        return trust >= Trust.KEYS and _simple_key(node)
    return _plain(node)


def _plain(node: Compare) -> bool:
    root, operator, operand = node.column.root, node.operator, node.operand
    if root in _MOMENTS:
        return operator in _ORDERING and isinstance(operand, str)
    if root not in _TEXTS or node.column.path:
        return False
    allowed = ("$eq", "$in", "$ne", "$nin") if root in _NEVER_EMPTY else ("$eq", "$in")
    values = operand if isinstance(operand, tuple) else (operand,)
    return operator in allowed and bool(values) and all(isinstance(value, str) and value for value in values)


def _simple_key(node: Compare) -> bool:
    key = node.column.path
    if node.column.root == "config":
        key = key.removesuffix(".value")
    if not _SIMPLE_KEY.fullmatch(key):
        return False
    if node.operator == "$eq" and isinstance(node.operand, str):
        return bool(node.operand) and node.operand not in _NO_NUMBERS
    return node.operator in ("$eq", *_ORDERING) and _is_number(node.operand)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _all(items: list[Node]) -> Node:
    return items[0] if len(items) == 1 else And(tuple(items))


def _bad_filter(column: str) -> InvalidRequest:
    return InvalidRequest(
        f"only the server can judge {column}, and it cannot be given the rest of the clause that names it; "
        "join it to the other clauses by $and, outside of $or and $nor",
        reason="INVALID_FILTER",
        field="filter_json",
    )


def _bad_order(order: Order) -> InvalidRequest:
    return InvalidRequest(
        f"only the server can sort by {order.column}, and not all of this filter can be left to it; "
        "order by another column, or filter by plain columns only",
        reason="INVALID_ORDER",
        field="order",
    )
