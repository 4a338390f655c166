"""UpdateRun's request as a patch, and what the answer says about the write."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from runtap.v1 import runs_pb2 as pb
from runtap.v1 import writes_pb2
from runtapd.faults import InvalidRequest, PreconditionFailed
from runtapd.journal import Entry, WriteState
from runtapd.model.patch import Conflict, Edit, Expectation, Patch
from runtapd.services import updates
from runtapd.writes import Writes
from tests.unit.test_writes_plan import entry


def request(**fields: Any) -> pb.UpdateRunRequest:
    return pb.UpdateRunRequest(**{"path": "e/p/r", "request_id": "q1", **fields})


def edit(*path: str, **fields: Any) -> pb.JsonEdit:
    return pb.JsonEdit(path=path, **fields)


def test_a_full_request_becomes_a_patch() -> None:
    parsed = updates.parse(
        request(
            config=[
                edit("opt", "lr", set_json="0.10", base_json=""),
                edit("old", unset=True, base_json=" 1 "),
            ],
            summary=[edit("acc", set_json="NaN")],
            fields=pb.RunFields(notes="n", group=""),
            base_fields=pb.RunFields(notes=""),
            tags_add=["a", "b", "a"],
            tags_remove=["c"],
            etag='"e"',
            expect=[
                pb.Expectation(field="summary", path=["acc"], value_json="1"),
                pb.Expectation(field="notes"),
                pb.Expectation(field="tags", value_json='["a"]'),
            ],
        )
    )

    assert parsed == updates.Update(
        Patch(
            config=(Edit(("opt", "lr"), "0.1", ""), Edit(("old",), None, "1")),
            summary=(Edit(("acc",), '"NaN"'),),
            fields=(("notes", "n"), ("group", "")),
            base_fields=(("notes", ""),),
            tags_add=("a", "b"),
            tags_remove=("c",),
            etag='"e"',
            expect=(
                Expectation("summary", ("acc",), "1"),
                Expectation("notes", (), None),
                Expectation("tags", (), '["a"]'),
            ),
        ),
        "q1",
        0.0,
    )


def test_the_mask_restricts_and_clears() -> None:
    parsed = updates.parse(
        request(fields=pb.RunFields(notes="n", group="g"), update_mask=FieldMask(paths=["group", "job_type"]))
    )

    assert parsed.patch.fields == (("group", "g"), ("job_type", ""))


def test_replacing_tags_with_none() -> None:
    assert updates.parse(request(tags_replace=pb.TagList())).patch.tags_replace == ()
    assert updates.parse(request()).patch == Patch()


def test_how_long_to_wait() -> None:
    applied = pb.WAIT_FOR_APPLIED

    assert updates.parse(request(wait_for=pb.WAIT_FOR_ACCEPTED, wait_timeout=Duration(seconds=9))).wait_s == 0
    assert updates.parse(request(wait_for=applied)).wait_s == 30
    assert updates.parse(request(wait_for=applied, wait_timeout=Duration(nanos=5 * 10**8))).wait_s == 0.5


@pytest.mark.parametrize(
    ("fields", "named", "words"),
    [
        ({"request_id": ""}, "request_id", "UUID"),
        ({"request_id": "x" * 201}, "request_id", "201 characters"),
        ({"config": [edit("a", set_json="{")]}, "config[0].set_json", "not JSON"),
        ({"config": [edit("a", set_json="")]}, "config[0].set_json", "not JSON"),
        ({"config": [edit("a", set_json='"\\ud800"')]}, "config[0].set_json", "not JSON"),
        ({"config": [edit("a", set_json="[" * 300 + "]" * 300)]}, "config[0].set_json", "deeper"),
        ({"config": [edit("a", set_json="[" * 90_000 + "]" * 90_000)]}, "config[0].set_json", "nested"),
        ({"config": [edit("a", unset=True), edit("b")]}, "config[1]", "neither"),
        ({"config": [edit("b", unset=False)]}, "config[0]", "neither"),
        ({"summary": [edit(set_json="1")]}, "summary[0].path", "from the top down"),
        ({"summary": [edit(*["a"] * 201, set_json="1")]}, "summary[0].path", "201 keys"),
        ({"summary": [edit("a", set_json="1", base_json="x")]}, "summary[0].base_json", "not JSON"),
        ({"update_mask": FieldMask(paths=["state"])}, "update_mask", "display_name"),
        ({"tags_add": [""]}, "tags_add", "empty tag"),
        ({"tags_add": ["a"], "tags_remove": ["a"]}, "tags_remove", "both name a"),
        ({"tags_add": ["a"], "tags_replace": pb.TagList(tags=["b"])}, "tags_replace", "cannot come with it"),
        ({"tags_replace": pb.TagList(tags=[""])}, "tags_replace", "empty tag"),
        ({"expect": [pb.Expectation(field="state")]}, "expect[0].field", "'state'"),
        ({"expect": [pb.Expectation(field="config")]}, "expect[0].path", "empty"),
        ({"expect": [pb.Expectation(field="notes", path=["a"])]}, "expect[0].path", "config and summary"),
        ({"expect": [pb.Expectation(field="tags", value_json='"a"')]}, "expect[0].value_json", "list"),
        ({"expect": [pb.Expectation(field="tags", value_json="[1, {}]")]}, "expect[0].value_json", "list"),
        ({"expect": [pb.Expectation(field="notes", value_json="1")]}, "expect[0].value_json", "string"),
        ({"wait_for": 7}, "wait_for", "WAIT_FOR_APPLIED"),
        ({"wait_for": 2, "wait_timeout": Duration(seconds=-1)}, "wait_timeout", "negative"),
    ],
)
def test_what_cannot_be_understood_is_named(fields: dict[str, Any], named: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        updates.parse(request(**fields))
    assert caught.value.field == named


TEXTS = st.sampled_from(
    ["", "1", "{}", '"x"', "null", "NaN", "1e999", "-0.0", "[[1]]", '{"a": {"b": 2}}', "{", "\x00"]
)
NAMES = st.sampled_from(["config", "summary", "tags", "notes", "state", ""])
EDITS = st.builds(
    lambda path, kind, text, base: pb.JsonEdit(path=path, **{kind: text} if kind else {}, **base),
    st.lists(st.text(max_size=3), max_size=3),
    st.sampled_from(["set_json", ""]),
    TEXTS,
    st.sampled_from([{}, {"base_json": ""}, {"base_json": "1"}]),
)
REQUESTS = st.builds(
    pb.UpdateRunRequest,
    config=st.lists(EDITS, max_size=3),
    summary=st.lists(EDITS, max_size=3),
    tags_add=st.lists(st.text(max_size=2), max_size=2),
    tags_remove=st.lists(st.text(max_size=2), max_size=2),
    expect=st.lists(st.builds(pb.Expectation, field=NAMES, value_json=TEXTS), max_size=2),
    update_mask=st.builds(FieldMask, paths=st.lists(NAMES, max_size=2)),
    request_id=st.text(max_size=3),
    wait_for=st.integers(-5, 5),
    wait_timeout=st.builds(Duration, seconds=st.integers(-(2**60), 2**60)),
)


@given(REQUESTS)
def test_any_request_is_a_patch_or_an_invalid_request(message: pb.UpdateRunRequest) -> None:
    try:
        parsed = updates.parse(message)
    except InvalidRequest as fault:
        assert fault.field
    else:
        assert Patch.from_json(parsed.patch.to_json()) == parsed.patch


# The answer


def test_an_entry_as_a_message() -> None:
    conflict = Conflict("config.lr", None, "0.2", "0.1")
    told = updates.write_message(
        entry(
            Patch(config=(Edit(("lr",), "0.2"),), tags_add=("a",)),
            state=WriteState.APPLIED,
            accepted_at=1.5,
            settled_at=2.25,
            attempts=3,
            conflicts=(conflict,),
        )
    )

    assert told.run_path == "team/vision/r1" and told.state == writes_pb2.WRITE_STATE_APPLIED
    assert list(told.fields) == ["config.lr", "tags"]
    assert told.accepted_at.ToNanoseconds() == 1_500_000_000 and told.settled_at.seconds == 2
    assert told.attempts == 3 and told.message == ""
    assert told.conflicts[0] == writes_pb2.Conflict(field="config.lr", mine_json="0.2", base_json="0.1")
    assert not told.conflicts[0].HasField("theirs_json")


def test_a_write_of_large_things_is_a_small_message() -> None:
    large = json.dumps("x" * 3_000_000)
    patch = Patch(summary=tuple(Edit((f"key{i}",), "1") for i in range(100_000)))
    conflicts = tuple(Conflict(f"summary.key{i}", large, large, large) for i in range(60))
    told = updates.write_message(
        entry(patch, conflicts=conflicts, not_honoured=conflicts, message="m" * 1_000_000)
    )

    assert told.ByteSize() < 2**18
    assert (len(told.fields), len(told.conflicts)) == (100, 50)
    shown = json.loads(told.conflicts[0].theirs_json)
    assert shown.startswith('"xxx') and shown.endswith("(3000002 characters)")


def test_a_waiting_write_always_says_for_what() -> None:
    assert "turn" in updates.write_message(entry(Patch())).message
    assert "answer" in updates.write_message(entry(Patch(), state=WriteState.SENDING)).message
    assert updates.write_message(entry(Patch(), message="server away")).message == "server away"


class Waiting:
    """Write-back as far as waiting goes."""

    def __init__(self, becomes: Entry) -> None:
        self.becomes = becomes
        self.asked_s: list[float] = []

    async def wait(self, account_id: str, write_id: str, timeout_s: float) -> Entry:
        self.asked_s.append(timeout_s)
        return self.becomes


def result(becomes: Entry, wait_s: float, left_s: float | None = None) -> tuple[Entry, list[float]]:
    double = Waiting(becomes)
    writes: Writes = double  # type: ignore[assignment]
    return asyncio.run(updates.awaited(writes, entry(Patch()), wait_s, left_s)), double.asked_s


def test_accepted_does_not_wait() -> None:
    found, asked = result(entry(Patch(), state=WriteState.FAILED), 0.0)

    assert found.state is WriteState.ACCEPTED and asked == []


@pytest.mark.parametrize(("left_s", "asked"), [(None, 30.0), (100.0, 30.0), (10.3, 10.0), (0.1, 0.0)])
def test_waiting_is_cut_to_the_calls_time(left_s: float | None, asked: float) -> None:
    found, asked_s = result(entry(Patch(), state=WriteState.BLOCKED_AUTH), 30.0, left_s)

    assert found.state is WriteState.BLOCKED_AUTH and asked_s == [pytest.approx(asked)]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (WriteState.CONFLICT, "WRITE_CONFLICT"),
        (WriteState.NOT_HONOURED, "WRITE_NOT_HONOURED"),
        (WriteState.FAILED, "WRITE_REFUSED"),
    ],
)
def test_a_write_that_ended_badly_is_an_error_with_its_id(state: WriteState, reason: str) -> None:
    ended = entry(Patch(tags_add=("a",)), state=state, message="because")

    with pytest.raises(PreconditionFailed, match="team/vision/r1: because") as caught:
        result(ended, 30.0)
    assert caught.value.reason == reason
    assert caught.value.metadata == {"write_id": "w1", "run_path": "team/vision/r1", "fields": "tags"}


def test_a_repeated_request_that_had_ended_badly_fails_again() -> None:
    double = Waiting(entry(Patch()))
    writes: Writes = double  # type: ignore[assignment]
    ended = entry(Patch(), state=WriteState.CONFLICT, message="because")

    with pytest.raises(PreconditionFailed):
        asyncio.run(updates.awaited(writes, ended, 30.0, None))
    assert double.asked_s == []
