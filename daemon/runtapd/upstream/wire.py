"""How servers spell the columns of filters and orders. Pure."""

from __future__ import annotations

from typing import Final

from runtap_query import Column, spelled

_OTHERS: Final = {
    "display_name": "displayName",
    "created_at": "createdAt",
    "heartbeat_at": "heartbeatAt",
    "updated_at": "updatedAt",
    "job_type": "jobType",
    "exit_code": "exitCode",
    "history_line_count": "historyLineCount",
    "input_artifacts": "inputArtifacts",
    "output_artifacts": "outputArtifacts",
}
_IN_ORDERS: Final = {"created_at": "created_at", "heartbeat_at": "heartbeat_at"}
"""The two that the SDK's own orders spell otherwise than its filters."""


def in_filters(column: Column) -> str:
    """Spells a column as the web pages do in their filters: values of a config stand below `value`."""
    if column.root == "config":
        key, _, rest = column.path.partition(".")
        return spelled(column) if rest else f"config.{key}.value"
    return _OTHERS.get(column.root) or spelled(column)


def in_orders(column: Column) -> str:
    """Spells a column as the SDK does in its orders."""
    return _IN_ORDERS.get(column.root) or in_filters(column)
