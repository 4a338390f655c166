"""How a scripted upstream judges filters: by the query language, but for what a test says it gets wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from runtap_query import compile_filter, parse_filter

_OWN_NAMES = {
    "displayName": "display_name",
    "createdAt": "created_at",
    "heartbeatAt": "heartbeat_at",
    "updatedAt": "updated_at",
    "jobType": "job_type",
    "sweepName": "sweep",
    "historyLineCount": "history_line_count",
}
_DOCUMENTS = {
    "config": "config",
    "summaryMetrics": "summary_metrics",
    "systemMetrics": "system_metrics",
    "historyKeys": "history_keys",
}


def matching(
    nodes: Iterable[dict[str, Any]], filters: str, misjudged: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The runs that match; none when the filter has one of the words that this server misjudges."""
    if any(word in filters for word in misjudged):
        return []
    matches = compile_filter(parse_filter(filters))
    return [node for node in nodes if matches(document(node))]


def document(node: dict[str, Any]) -> dict[str, Any]:
    """A run of the wire as the query language reads it."""
    found = {_OWN_NAMES.get(name, name): value for name, value in node.items() if name not in _DOCUMENTS}
    found |= {own: json.loads(node[name]) for name, own in _DOCUMENTS.items() if node.get(name)}
    found["username"] = node["user"]["username"]
    config = found.get("config", {})
    found["config"] = {
        key: item["value"] if isinstance(item, dict) and "value" in item else item
        for key, item in config.items()
    }
    return found
