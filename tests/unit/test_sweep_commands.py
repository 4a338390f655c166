"""What agents are told: every case of the decision, and a model of agents that live, die and come back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runtap_local.faults import BadRequest
from runtap_local.sweeps.commands import (
    MAX_ATTEMPTS,
    Give,
    Order,
    Progress,
    Resume,
    Standing,
    State,
    Stop,
    Trial,
    changed_state,
    decide,
    standing,
)

GIVEN = Trial(
    pk=1,
    number=0,
    run_name="r0",
    agent_pk=1,
    attempts=1,
    run_state=None,
    appeared=False,
    acknowledged=False,
    listed=False,
    silent=False,
    heard_since=False,
)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, Standing.BUSY),  # just given
        ({"heard_since": True}, Standing.LOST),  # the answer never arrived
        ({"silent": True}, Standing.LOST),  # the agent died before it began
        ({"heard_since": True, "attempts": MAX_ATTEMPTS}, Standing.OVER),
        ({"listed": True, "acknowledged": True, "heard_since": True}, Standing.BUSY),  # it is about to begin
        ({"acknowledged": True, "heard_since": True}, Standing.OVER),  # it ran and told us nothing
        ({"acknowledged": True, "silent": True, "listed": True}, Standing.LOST),
        ({"run_state": "running", "appeared": True}, Standing.BUSY),
        ({"run_state": "pending", "appeared": True}, Standing.BUSY),
        ({"run_state": "running", "appeared": True, "silent": True}, Standing.BUSY),
        ({"run_state": "crashed", "appeared": True, "heard_since": True}, Standing.OVER),
        ({"run_state": "crashed", "appeared": True, "listed": True}, Standing.BUSY),
        ({"run_state": "crashed", "appeared": True, "silent": True, "listed": True}, Standing.LOST),
        ({"run_state": "crashed", "appeared": True, "silent": True, "attempts": 3}, Standing.OVER),
        ({"run_state": "preempted", "appeared": True, "heard_since": True}, Standing.PREEMPTED),
        ({"run_state": "preempted", "appeared": True, "silent": True}, Standing.PREEMPTED),
        ({"run_state": "preempted", "appeared": True}, Standing.BUSY),  # somebody was just told to resume it
        ({"run_state": "preempted", "appeared": True, "listed": True}, Standing.BUSY),
        ({"appeared": True, "heard_since": True}, Standing.LOST),  # deleted
        ({"appeared": True, "heard_since": True, "attempts": 9}, Standing.LOST),
        ({"appeared": True, "listed": True}, Standing.BUSY),  # deleted under its program
    ],
)
def test_how_a_trial_stands(facts: dict[str, Any], expected: Standing) -> None:
    assert standing(replace(GIVEN, **facts)) is expected


def progress(*trials: Trial, used: int | None = None, total: int | None = 4, **facts: Any) -> Progress:
    count = len(trials) if used is None else used
    facts = {"following": count, "repeats": True, **facts}
    return Progress(trials=trials, used=count, total=total, **facts)


BUSY = GIVEN
LOST = replace(GIVEN, heard_since=True)
OVER = replace(LOST, acknowledged=True)
DELETED = replace(LOST, appeared=True)
PREEMPTED = replace(LOST, appeared=True, run_state="preempted")


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING])
def test_an_idle_agent_gets_one_point(state: State) -> None:
    assert decide(state, [], progress()) == Give(0)
    assert decide(state, [], progress(used=3)) == Give(3)
    assert decide(state, [], progress(total=None, used=1000)) == Give(1000)


def test_what_got_lost_comes_first() -> None:
    assert decide(State.RUNNING, [], progress(BUSY, LOST)) == Give(LOST.number, LOST)
    assert decide(State.RUNNING, [], progress(LOST, PREEMPTED)) == Resume(PREEMPTED)
    assert decide(State.RUNNING, [], progress(LOST, used=4)) == Give(0, LOST)


def test_a_deleted_run_makes_room_for_its_own_point_or_for_a_new_one() -> None:
    assert decide(State.RUNNING, [], progress(DELETED, used=4, following=4)) == Give(0, DELETED)
    at_random = progress(DELETED, used=4, following=4, repeats=False)
    assert decide(State.RUNNING, [], at_random) == Give(4, DELETED)


def test_a_lowered_run_cap_is_kept() -> None:
    lowered = progress(LOST, used=5, total=4)
    assert decide(State.RUNNING, [], lowered) is Order.EXIT and lowered.is_done


def test_a_busy_agent_is_left_alone_unless_the_sweep_is_canceled() -> None:
    for state in (State.PENDING, State.RUNNING, State.PAUSED, State.FINISHED):
        assert decide(state, ["r0"], progress(LOST)) is Order.WAIT
    assert decide(State.CANCELED, ["b", "a"], progress()) == Stop(("a", "b"))


def test_an_idle_agent_waits_while_paused_and_leaves_what_is_over() -> None:
    assert decide(State.PAUSED, [], progress(LOST)) is Order.WAIT
    assert decide(State.FINISHED, [], progress(LOST)) is Order.EXIT
    assert decide(State.CANCELED, [], progress(LOST)) is Order.EXIT


def test_the_end_waits_for_those_still_at_work() -> None:
    waiting = progress(BUSY, OVER, used=4)
    assert decide(State.RUNNING, [], waiting) is Order.WAIT and not waiting.is_done
    done = progress(OVER, used=4)
    assert decide(State.RUNNING, [], done) is Order.EXIT and done.is_done
    assert not progress(used=3).is_done and not progress(used=3, total=None).is_done


@pytest.mark.parametrize(
    ("now", "text", "then"),
    [
        ("PENDING", "RUNNING", "RUNNING"),
        ("PENDING", "paused", "PAUSED"),
        ("RUNNING", "PAUSED", "PAUSED"),
        ("RUNNING", "FINISHED", "FINISHED"),
        ("RUNNING", "CANCELED", "CANCELED"),
        ("PAUSED", "RUNNING", "RUNNING"),
        ("PAUSED", "CANCELED", "CANCELED"),
        ("FINISHED", "RUNNING", "RUNNING"),
        ("CANCELED", "RUNNING", "RUNNING"),
        ("CANCELED", "CANCELED", "CANCELED"),
        ("PENDING", "PENDING", "PENDING"),
    ],
)
def test_states_that_can_be_had(now: str, text: str, then: str) -> None:
    assert changed_state(State(now), text) is State(then)


@pytest.mark.parametrize(
    ("now", "text"),
    [
        ("FINISHED", "PAUSED"),
        ("CANCELED", "FINISHED"),
        ("RUNNING", "PENDING"),
        ("RUNNING", "STOPPED"),
        ("RUNNING", ""),
    ],
)
def test_states_that_cannot(now: str, text: str) -> None:
    with pytest.raises(BadRequest, match=r"cannot become|unknown sweep state"):
        changed_state(State(now), text)
