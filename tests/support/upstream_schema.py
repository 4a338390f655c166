"""What a scripted upstream's schema has: which fields a document asks for, and what introspection tells. Pure."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from graphql import FieldNode, SelectionSetNode, parse

Asked = frozenset[tuple[str, str]]
FIELDS = {
    "Run": (
        "id name displayName state tags historyLineCount sweepName group jobType commit readOnly createdAt heartbeatAt "
        "updatedAt description notes projectId user config summaryMetrics systemMetrics historyKeys history events "
        "sampledHistory parquetHistory"
    ),
    "Project": "id name entityName createdAt isBenchmark description runCount runs run sweep sweeps",
    "Sweep": "id name state bestLoss config description displayName method createdAt updatedAt runCount "
    "runCountExpected",
}
"""The fields of a server that lacks nothing, by type."""
_TYPES = {
    "run": "Run", "runs": "Run", "bucket": "Run", "project": "Project", "models": "Project", "sweep": "Sweep",
    "sweeps": "Sweep", "user": "User", "viewer": "User", "teams": "Entity", "pageInfo": "PageInfo", "__type": "__Type",
}  # fmt: skip
"""What a field leads to; other fields lead to more of their own type, as `edges` and `node` do."""


@lru_cache(maxsize=256)
def asked(document: str) -> Asked:
    """The fields that a document asks for, each with its type."""
    found: set[tuple[str, str]] = set()
    for definition in parse(document).definitions:
        _walk(getattr(definition, "selection_set", None), "Query", found)
    return frozenset(found)


def _walk(selections: SelectionSetNode | None, kind: str, found: set[tuple[str, str]]) -> None:
    for node in selections.selections if selections else ():
        if isinstance(node, FieldNode):
            found.add((kind, node.name.value))
            _walk(node.selection_set, _TYPES.get(node.name.value, kind), found)


@lru_cache(maxsize=256)
def _types_asked(document: str) -> dict[str, str]:
    """The types that a document asks about, by the name the answer has for each."""
    found: dict[str, str] = {}
    for definition in parse(document).definitions:
        selections: SelectionSetNode | None = getattr(definition, "selection_set", None)
        for node in selections.selections if selections else ():
            if isinstance(node, FieldNode) and node.name.value == "__type":
                alias = node.alias.value if node.alias else "__type"
                found[alias] = "".join(
                    getattr(argument.value, "value", "") for argument in node.arguments or ()
                )
    return found


def introspected(document: str, lacks: Collection[tuple[str, str]]) -> dict[str, Any]:
    """What introspection tells where a document asks for it; empty when it does not."""
    return {
        alias: {"fields": [{"name": name} for name in FIELDS[kind].split() if (kind, name) not in lacks]}
        if kind in FIELDS
        else None
        for alias, kind in _types_asked(document).items()
    }
