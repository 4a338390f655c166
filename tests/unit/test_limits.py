"""The ledger of open calls: who has what open, and when that is too much."""

from __future__ import annotations

import pytest

from runtapd.faults import Busy
from runtapd.limits import SEEN_RECENTLY_S, Ledger


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _ledger(clock: Clock | None = None, calls: int = 3, streams: int = 2) -> Ledger:
    return Ledger(max_open_calls_per_client=calls, max_streams_per_client=streams, clock=clock or Clock())


def test_calls_are_counted_per_client() -> None:
    ledger = _ledger()
    one = ledger.enter("a", "m", streaming=False)
    ledger.enter("b", "m", streaming=True)
    ledger.leave(one, failed=True)
    assert [(c.name, len(c.calls), c.streams, c.calls_total) for c in ledger.clients()] == [
        ("a", 0, 0, 1),
        ("b", 1, 1, 0),
    ]
    assert (ledger.calls_total, ledger.calls_failed) == (1, 1)


def test_too_many_calls_are_refused_and_others_are_not() -> None:
    ledger = _ledger()
    calls = [ledger.enter("a", "m", streaming=False) for _ in range(3)]
    with pytest.raises(Busy) as busy:
        ledger.enter("a", "m", streaming=False)
    assert busy.value.retry_after_s
    assert busy.value.metadata == {"client": "a", "limit": "3", "kind": "calls"}
    ledger.enter("b", "m", streaming=False)
    ledger.leave(calls[0], failed=False)
    ledger.enter("a", "m", streaming=False)


def test_streams_have_a_limit_of_their_own() -> None:
    ledger = _ledger()
    for _ in range(2):
        ledger.enter("a", "m", streaming=True)
    with pytest.raises(Busy) as busy:
        ledger.enter("a", "m", streaming=True)
    assert busy.value.metadata["kind"] == "streams"
    ledger.enter("a", "m", streaming=False)


def test_a_refused_call_leaves_no_trace() -> None:
    ledger = _ledger(calls=1)
    ledger.enter("a", "m", streaming=False)
    with pytest.raises(Busy):
        ledger.enter("a", "m", streaming=False)
    assert len(ledger.open_calls()) == 1


def test_clients_without_a_name_share_one() -> None:
    ledger = _ledger()
    ledger.enter("", "m", streaming=False)
    assert [client.name for client in ledger.clients()] == ["unnamed"]


def test_a_client_is_forgotten_a_minute_after_its_last_call() -> None:
    clock = Clock()
    ledger = _ledger(clock)
    ledger.leave(ledger.enter("gone", "m", streaming=False), failed=False)
    open_call = ledger.enter("there", "m", streaming=False)
    clock.now += SEEN_RECENTLY_S + 1
    assert [client.name for client in ledger.clients()] == ["there"]
    ledger.leave(open_call, failed=False)
    assert [client.name for client in ledger.clients()] == ["there"]


def test_clients_with_ever_new_names_do_not_pile_up() -> None:
    clock = Clock()
    ledger = _ledger(clock)
    for number in range(1000):
        clock.now += 1
        ledger.leave(ledger.enter(f"c{number}", "m", streaming=False), failed=False)
    assert len(ledger._clients) <= 2 * SEEN_RECENTLY_S + 1


def test_use_is_what_counts_not_looking_on() -> None:
    clock = Clock()
    ledger = _ledger(clock)
    before = ledger.last_use
    clock.now += 5
    look = ledger.enter("a", "GetStatus", streaming=False, passive=True)
    assert not ledger.in_use()
    ledger.leave(look, failed=False)
    assert ledger.last_use == before
    call = ledger.enter("a", "GetRun", streaming=False)
    assert ledger.in_use()
    clock.now += 5
    ledger.leave(call, failed=False)
    assert ledger.last_use == clock.now


def test_an_attachment_lasts_as_long_as_its_block() -> None:
    ledger = _ledger()
    ledger.enter("a", "Attach", streaming=True)
    with ledger.attachment("a"):
        assert [client.attachments for client in ledger.clients()] == [1]
        ledger.enter("a", "Shutdown", streaming=False)
        assert ledger.others_than("a") == 0
        ledger.enter("b", "GetRun", streaming=False)
        assert ledger.others_than("a") == 1
    assert ledger.clients()[0].attachments == 0
