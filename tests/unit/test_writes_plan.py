"""What is decided about a write without any I/O, and how long it waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtapd.faults import InvalidAnswer
from runtapd.journal import Entry, WriteState
from runtapd.model.patch import Conflict, Edit, Expectation, Patch
from runtapd.upstream.api import RunChange
from runtapd.writes.backoff import FIRST_S, LONGEST_S, pause_s
from runtapd.writes.plan import Send, Settle, outcome, plan
from tests.support.runs import make_run


def entry(patch: Patch, **fields: Any) -> Entry:
    values: dict[str, Any] = {
        "seq": 1,
        "write_id": "w1",
        "account_id": "acct",
        "request_id": "q1",
        "body_hash": "",
        "entity": "team",
        "project": "vision",
        "run_id": "r1",
        "storage_id": "",
        "patch": patch,
        "key_source": "",
        "state": WriteState.ACCEPTED,
        "accepted_at": 0.0,
    }
    return Entry(**(values | fields))


def set_lr(value: str, base: str | None = None) -> Patch:
    return Patch(config=(Edit(("lr",), value, base),))


def test_only_what_differs_is_sent() -> None:
    run = make_run(notes="old", group=None)
    patch = Patch(
        config=(Edit(("lr",), "0.2"),),
        summary=(Edit(("acc",), "0.5"),),
        fields=(("notes", "new"), ("group", ""), ("display_name", run.display_name)),
        tags_add=("base",),
    )

    assert plan(entry(patch), run) == Send(
        RunChange(notes="new", config='{"lr":{"value":0.2,"desc":null}}'), ()
    )


def test_nothing_is_sent_when_nothing_differs() -> None:
    assert plan(entry(set_lr("0.1")), make_run()) == Settle(WriteState.APPLIED)
    assert plan(entry(Patch()), make_run()) == Settle(WriteState.APPLIED)


def test_clearing_a_text_and_all_tags_is_a_change() -> None:
    run = make_run(notes="x", tags=("a",))

    assert plan(entry(Patch(fields=(("notes", ""),), tags_replace=())), run) == Send(
        RunChange(notes="", tags=()), ()
    )


def test_a_change_by_others_is_reported_and_overwritten() -> None:
    todo = plan(entry(set_lr("0.2", base="0.05")), make_run())

    assert isinstance(todo, Send)
    assert todo.conflicts == (Conflict("config.lr", "0.1", "0.2", "0.05"),)


def test_a_broken_precondition_names_theirs_and_expected() -> None:
    patch = Patch(config=(Edit(("lr",), "1"),), expect=(Expectation("config", ("lr",), "0.5"),))

    todo = plan(entry(patch), make_run())

    assert isinstance(todo, Settle) and todo.state is WriteState.CONFLICT
    assert todo.message == "nothing was sent: config.lr is 0.1, expected was 0.5"
    assert todo.conflicts == (Conflict("config.lr", "0.1", None, "0.5"),)


def test_a_changed_etag_is_a_conflict() -> None:
    todo = plan(entry(Patch(etag='"old"', fields=(("notes", "n"),))), make_run())

    assert isinstance(todo, Settle) and todo.state is WriteState.CONFLICT
    assert "etag" in todo.message


def test_a_write_that_may_have_arrived_is_not_hindered_by_its_own_effect() -> None:
    conflict = Conflict("config.lr", "0.05", "0.1", "0.2")
    patch = Patch(config=(Edit(("lr",), "0.1"),), etag='"before"')

    todo = plan(entry(patch, attempts=1, conflicts=(conflict,)), make_run())

    assert todo == Settle(WriteState.APPLIED, conflicts=(conflict,))


def test_a_write_that_was_overtaken_before_it_is_sent_again_reports_both_conflicts() -> None:
    earlier = Conflict("config.other", "1", "2", "3")

    todo = plan(entry(set_lr("0.2", base="0.05"), attempts=1, conflicts=(earlier,)), make_run())

    assert isinstance(todo, Send)
    assert [conflict.field for conflict in todo.conflicts] == ["config.other", "config.lr"]


def test_tags_in_another_order_are_not_sent_again() -> None:
    patch = Patch(tags_replace=("b", "a"))

    assert plan(entry(patch, attempts=1), make_run(tags=("a", "b"))) == Settle(WriteState.APPLIED)


def test_removing_all_tags_is_not_taken_for_done() -> None:
    todo = plan(entry(Patch(tags_replace=()), attempts=1), make_run(tags=("a",)))

    assert isinstance(todo, Send) and todo.change == RunChange(tags=())


def test_edits_that_undo_each_other_but_leave_a_trace_are_not_taken_for_done() -> None:
    patch = Patch(summary=(Edit(("made", "here"), "1"), Edit(("made", "here"), None)))

    assert plan(entry(patch, attempts=1), make_run()) == Send(RunChange(summary='{"acc":0.5,"made":{}}'), ())
    assert plan(entry(patch, attempts=1), make_run(summary={"made": {}})) == Settle(WriteState.APPLIED)


def test_another_run_of_that_name_is_not_touched() -> None:
    todo = plan(entry(set_lr("1"), storage_id="storage-before"), make_run())

    assert isinstance(todo, Settle) and todo.state is WriteState.FAILED
    assert "another run" in todo.message


def test_a_run_whose_documents_are_broken_is_an_invalid_answer() -> None:
    with pytest.raises(InvalidAnswer, match="not JSON"):
        plan(entry(set_lr("1")), make_run(config="{"))
    with pytest.raises(InvalidAnswer, match="not JSON"):
        outcome(entry(set_lr("1")), make_run(config="{"))


def test_what_the_server_keeps_otherwise_is_named() -> None:
    end = outcome(entry(set_lr("0.2")), make_run())

    assert end.state is WriteState.NOT_HONOURED
    assert end.message.endswith("config.lr is 0.1 instead of 0.2")
    assert end.not_honoured == (Conflict("config.lr", "0.1", "0.2"),)


@given(st.integers(1, 10**6), st.floats(0, 1), st.none() | st.floats(0, 10**9))
def test_pauses_grow_to_a_limit_and_honour_the_server(
    failures: int, chance: float, retry_after_s: float | None
) -> None:
    pause = pause_s(failures, chance, retry_after_s)

    assert 0 <= pause <= max(LONGEST_S, 3600)
    assert pause >= min(retry_after_s or 0, 3600)
    if retry_after_s is None:
        assert pause <= FIRST_S * 2 ** min(failures - 1, 20)


def test_the_longest_pause_is_reached() -> None:
    assert [pause_s(n, 1.0, None) for n in (1, 2, 3, 20)] == [0.5, 1.0, 2.0, 300.0]
