"""What a resolver may use: the viewer, one transaction, and the means to make addresses; and helpers on selections."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from graphql import FieldNode, FragmentSpreadNode, GraphQLResolveInfo, InlineFragmentNode, SelectionSetNode
from sqlalchemy import Connection

from ...auth import Viewer
from ...faults import BadRequest
from ...histories.exports import Exports
from ...http.signing import Direction, FilePath, Signer
from ...ids import cursor, split_cursor
from ...settings import Settings
from ...store.remembered import Remembered

T = TypeVar("T")
MAX_PAGE = 1000


@dataclass(slots=True)
class RequestContext:
    """One request. ``after_commit`` is done once its transaction is certain."""

    viewer: Viewer
    connection: Connection
    base_url: str
    signer: Signer
    now: int
    settings: Settings
    exports: Exports
    headers: Mapping[str, str] = field(default_factory=dict)
    after_commit: list[Callable[[], None]] = field(default_factory=list)
    delete_blob: Callable[[str], None] = lambda name: None
    deadline: float = math.inf
    """When, on the monotonic clock, the request has taken too long."""
    memo: dict[Any, Any] = field(default_factory=dict)
    remembered: Remembered = field(default_factory=Remembered)
    """Lists worked out before. A request that writes has its own: what it sees may yet be undone."""

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Work something out once per request."""
        if key not in self.memo:
            self.memo[key] = make()
        found: T = self.memo[key]
        return found

    def file_url(self, path: FilePath, direction: Direction) -> str:
        """A signed address of a file."""
        return self.signer.url(self.base_url, path, direction, self.now / 1_000_000)


Info = GraphQLResolveInfo[RequestContext]


def context_of(info: Info) -> RequestContext:
    """The request that a resolver works for, if there is time left for it."""
    if time.monotonic() > info.context.deadline:
        seconds = info.context.settings.max_request_s
        raise BadRequest(f"the request took longer than {seconds:g} s: ask for less at once")
    return info.context


def selected(info: Info) -> set[str]:
    """The names of all fields below this one, at any depth: what is not among them need not be loaded."""
    names: set[str] = set()
    seen: set[str] = set()

    def walk(selections: SelectionSetNode | None) -> None:
        for node in selections.selections if selections else ():
            if isinstance(node, FieldNode):
                names.add(node.name.value)
                walk(node.selection_set)
            elif isinstance(node, InlineFragmentNode):
                walk(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                seen.add(node.name.value)
                walk(info.fragments[node.name.value].selection_set)

    for field_node in info.field_nodes:
        walk(field_node.selection_set)
    return names


def most(first: int | None) -> int:
    """How many a page may hold; more than the largest page is cut down to it."""
    limit = 50 if first is None else first
    if limit < 0:
        raise BadRequest(f"first must be at least 0, not {limit}")
    return min(limit, MAX_PAGE)


def window(first: int | None, after: str | None) -> tuple[int, int]:
    """(offset, limit) of a page."""
    return split_cursor(after), most(first)


def connection(nodes: list[Any], offset: int, more: bool) -> dict[str, Any]:
    """A page of a list as the protocol wants it: cursors on the edges and, equal to the last of them, on the page."""
    edges = [{"node": node, "cursor": cursor(offset + index + 1)} for index, node in enumerate(nodes)]
    return {
        "edges": edges,
        "pageInfo": {
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else None,
            "hasNextPage": more,
            "hasPreviousPage": offset > 0,
        },
    }


def page(items: list[Any], first: int | None, after: str | None) -> dict[str, Any]:
    """A page cut from a list that is at hand."""
    offset, limit = window(first, after)
    return connection(items[offset : offset + limit], offset, offset + limit < len(items))
