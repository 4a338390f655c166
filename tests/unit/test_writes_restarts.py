"""Writes across refused keys, restarts and the end of the daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtapd.faults import Draining, NeedsLogin
from runtapd.journal import WriteState
from runtapd.model.run import RunData
from tests.support.memory_upstream import MemoryUpstream, Point
from tests.support.runs import make_run
from tests.support.writes_bench import AWAY, DEADLINE_S, PATH, bench, lr, lr_of

# Keys


def test_a_refused_key_blocks_the_account_until_somebody_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        runs = [make_run("r1"), make_run("r2"), make_run("r3")]
        async with bench(tmp_path, MemoryUpstream(*runs)) as b:
            b.server.fail(Point.READ, NeedsLogin("the key was refused", reason="API_KEY_REJECTED"))
            entry = await b.settled(lr(0.2))
            assert entry.state is WriteState.BLOCKED_AUTH and "the key was refused" in entry.message
            assert (b.journal.blocked_count("acct"), b.journal.sendable_count()) == (1, 0)
            assert list(b.journal.open_patches("acct", PATH)), "reads still show it"
            assert (await b.settled(lr(0.9), account_id="other", run_id="r2")).state is WriteState.APPLIED

            b.writes.unblock("acct")
            assert (await b.writes.wait_all("acct", None, DEADLINE_S))[0] == 0
            assert lr_of(b.server) == 0.2

    asyncio.run(scenario())


def test_a_key_refused_in_the_middle_does_not_forget_that_it_may_have_arrived(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            b.server.fail(Point.AFTER_CHANGE, AWAY)

            def key_ends(run: RunData) -> RunData:
                b.accounts.keyless.add("acct")
                return run

            b.server.keeps = key_ends
            entry = await b.settled(lr(0.2))
            assert entry.state is WriteState.BLOCKED_AUTH and entry.attempts == 1
            b.accounts.keyless.clear()
            b.writes.unblock("acct")
            assert (await b.writes.wait("acct", entry.write_id, DEADLINE_S)).state is WriteState.APPLIED
            assert len(b.server.changes) == 1

    asyncio.run(scenario())


def test_a_login_while_the_old_key_is_refused_is_not_missed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            b.server.gate.clear()
            b.server.fail(Point.BEFORE_CHANGE, NeedsLogin("the old key was refused"))
            entry = await b.submit(lr(0.2))
            await b.reaches(WriteState.SENDING)
            b.writes.unblock("acct")
            b.server.gate.set()
            assert (await b.writes.wait("acct", entry.write_id, DEADLINE_S)).state is WriteState.APPLIED

    asyncio.run(scenario())


# Restarts


def test_after_a_restart_open_writes_are_sent_without_a_caller(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = MemoryUpstream(make_run())
        server.fail(Point.READ, *[AWAY] * 99)
        async with bench(tmp_path, server, chance=1.0) as b:
            await b.submit(lr(0.2))
            await b.submit(lr(0.3), "q2")
        server.heal()
        async with bench(tmp_path, server) as b:
            assert (await b.writes.wait_all("acct", None, DEADLINE_S))[0] == 0
            assert lr_of(server) == 0.3 and len(server.changes) == 2

    asyncio.run(scenario())


def test_after_a_restart_without_the_key_writes_wait_for_their_owner(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = MemoryUpstream(make_run())
        server.fail(Point.READ, *[AWAY] * 99)
        async with bench(tmp_path, server, chance=1.0) as b:
            await b.submit(lr(0.2))
        server.heal()
        async with bench(tmp_path, server, keyless=True) as b:
            await b.reaches(WriteState.BLOCKED_AUTH)
            b.accounts.keyless.clear()
            entry = await b.settled(lr(0.3), "q2")
            assert entry.state is WriteState.APPLIED, "a new write is a client of this account"
            assert len(server.changes) == 2

    asyncio.run(scenario())


def test_a_write_cut_off_while_sending_is_not_sent_twice(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = MemoryUpstream(make_run())
        server.fail(Point.AFTER_CHANGE, AWAY)
        async with bench(tmp_path, server, chance=1.0) as b:
            entry = await b.submit(lr(0.2, base="0.05"))
            while not server.changes:
                await asyncio.sleep(0.002)
        async with bench(tmp_path, server) as b:
            entry = await b.writes.wait("acct", entry.write_id, DEADLINE_S)
            assert entry.state is WriteState.APPLIED and len(server.changes) == 1
            assert [c.field for c in entry.conflicts] == ["config.lr"], (
                "told although the first answer was lost"
            )

    asyncio.run(scenario())


def test_closing_lets_what_is_under_way_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            b.server.gate.clear()
            entry = await b.submit(lr(0.2))
            await b.submit(lr(0.3), "q2")
            await b.reaches(WriteState.SENDING, WriteState.ACCEPTED)
            closing = asyncio.create_task(b.writes.close(DEADLINE_S))
            await asyncio.sleep(0)
            with pytest.raises(Draining):
                await b.submit(lr(0.4), "q3")
            b.server.gate.set()
            await closing
            assert (await b.writes.get("acct", entry.write_id)).state is WriteState.APPLIED
            assert [open_entry.request_id for open_entry in b.journal.open_entries()] == ["q2"]

    asyncio.run(scenario())


def test_closing_cuts_off_what_takes_too_long(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            b.server.gate.clear()
            entry = await b.submit(lr(0.2))
            waiting = asyncio.create_task(b.writes.wait("acct", entry.write_id, DEADLINE_S))
            await b.reaches(WriteState.SENDING)
            await b.writes.close(0.01)
            assert (await waiting).state is WriteState.SENDING

    asyncio.run(scenario())
