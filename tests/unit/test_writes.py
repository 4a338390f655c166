"""Write-back from acceptance to the settled write, against a server in memory that fails where it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from runtapd.faults import (
    Draining,
    InvalidAnswer,
    NeedsLogin,
    RateLimited,
    UpstreamForbidden,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from runtapd.journal import Entry, Journal, NewWrite, WriteState
from runtapd.model.patch import Edit, Expectation, Patch
from runtapd.model.run import RunData
from runtapd.writes import Writes
from tests.support.memory_upstream import MemoryAccounts, MemoryUpstream, Point, SeenByCache
from tests.support.runs import make_run

PATH = "team/vision/r1"
AWAY = UpstreamUnavailable("http://server cannot be reached")
DEADLINE_S = 10.0


@dataclass
class Bench:
    """Write-back with everything around it in memory but the journal."""

    journal: Journal
    writes: Writes
    server: MemoryUpstream
    accounts: MemoryAccounts
    cache: SeenByCache

    async def submit(self, patch: Patch, request_id: str = "q1", **fields: Any) -> Entry:
        return await self.writes.submit(new(patch, request_id, **fields))

    async def settled(self, patch: Patch, request_id: str = "q1", **fields: Any) -> Entry:
        entry = await self.submit(patch, request_id, **fields)
        return await self.writes.wait(entry.account_id, entry.write_id, DEADLINE_S)

    async def reaches(self, *states: WriteState) -> None:
        """Waits until the open writes are in these states."""
        async with asyncio.timeout(DEADLINE_S):
            while [entry.state for entry in self.journal.open_entries()] != list(states):
                await asyncio.sleep(0.002)


@asynccontextmanager
async def bench(
    folder: Path,
    server: MemoryUpstream | None = None,
    *,
    keyless: bool = False,
    chance: float = 0.0,
    concurrency: int = 4,
) -> AsyncIterator[Bench]:
    """Zero `chance` makes every pause empty."""
    server = server or MemoryUpstream(make_run())
    accounts = MemoryAccounts(acct=server, other=server)
    accounts.keyless = {"acct"} if keyless else set()
    cache = SeenByCache()
    numbers = count(1)
    journal = Journal(
        folder / "journal.db", clock=lambda: 1000.0, new_id=lambda: f"{id(numbers)}-{next(numbers)}"
    )
    await journal.open()
    writes = Writes(journal, accounts, cache, chance=lambda: chance, concurrency=concurrency)
    writes.start()
    try:
        yield Bench(journal, writes, server, accounts, cache)
    finally:
        await writes.close(0.0)
        await journal.close()


def new(patch: Patch, request_id: str = "q1", run_id: str = "r1", account_id: str = "acct") -> NewWrite:
    return NewWrite(
        account_id=account_id,
        request_id=request_id,
        entity="team",
        project="vision",
        run_id=run_id,
        patch=patch,
    )


def lr(value: float, base: str | None = None, **options: Any) -> Patch:
    return Patch(config=(Edit(("lr",), json.dumps(value), base),), **options)


def lr_of(server: MemoryUpstream, path: str = PATH) -> float:
    value: float = json.loads(server.runs_by_path[path].config)["lr"]["value"]
    return value


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
            assert b.cache.told == [("bump", "acct", PATH), ("bump", "acct", PATH), ("absorb", "acct", PATH)]
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
