"""Write-back from acceptance to the settled write, against a server in memory that fails where it is told to."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from runtapd.faults import (
    InvalidAnswer,
    RateLimited,
    UpstreamForbidden,
    UpstreamRefused,
    UpstreamTimeout,
)
from runtapd.journal import WriteState
from runtapd.model.patch import Edit, Expectation, Patch
from tests.support.memory_upstream import MemoryUpstream, Point
from tests.support.runs import make_run
from tests.support.writes_bench import AWAY, DEADLINE_S, PATH, bench, lr, lr_of

# Applied


def test_an_applied_write_takes_two_requests_and_ends_the_overlay(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            accepted = await b.submit(lr(0.2))
            assert accepted.state is WriteState.ACCEPTED
            assert list(b.journal.open_patches("acct", PATH)) == [lr(0.2)]

            entry = await b.writes.wait("acct", accepted.write_id, DEADLINE_S)

            assert entry.state is WriteState.APPLIED and entry.attempts == 1 and entry.message == ""
            assert b.server.requests == [f"read {PATH}", f"change {PATH}"]
            assert not b.journal.open_patches("acct", PATH)
            assert b.cache.told == [
                ("sending", "acct", PATH),
                ("sent", "acct", PATH),
                ("absorb", "acct", PATH),
            ]
            assert b.cache.absorbed == [b.server.runs_by_path[PATH]] and lr_of(b.server) == 0.2

    asyncio.run(scenario())


def test_other_keys_changed_meanwhile_are_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = MemoryUpstream(make_run(config={"lr": {"value": 0.1}, "theirs": {"value": 7}}))
        async with bench(tmp_path, server) as b:
            await b.settled(lr(0.2, base="0.1"))
            assert json.loads(server.runs_by_path[PATH].config)["theirs"] == {"value": 7}

    asyncio.run(scenario())


def test_a_write_that_changes_nothing_is_applied_without_sending(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            entry = await b.settled(lr(0.1))
            assert entry.state is WriteState.APPLIED and entry.attempts == 0
            assert b.server.requests == [f"read {PATH}"]
            assert b.cache.told == [("absorb", "acct", PATH)]

    asyncio.run(scenario())


def test_the_state_is_sending_on_disk_before_anything_is_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            b.server.gate.clear()
            entry = await b.submit(lr(0.2))
            await b.reaches(WriteState.SENDING)
            found = await b.journal._run(lambda: b.journal._store.by_write_id("acct", entry.write_id))
            assert found is not None and found.state is WriteState.SENDING and found.attempts == 1
            b.server.gate.set()

    asyncio.run(scenario())


def test_a_conflict_without_precondition_is_reported_and_mine_wins(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            entry = await b.settled(lr(0.2, base="0.05"))
            assert entry.state is WriteState.APPLIED
            assert [(c.field, c.theirs_json, c.mine_json) for c in entry.conflicts] == [
                ("config.lr", "0.1", "0.2")
            ]
            assert lr_of(b.server) == 0.2

    asyncio.run(scenario())


# Ended otherwise


def test_a_broken_precondition_sends_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            entry = await b.settled(lr(0.2, expect=(Expectation("config", ("lr",), "0.5"),)))
            assert entry.state is WriteState.CONFLICT
            assert b.server.requests == [f"read {PATH}"] and lr_of(b.server) == 0.1
            assert b.cache.absorbed == [b.server.runs_by_path[PATH]], "the look is not wasted"
            assert b.journal.pending_count() == 0

    asyncio.run(scenario())


def test_a_server_that_keeps_something_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            b.server.keeps = lambda run: replace(run, config=make_run().config)
            entry = await b.settled(lr(0.2))
            assert entry.state is WriteState.NOT_HONOURED
            assert [c.field for c in entry.not_honoured] == ["config.lr"]
            assert b.cache.absorbed == [b.server.runs_by_path[PATH]]

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", [UpstreamRefused("tags are too long"), UpstreamForbidden("not yours")])
@pytest.mark.parametrize("point", [Point.READ, Point.BEFORE_CHANGE])
def test_a_refusal_fails_the_write_with_the_servers_words(
    tmp_path: Path, point: Point, fault: Exception
) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            b.server.fail(point, fault)
            entry = await b.settled(lr(0.2))
            assert entry.state is WriteState.FAILED and entry.message == str(fault)
            assert (await b.settled(lr(0.3), "q2")).state is WriteState.APPLIED, "the next one is not held up"

    asyncio.run(scenario())


def test_a_run_that_is_not_there_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            entry = await b.settled(lr(0.2), run_id="none")
            assert entry.state is WriteState.FAILED and "no run team/vision/none" in entry.message

    asyncio.run(scenario())


# Trouble that passes


@pytest.mark.parametrize(
    "fault",
    [
        AWAY,
        UpstreamTimeout("too slow"),
        InvalidAnswer("HTML"),
        RateLimited("slow down", retry_after_s=0.01),
        ZeroDivisionError("a bug"),
    ],
)
@pytest.mark.parametrize("point", list(Point))
def test_passing_trouble_anywhere_ends_applied_and_sent_once(
    tmp_path: Path, point: Point, fault: BaseException
) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            b.server.fail(point, fault, fault)
            entry = await b.settled(lr(0.2, etag=make_run().etag()))
            assert entry.state is WriteState.APPLIED and lr_of(b.server) == 0.2
            assert len(b.server.changes) == 1, "an unknown outcome is read before anything is sent again"

    asyncio.run(scenario())


def test_a_write_in_trouble_says_what_it_waits_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, chance=1.0) as b:
            b.server.fail(Point.READ, *[AWAY] * 20)
            entry = await b.submit(lr(0.2))
            still = await b.writes.wait("acct", entry.write_id, 0.1)
            assert still.state is WriteState.ACCEPTED
            assert "cannot be reached; trying again in" in still.message
            listed = await b.journal.newest("acct", limit=5)
            assert listed == [still] == [await b.writes.get_by_request("acct", "q1")]

    asyncio.run(scenario())


def test_a_new_write_of_the_run_is_a_reason_to_try_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path, chance=1.0) as b:
            b.server.fail(Point.READ, *[AWAY] * 9)
            await b.submit(lr(0.2))
            while len(b.server.requests) < 2:
                await asyncio.sleep(0.002)
            b.server.heal()
            entry = await b.settled(lr(0.3), "q2")
            assert entry.state is WriteState.APPLIED and b.journal.pending_count() == 0

    asyncio.run(scenario())


def test_a_server_that_asked_to_wait_is_not_woken_by_new_writes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            b.server.fail(Point.READ, RateLimited("slow down", retry_after_s=600.0))
            first = await b.submit(lr(0.2))
            while not (await b.writes.get("acct", first.write_id)).message:
                await asyncio.sleep(0.002)
            await b.submit(lr(0.3), "q2")
            await b.writes.wait("acct", first.write_id, 0.05)
            assert len(b.server.requests) == 1

    asyncio.run(scenario())


def test_a_server_that_is_away_does_not_hold_up_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        away = MemoryUpstream(*[make_run(f"r{n}") for n in range(3)])
        away.gate.clear()
        async with bench(tmp_path, concurrency=2) as b:
            b.accounts.upstreams["other"] = away
            for number in range(3):
                await b.submit(lr(0.2), f"q{number}", run_id=f"r{number}", account_id="other")
            assert (await b.settled(lr(0.2))).state is WriteState.APPLIED

    asyncio.run(scenario())


def test_large_documents_are_merged_all_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = MemoryUpstream(make_run(summary={"bins": list(range(50_000))}))
        async with bench(tmp_path, server) as b:
            entry = await b.settled(Patch(summary=(Edit(("acc",), "1"),)))
            assert entry.state is WriteState.APPLIED
            summary = json.loads(server.runs_by_path[PATH].summary)
            assert summary["acc"] == 1 and len(summary["bins"]) == 50_000

    asyncio.run(scenario())


# Order


def test_writes_of_a_run_go_in_order_and_runs_side_by_side(tmp_path: Path) -> None:
    async def scenario() -> None:
        runs = [make_run(f"r{n}") for n in range(1, 7)]
        async with bench(tmp_path, MemoryUpstream(*runs), concurrency=3) as b:
            b.server.gate.clear()
            for number in range(1, 5):
                for run in runs:
                    await b.submit(lr(float(number)), f"q{number}-{run.run_id}", run_id=run.run_id)
            while b.server.most_at_once < 3:
                await asyncio.sleep(0.002)
            b.server.gate.set()
            pending, ended = await b.writes.wait_all("acct", None, DEADLINE_S)
            assert pending == 0 and {entry.state for entry in ended} == {WriteState.APPLIED}
            assert b.server.most_at_once == 3
            for run in runs:
                assert lr_of(b.server, run.path) == 4.0
            sent = [json.loads(change.config or "{}")["lr"]["value"] for change in b.server.changes]
            assert sorted(sent) == sorted([1.0, 2.0, 3.0, 4.0] * 6)

    asyncio.run(scenario())


def test_waiting_covers_what_was_accepted_before(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            b.server.gate.clear()
            await b.submit(lr(0.2))
            waiting = asyncio.create_task(b.writes.wait_all("acct", PATH, DEADLINE_S))
            await b.reaches(WriteState.SENDING)
            await b.submit(Patch(expect=(Expectation("tags", (), "[]"),)), "q2")
            assert (await b.writes.wait_all("acct", None, 0.01))[0] == 2
            assert await b.writes.wait_all("acct", "team/vision/r9", 0.0) == (0, [])
            b.server.gate.set()
            pending, ended = await waiting
            assert pending == 0 and [entry.request_id for entry in ended] == ["q1"]

    asyncio.run(scenario())


# Callers


def test_a_caller_that_leaves_does_not_take_its_write_along(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            calling = asyncio.create_task(b.submit(lr(0.2)))
            await asyncio.sleep(0)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            while lr_of(b.server) != 0.2:
                await asyncio.sleep(0.002)
            assert (await b.settled(lr(0.2))).state is WriteState.APPLIED
            assert len(b.server.changes) == 1

    asyncio.run(scenario())


def test_a_repeated_request_waits_for_the_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            first, second = await asyncio.gather(b.settled(lr(0.2)), b.settled(lr(0.2)))
            assert first == second and first.state is WriteState.APPLIED
            assert await b.settled(lr(0.2)) == first
            assert len(b.server.changes) == 1

    asyncio.run(scenario())


def test_a_full_disk_while_settling_is_only_a_pause(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            b.server.gate.clear()
            entry = await b.submit(Patch(fields=(("notes", "n"),)))
            await b.reaches(WriteState.SENDING)
            store = b.journal._store
            words = "x" * 50_000
            b.server.keeps = lambda run: replace(run, notes=words)
            await b.journal._run(lambda: store._db.execute("PRAGMA max_page_count = 1"))
            b.server.gate.set()
            while "the disk is full" not in (await b.writes.get("acct", entry.write_id)).message:
                await asyncio.sleep(0.002)
            await b.journal._run(lambda: store._db.execute("PRAGMA max_page_count = 100000"))
            settled = await b.writes.wait("acct", entry.write_id, DEADLINE_S)
            assert settled.state is WriteState.NOT_HONOURED

    asyncio.run(scenario())
