"""Read masks, down to keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from runtap.v1 import runs_pb2 as pb
from runtapd.faults import InvalidRequest
from runtapd.model import encode
from runtapd.model.run import DocumentKind
from runtapd.services import masks
from tests.support.runs import make_run

CONFIG = {
    "lr": {"value": 0.1, "desc": None},
    "optimizer": {"value": {"lr": 1, "name": "adam"}, "desc": None},
    "a.b": {"value": 2},
}
SUMMARY = {"loss": 0.5, "val": {"loss": 1, "acc": 2}, "val.loss": 9, "gone": None, "nan": float("nan")}


def masked(*paths: str, oversize: dict[DocumentKind, bytes] | None = None, **fields: Any) -> pb.Run:
    fields = {"config": CONFIG, "summary": SUMMARY} | fields
    record = encode.record_of(make_run(**fields), app_url="https://x", fetched_at=1, last_step=None)
    mask = masks.parse(FieldMask(paths=paths))
    assert mask is not None
    return pb.Run.FromString(masks.apply(mask, record.body, oversize or {}))


def test_no_mask_means_everything() -> None:
    assert masks.parse(FieldMask()) is None


def test_identity_state_and_etag_always_come_and_nothing_unasked() -> None:
    run = masked("display_name")
    assert {field.name for field, _ in run.ListFields()} == {
        "storage_id", "entity", "project", "run_id", "path", "state", "etag", "display_name",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("summary_json.loss", {"loss": 0.5}),
        ("summary_json.val.acc", {"val": {"acc": 2}}),
        ("summary_json.val.loss", {"val.loss": 9}),
        ("summary_json.gone", {"gone": None}),
        ("summary_json.nan", {"nan": "NaN"}),
        ("summary_json.not.there", {}),
        ("summary_json.loss.deeper", {}),
    ],
)
def test_keys_of_the_summary(path: str, expected: object) -> None:
    run = masked(path)
    assert json.loads(run.summary_json) == expected and not run.HasField("config_json")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("config_json.lr", {"lr": {"value": 0.1, "desc": None}}),
        ("config_json.optimizer.lr", {"optimizer": {"value": {"lr": 1}}}),
        ("config_json.a.b", {"a.b": {"value": 2}}),
        ("config_json.optimizer.none", {}),
    ],
)
def test_keys_of_the_config_are_plain_value_paths(path: str, expected: object) -> None:
    assert json.loads(masked(path).config_json) == expected


def test_several_keys_and_whole_documents() -> None:
    run = masked("config_json.lr", "summary_json.loss", "summary_json.val.acc", "config_json")
    assert json.loads(run.summary_json) == {"loss": 0.5, "val": {"acc": 2}}
    assert json.loads(run.config_json) == CONFIG
    both_ways = [
        json.loads(masked(*paths).summary_json)
        for paths in (
            ("summary_json.val", "summary_json.val.acc"),
            ("summary_json.val.acc", "summary_json.val"),
        )
    ]
    assert both_ways == [{"val": {"loss": 1, "acc": 2}}] * 2


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no_such_field", "these are commit, config_json, .* and keys as in 'config_json.lr'"),
        ("state.x", "behind config_json and summary_json only"),
        ("user.name", "behind config_json and summary_json only"),
        ("omitted", "it comes with the documents"),
        ("summary", "did you mean 'summary_json'?"),
        ("historyLineCount", "did you mean 'history_line_count'?"),
        ("", "these are commit, config_json"),
        (".", "these are commit, config_json"),
        ("summary_json .a", "did you mean 'summary_json.a'?"),
        ("summary_json.", "behind config_json and summary_json only"),
    ],
)
def test_what_is_no_field_is_named_and_told_what_would_be(path: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        masks.parse(FieldMask(paths=["state", path]))
    assert caught.value.field == "read_mask" and repr(path) in caught.value.message


def test_keys_of_a_document_outside_the_message() -> None:
    large = json.dumps({"small": 1, "hist": ["x" * 100] * 20_000})
    run = masked("summary_json.small", summary=large, oversize={DocumentKind.SUMMARY: large.encode()})
    assert json.loads(run.summary_json) == {"small": 1} and not run.omitted


def test_keys_that_are_too_large_themselves_are_left_out_with_the_size_to_read() -> None:
    large = json.dumps({"small": 1, "hist": ["x" * 100] * 20_000})
    run = masked("summary_json.hist", summary=large, oversize={DocumentKind.SUMMARY: large.encode()})
    assert not run.HasField("summary_json") and run.ByteSize() < 2**20
    assert [(o.document, o.size_bytes) for o in run.omitted] == [(pb.DOCUMENT_SUMMARY, len(large))]


def test_an_omitted_document_is_told_only_to_who_asked_for_it() -> None:
    large = json.dumps({"hist": ["x" * 100] * 20_000})
    assert not masked("state", summary=large).omitted
    assert len(masked("summary_json", summary=large).omitted) == 1


def test_of_a_document_that_is_not_json_there_are_no_keys() -> None:
    assert not masked("summary_json.loss", summary="{broken").HasField("summary_json")
    assert masked("summary_json", summary="{broken").summary_json == "{broken"


def test_a_mask_says_what_it_is_in_any_order() -> None:
    one = masks.parse(FieldMask(paths=["state", "tags"]))
    other = masks.parse(FieldMask(paths=["tags", "state", "tags"]))
    assert one is not None and other is not None and one.text == other.text
