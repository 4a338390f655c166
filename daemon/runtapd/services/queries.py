"""Which runs a request means: the project, the filter and the order, in one canonical form. Pure."""

from __future__ import annotations

import difflib
import json
from typing import Any, Protocol

import orjson

from runtap.v1 import common_pb2
from runtap_query import COMBINING, OPERATORS
from runtapd.faults import InvalidRequest
from runtapd.model import jsontext
from runtapd.reads.lists import RunQuery
from runtapd.services import convert
from runtapd.upstream.accounts import Account

NEWEST_FIRST = "-created_at"
_OPERATORS = frozenset(OPERATORS) | frozenset(COMBINING)


class _Listing(Protocol):
    """What the requests that list runs have in common."""

    @property
    def project(self) -> str: ...
    @property
    def defaults(self) -> common_pb2.PathDefaults: ...
    @property
    def filter_json(self) -> str: ...
    @property
    def order(self) -> str: ...


def run_query(request: _Listing, account: Account) -> RunQuery:
    """Reads the query of a request that lists runs."""
    return RunQuery(
        convert.path_of_project(request.project, request.defaults, account),
        filters(request.filter_json),
        order(request.order),
    )


def filters(text: str) -> str:
    """Returns a filter in canonical JSON, with the column names servers know."""
    if not text.strip():
        return "{}"
    try:
        orjson.loads(text)  # the stricter judge: no NaN, no lone surrogates, no text behind the end
        parsed = jsontext.loads(text)  # the more exact reader of long integers
    except ValueError as error:
        raise _bad_filter(f"the filter is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise _bad_filter('the filter must be a JSON object, such as {"state": "finished"}')
    try:
        return json.dumps(_renamed(parsed), separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    except RecursionError as error:
        raise _bad_filter("the filter is nested too deeply") from error


def _bad_filter(message: str) -> InvalidRequest:
    return InvalidRequest(message, reason="INVALID_FILTER", field="filter_json")


def order(text: str) -> str:
    """Returns an order with an explicit sign and the column name servers know."""
    text = text.strip() or NEWEST_FIRST
    sign, column = (text[0], text[1:]) if text[0] in "+-" else ("-", text)
    if not column:
        raise InvalidRequest(
            f"{text!r} names no column; an order looks like -created_at or +summary.loss",
            reason="INVALID_ORDER",
            field="order",
        )
    column = _column(column)
    if column.startswith("config.") and not column.endswith(".value"):
        column += ".value"
    return sign + column


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_checked(key): _renamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    return value


def _checked(key: str) -> str:
    """Returns a key of a filter as servers know it; no server knows an operator that the language does not have."""
    if key.startswith("$") and key not in _OPERATORS:
        near = difflib.get_close_matches(key, _OPERATORS, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(_OPERATORS))}"
        raise _bad_filter(f"the filter has an unknown operator {key}{hint}")
    return _column(key)


def _column(name: str) -> str:
    """Servers refuse `summary.`, which the guide uses."""
    return "summary_metrics." + name[len("summary.") :] if name.startswith("summary.") else name
