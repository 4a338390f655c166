"""Runs as serialised records: nothing lost, nothing too large, numbered without parsing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtap.v1 import runs_pb2 as pb
from runtapd.model import encode
from runtapd.model.patch import Edit, Patch
from runtapd.model.run import DocumentKind, Record, RunData
from tests.support.runs import make_run

MIB = 2**20
LARGE = json.dumps({f"k{i}": i for i in range(100_000)})


def record_of(run: RunData, revision: int = 1) -> Record:
    record = encode.record_of(run, app_url="https://wandb.ai", fetched_at=5.0, last_step=None)
    return encode.numbered(record, revision)


texts = st.text(max_size=20)
maybe = st.none() | texts
runs = st.builds(
    RunData,
    storage_id=st.text(min_size=1, max_size=9),
    entity=texts,
    project=texts,
    run_id=texts,
    display_name=texts,
    state=texts,
    created_at=texts,
    tags=st.lists(texts, max_size=3).map(tuple),
    notes=maybe,
    description=maybe,
    group=maybe,
    job_type=maybe,
    sweep_name=maybe,
    commit=maybe,
    username=texts,
    user_name=texts,
    heartbeat_at=maybe,
    updated_at=maybe,
    read_only=st.booleans(),
    history_line_count=st.none() | st.integers(0, 2**62),
    system_metrics=st.none() | st.just("{}"),
    history_keys=st.none() | st.just('{"lastStep":3}'),
    project_id=texts,
)


@given(runs)
@settings(max_examples=60)
def test_a_run_survives_its_record(run: RunData) -> None:
    message = encode.parse(record_of(run).body)
    assert encode.run_of(message, {}) == run
    assert message.etag == run.etag()


@given(runs, st.integers(1, 2**60), st.integers(1, 2**60))
@settings(max_examples=30)
def test_a_number_changes_nothing_else(run: RunData, first: int, second: int) -> None:
    once, again = record_of(run, first), record_of(run, second)
    assert encode.numbered(once, second) == again
    assert encode.parse(again.body).revision == second == again.revision


def test_the_url_quotes_each_part() -> None:
    message = encode.parse(record_of(make_run("r/1", project="my project")).body)
    assert message.url == "https://wandb.ai/team/my%20project/runs/r%2F1"


def test_the_etag_changes_with_everything_a_client_can_set_and_with_nothing_else() -> None:
    run = make_run()
    changes: list[dict[str, Any]] = [
        {"notes": ""},
        {"tags": ("base", "more")},
        {"config": "{}"},
        {"summary": "{}"},
        {"group": "g"},
        {"job_type": "g"},
        {"display_name": "x"},
        {"description": "x"},
        {"display_name": "", "notes": "name of r1"},
    ]
    etags = {make_run(**change).etag() for change in changes} | {run.etag()}
    assert len(etags) == len(changes) + 1
    assert make_run(heartbeat_at="later", state="running", updated_at="x").etag() == run.etag()


def test_a_large_document_leaves_with_its_size() -> None:
    record = record_of(make_run(summary=LARGE))
    message = encode.parse(record.body)
    assert not message.HasField("summary_json")
    assert [(o.document, o.size_bytes) for o in message.omitted] == [(pb.DOCUMENT_SUMMARY, len(LARGE))]
    assert record.oversize == ((DocumentKind.SUMMARY, len(LARGE)),)
    assert record.documents == {DocumentKind.SUMMARY: LARGE}


@pytest.mark.parametrize("character", ["x", "é", "语", "😀"])
@pytest.mark.parametrize("share", [0.2, 0.4, 0.8, 0.99])
def test_no_mixture_of_documents_makes_a_message_too_large(character: str, share: float) -> None:
    text = json.dumps({"a": character * int(MIB * share / len(character.encode()))}, ensure_ascii=False)
    run = make_run(
        config=text,
        summary=text,
        system_metrics=text,
        history_keys=text,
        notes=text,
        description="d" * 200_000,
    )
    record = record_of(run)
    assert len(record.body) < 7 * MIB // 4
    message = encode.parse(record.body)
    for kind in DocumentKind:
        omitted = any(o.document == int(kind) and o.size_bytes == len(text.encode()) for o in message.omitted)
        assert message.HasField(encode.document_field(kind)) is not omitted  # type: ignore[arg-type]


def edit(**values: object) -> tuple[Edit, ...]:
    return tuple(Edit((key,), json.dumps(value), None) for key, value in values.items())


def test_pending_writes_show_with_the_etag_they_will_have() -> None:
    run = make_run()
    shown, _ = encode.with_pending(
        record_of(run, 4), [Patch(config=edit(lr=0.5)), Patch(fields=(("notes", "n"),))], {}, "https://x"
    )
    message = encode.parse(shown.body)
    assert (message.pending_writes, message.revision, shown.revision) == (2, 4, 4)
    assert json.loads(message.config_json)["lr"]["value"] == 0.5 and message.notes == "n"
    assert shown.etag == message.etag == encode.run_of(message, {}).etag() != run.etag()


def test_pending_writes_reach_documents_outside_the_message() -> None:
    run = make_run(summary=LARGE)
    shown, documents = encode.with_pending(
        record_of(run),
        [Patch(summary=edit(added=1), config=edit(lr=7))],
        {DocumentKind.SUMMARY: LARGE},
        "https://x",
    )
    patched = documents[DocumentKind.SUMMARY]
    assert json.loads(patched) == json.loads(LARGE) | {"added": 1}
    assert shown.oversize == ((DocumentKind.SUMMARY, len(patched)),)
    message = encode.parse(shown.body)
    assert message.etag == encode.run_of(message, documents).etag()


def test_a_document_that_is_not_at_hand_stays_outside_as_it_was() -> None:
    record = record_of(make_run(summary=LARGE))
    shown, documents = encode.with_pending(record, [Patch(summary=edit(added=1))], {}, "https://x")
    assert documents == {} and shown.oversize == record.oversize
    assert not encode.parse(shown.body).HasField("summary_json")


def test_a_pending_write_can_shrink_a_document_back_into_the_message() -> None:
    run = make_run(summary={"big": "x" * (MIB + 10)})
    text = run.summary
    shown, documents = encode.with_pending(
        record_of(run), [Patch(summary=edit(big=1))], {DocumentKind.SUMMARY: text}, "https://x"
    )
    assert documents == {} and shown.oversize == ()
    assert json.loads(encode.parse(shown.body).summary_json) == {"big": 1}


def test_text_that_is_not_json_is_kept_as_it_is() -> None:
    assert encode.parse(record_of(make_run(summary="{broken")).body).summary_json == "{broken"
