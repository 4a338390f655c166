"""Which runs a request means: the project, the filter and the order, in one canonical form. Pure."""

from __future__ import annotations

import json
from typing import Protocol

import orjson

from runtap.v1 import common_pb2
from runtap_query import (
    And,
    Node,
    Order,
    QueryError,
    lint,
    normalised,
    parse_filter,
    parse_order,
)
from runtapd.faults import InvalidRequest
from runtapd.reads.query import RunQuery
from runtapd.services import convert
from runtapd.upstream.accounts import Account


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
    return RunQuery.of(
        convert.path_of_project(request.project, request.defaults, account),
        filters(request.filter_json),
        order(request.order),
    )


def filters(text: str) -> Node:
    """Reads a filter; nothing at all means every run."""
    if not text.strip():
        return And(())
    try:
        orjson.loads(text)  # the stricter judge: no NaN, no lone surrogates, no text behind the end
    except ValueError as error:
        quotes = "; names and texts stand in double quotes" if "'" in text else ""
        raise _bad_filter(
            f'the filter is not JSON: {error}; one looks like {{"state": "finished"}}{quotes}'
        ) from error
    try:
        return normalised(parse_filter(text))
    except QueryError as error:
        raise _bad_filter(str(error), error.path) from error


def order(text: str) -> Order:
    """Reads an order; nothing at all means newest first."""
    try:
        return parse_order(text)
    except QueryError as error:
        raise InvalidRequest(str(error), reason="INVALID_ORDER", field="order") from error


def warnings(request: _Listing) -> list[str]:
    """Says what is legal in the query of a request but surely not meant."""
    text = request.filter_json
    written = json.loads(text) if text.strip() else {}
    return lint(written, parse_filter(text), request.order)


def _bad_filter(message: str, path: str = "") -> InvalidRequest:
    metadata = {"path": path} if path else {}
    return InvalidRequest(message, reason="INVALID_FILTER", field="filter_json", metadata=metadata)
