"""Filters and ordering of runs: parse, evaluate, normalise and lint. Pure; used by the daemon and by the local server.

A document is a plain dictionary of one run: ``name``, ``display_name``, ``state``, ``tags``, the moments
``created_at``, ``heartbeat_at`` and ``updated_at`` in any form ``parse_moment`` reads, ``group``, ``job_type``,
``sweep``, ``username``, ``host``, ``commit``, ``notes``, ..., ``config`` with its values unwrapped,
``summary_metrics``, ``history_keys``. What a filter does not name may be left out.

The rules are MongoDB's but for what ``tests/unit/test_query_oracle.py`` lists with its reasons; patterns are RE2.
"""

from .columns import Column, Kind, resolve_column
from .errors import QueryError
from .evaluate import Filter, compile_filter
from .lint import lint
from .normalise import filter_text, normalised, order_text, spelled
from .order import DEFAULT_ORDER, Order, parse_order, sort_documents, sort_values
from .parse import COMBINING, OPERATORS, And, Compare, Node, Not, Or, parse_filter
from .patterns import Pattern
from .times import Moment, parse_moment
from .values import MISSING, Document, value_getter

__all__ = [
    "COMBINING",
    "DEFAULT_ORDER",
    "MISSING",
    "OPERATORS",
    "And",
    "Column",
    "Compare",
    "Document",
    "Filter",
    "Kind",
    "Moment",
    "Node",
    "Not",
    "Or",
    "Order",
    "Pattern",
    "QueryError",
    "compile_filter",
    "filter_text",
    "lint",
    "normalised",
    "order_text",
    "parse_filter",
    "parse_moment",
    "parse_order",
    "resolve_column",
    "sort_documents",
    "sort_values",
    "spelled",
    "value_getter",
]
