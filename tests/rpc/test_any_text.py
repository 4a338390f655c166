"""No text whatever, as a path, a filter, an order, a mask or a token, is an error of the daemon: it is answered, or
refused in words of ours."""

from __future__ import annotations

import base64
import json
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given, settings
from hypothesis import strategies as st

from runtap_query import COMBINING, OPERATORS
from tests.support.many_accounts import Seat
from tests.support.reading_calls import call
from tests.support.status import failure_of

ALLOWED = {
    grpc.StatusCode.INVALID_ARGUMENT: {
        "INVALID_PATH",
        "INVALID_FILTER",
        "INVALID_ORDER",
        "INVALID_FIELD",
        "INVALID_PAGE_TOKEN",
        "INVALID_RESUME_TOKEN",
    },
    grpc.StatusCode.NOT_FOUND: {"RUN_NOT_FOUND", "PROJECT_NOT_FOUND", "SWEEP_NOT_FOUND"},
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
WORDS = st.sampled_from(
    ["team", "vision", "r1", "s1", "runs", "sweeps", "https:", "", "x.test", "..", "?", "%2F", ":"]
)
PATHS = TEXTS | st.lists(WORDS | TEXTS, max_size=7).map("/".join)
NAMES = st.sampled_from(
    ["state", "config.lr", "summary.loss", "tags", "tags.x", "created_at", "duration", "display_name",
     "config.a.value.b", "keys_info.keys.loss", "summary_metrics.a.b.0", "config..", "stat", "config"]
)  # fmt: skip
ORDER_TEXTS = TEXTS | st.tuples(st.sampled_from(["+", "-", "", "+-"]), NAMES | TEXTS).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
    | st.sampled_from(["finished", "2024-05", "a.*b", "(", 0, 1, -1, 2**64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(OPERATORS) | TEXTS, inner, max_size=2),
    max_leaves=6,
)  # fmt: skip
CONDITIONS = st.dictionaries(
    NAMES, VALUES | st.dictionaries(st.sampled_from(OPERATORS), VALUES, max_size=2), max_size=2
)
TREES = st.recursive(
    CONDITIONS,
    lambda inner: st.dictionaries(
        st.sampled_from(COMBINING), st.lists(inner, max_size=3) | inner, max_size=2
    ),
    max_leaves=4,
).map(json.dumps)
# A filter with a piece cut out or put in somewhere.
BROKEN = st.tuples(TREES, st.integers(0, 60), st.integers(0, 3), TEXTS).map(
    lambda parts: parts[0][: parts[1]] + parts[3] + parts[0][parts[1] + parts[2] :]
)


def survives(seat: Seat, rpc: str, **fields: Any) -> None:
    """The request is answered, or refused in words of ours."""
    try:
        call(seat, rpc, **fields)
    except grpc.RpcError as error:
        failure = failure_of(error)
        assert failure.reason in ALLOWED.get(failure.code, ()), (rpc, fields, failure)
        assert failure.message


@settings(max_examples=200)
@given(
    st.sampled_from(
        [
            "GetRun",
            "ReadHistory",
            "SampleHistory",
            "GetHistoryKeys",
            "ReadDocument",
            "UpdateRun",
            "GetSweep",
            "ListSweepRuns",
        ]
    ),
    PATHS,
)
def test_any_text_as_a_path(seat: Seat, rpc: str, path: str) -> None:
    fields = {"update_mask": FieldMask(paths=["nothing"])} if rpc == "UpdateRun" else {}
    survives(seat, rpc, path=path, **fields)
    survives(seat, "BatchGetRuns", paths=[path, "team/vision/r1"])


@settings(max_examples=150)
@given(st.sampled_from(["ListRuns", "ListSweeps", "ExplainQuery", "ReadHistories"]), PATHS)
def test_any_text_as_a_project(seat: Seat, rpc: str, path: str) -> None:
    survives(seat, rpc, project=path)
    survives(seat, "GetProject", path=path)


@settings(max_examples=150)
@given(st.sampled_from(["ListRuns", "ExplainQuery", "ListSweepRuns", "GetBestRun"]), ORDER_TEXTS)
def test_any_text_as_an_order(seat: Seat, rpc: str, order: str) -> None:
    survives(seat, rpc, order=order)


@settings(max_examples=400)
@given(st.sampled_from(["ListRuns", "ExplainQuery", "ReadHistories"]), TREES | BROKEN | TEXTS)
def test_any_text_as_a_filter(seat: Seat, rpc: str, text: str) -> None:
    survives(seat, rpc, filter_json=text)


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(["config_json", "summary_json", "tags", "a.b", "."]) | TEXTS, max_size=3).map(
        "".join
    )
)
def test_any_text_as_a_mask(seat: Seat, path: str) -> None:
    survives(seat, "ListRuns", read_mask=FieldMask(paths=[path]))


@settings(max_examples=60)
@given(TEXTS | st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_text_as_a_token(seat: Seat, token: str) -> None:
    for rpc in ("ListRuns", "ListProjects", "ListSweeps", "ListSweepRuns", "GetHistoryKeys"):
        survives(seat, rpc, page_token=token)
    survives(seat, "ReadHistory", resume_token=token)


@settings(max_examples=60)
@given(st.lists(TEXTS, max_size=3), TEXTS)
def test_any_text_as_keys_and_x_axis(seat: Seat, keys: list[str], x_axis: str) -> None:
    survives(seat, "SampleHistory", keys=keys, x_axis=x_axis)
    survives(seat, "ReadHistories", keys=keys, x_axis=x_axis, samples=2)
    survives(seat, "ReadHistories", keys=keys)


@settings(max_examples=60)
@given(PATHS)
def test_any_text_as_an_entity(seat: Seat, entity: str) -> None:
    survives(seat, "ListProjects", entity=entity)
