"""The journal: what is committed before it is acknowledged, what survives, and what is in memory."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path

import pytest

from runtapd.faults import DiskFull, Fault, RequestIdReused
from runtapd.journal import Entry, Journal, NewWrite, WriteState, store
from runtapd.model.patch import Conflict, Edit, Patch


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


NUMBERS = count(1)


def new_id() -> str:
    return f"w{next(NUMBERS)}"


def new(request_id: str = "q1", *, run_id: str = "r1", account_id: str = "acct", lr: str = "1") -> NewWrite:
    return NewWrite(
        account_id=account_id,
        request_id=request_id,
        entity="team",
        project="vision",
        run_id=run_id,
        patch=Patch(config=(Edit(("lr",), lr),)),
        key_source="netrc",
    )


@asynccontextmanager
async def opened(path: Path, clock: Clock | None = None) -> AsyncIterator[Journal]:
    journal = Journal(path, clock=clock or Clock(), new_id=new_id)
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


def on_disk(path: Path) -> list[tuple[str, int, int]]:
    """Request id, state and attempts of all entries, read by another connection."""
    with closing(sqlite3.connect(path)) as db:
        return list(db.execute("SELECT request_id, state, attempts FROM writes ORDER BY seq"))


def test_what_was_appended_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def scenario() -> None:
        async with opened(path) as journal:
            first, is_new = await journal.append(new("q1"))
            second, _ = await journal.append(new("q2", run_id="r2"))
            assert is_new and first.seq < second.seq
            assert first.state is WriteState.ACCEPTED and first.accepted_at == Clock().now
        async with opened(path) as journal:
            assert journal.open_entries() == [first, second]
            assert list(journal.open_patches("acct", "team/vision/r1")) == [first.patch]
            assert list(journal.open_patches("other", "team/vision/r1")) == []
            assert journal.head("acct", "team/vision/r2") == second

    asyncio.run(scenario())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_life_of_a_write_as_the_disk_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    conflict = Conflict("config.lr", "3", "1", "2")

    async def scenario() -> Entry:
        async with opened(path) as journal:
            entry, _ = await journal.append(new())
            entry = await journal.mark_sending(entry, (conflict,))
            assert entry.state is WriteState.SENDING
        async with opened(path) as journal:
            # A restart knows that it may have been sent, and what it was about to overwrite.
            assert journal.open_entries() == [entry]
            assert entry.attempts == 1 and entry.conflicts == (conflict,)
            settled = await journal.settle(
                entry, WriteState.NOT_HONOURED, message="kept \ud83d", not_honoured=(conflict,)
            )
            assert list(journal.open_patches("acct", entry.path)) == [entry.patch], "until it is released"
            journal.release(entry.write_id)
            assert not journal.open_patches("acct", entry.path) and not journal.open_entries()
            found = await journal.by_request_id("acct", "q1")
            assert found is not None and found.message == "kept ?"
            assert found.not_honoured == (conflict,) and found.settled_at == settled.settled_at
            assert await journal.by_write_id("other", entry.write_id) is None
        return settled

    asyncio.run(scenario())
    assert on_disk(path) == [("q1", WriteState.NOT_HONOURED, 1)]


def test_a_repeated_request_is_the_first_write_as_it_is_now(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "journal.db") as journal:
            (first, is_new), (again, is_new_again) = await asyncio.gather(
                journal.append(new()), journal.append(new())
            )
            assert (is_new, is_new_again) == (True, False) and again == first
            other, is_new = await journal.append(new(account_id="other"))
            assert is_new and other.write_id != first.write_id
            sending = await journal.mark_sending(first, ())
            assert await journal.append(new()) == (sending, False)
            settled = await journal.settle(sending, WriteState.APPLIED)
            journal.release(first.write_id)
            assert await journal.append(new()) == (settled, False)
            for changed in (new(lr="2"), new(run_id="r2")):
                with pytest.raises(RequestIdReused, match="q1") as caught:
                    await journal.append(changed)
                assert caught.value.field == "request_id"
            assert journal.pending_count() == 1

    asyncio.run(scenario())


def test_settled_writes_are_forgotten_after_seven_days(tmp_path: Path) -> None:
    clock = Clock()

    async def scenario() -> None:
        async with opened(tmp_path / "journal.db", clock) as journal:
            old, _ = await journal.append(new("settled"))
            await journal.settle(old, WriteState.APPLIED)
            journal.release(old.write_id)
            await journal.append(new("open"))
            clock.now += 7 * 86400 - 1
            await journal.append(new("later"))
            assert await journal.by_request_id("acct", "settled")
            clock.now += 3601
            last, _ = await journal.append(new("last"))
            assert await journal.by_request_id("acct", "settled") is None
            assert await journal.by_request_id("acct", "open")
            again, is_new = await journal.append(new("settled", lr="2"))
            assert is_new and again.seq > last.seq

    asyncio.run(scenario())


def test_when_writes_last_ended_survives_a_restart(tmp_path: Path) -> None:
    clock = Clock()

    async def scenario() -> None:
        async with opened(tmp_path / "journal.db", clock) as journal:
            for number in range(2):
                clock.now += 1
                entry, _ = await journal.append(new(f"q{number}"))
                await journal.settle(entry, WriteState.FAILED)
                journal.release(entry.write_id)
            await journal.append(new("open", account_id="other"))
            assert (journal.last_settled_at("acct"), journal.last_settled_at("other")) == (clock.now, 0.0)
        async with opened(tmp_path / "journal.db", clock) as journal:
            assert (journal.last_settled_at("acct"), journal.last_settled_at("other")) == (clock.now, 0.0)

    asyncio.run(scenario())


def test_counts_and_blocking(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "journal.db") as journal:
            first, _ = await journal.append(new("q1"))
            await journal.append(new("q2"))
            await journal.append(new("q3", account_id="other", run_id="r9"))
            await journal.mark_sending(first, ())
            journal.note(first.write_id, "the server is away")
            journal.block("acct", "no key")
            counts = journal.pending_count(), journal.pending_count("acct"), journal.blocked_count()
            assert counts == (3, 2, 2)
            assert (journal.sendable_count(), journal.sendable_count("acct")) == (1, 0)
            assert journal.pending_count("acct", "team/vision/r1") == 2
            assert journal.pending_count("acct", "team/vision/r9") == 0
            assert {entry.message for entry in journal.open_entries("acct")} == {"no key"}
            journal.unblock("acct")
            states = [entry.state for entry in journal.open_entries("acct")]
            assert states == [WriteState.SENDING, WriteState.ACCEPTED]

    asyncio.run(scenario())


def test_listing_newest_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "journal.db") as journal:
            for number in range(6):
                entry, _ = await journal.append(new(f"q{number}", run_id=f"r{number % 2}"))
                if number < 4:
                    state = WriteState.APPLIED if number < 2 else WriteState.FAILED
                    await journal.settle(entry, state)
                    journal.release(entry.write_id)
            await journal.append(new("other", account_id="other"))

            async def names(**query: object) -> list[str]:
                found = await journal.newest("acct", **{"limit": 10, **query})  # type: ignore[arg-type]
                return [entry.request_id for entry in found]

            assert await names() == ["q5", "q4", "q3", "q2", "q1", "q0"]
            assert await names(limit=3) == ["q5", "q4", "q3"]
            assert await names(path=("team", "vision", "r1")) == ["q5", "q3", "q1"]
            assert await names(states=[WriteState.ACCEPTED, WriteState.FAILED]) == ["q5", "q4", "q3", "q2"]
            third = await journal.by_request_id("acct", "q3")
            assert third is not None
            assert await names(before_seq=third.seq, limit=2) == ["q2", "q1"]
            journal.block("acct", "no key")
            assert await names(states=[WriteState.BLOCKED_AUTH]) == ["q5", "q4"]

    asyncio.run(scenario())


# Files that cannot be used


def test_a_full_disk_records_nothing_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def scenario() -> None:
        async with opened(path) as journal:
            await journal.append(new("small"))
            await journal._run(lambda: journal._store._db.execute("PRAGMA max_page_count = 1"))
            with pytest.raises(DiskFull, match=r"journal\.db.*make room"):
                await journal.append(new("large", lr='"' + "x" * 100_000 + '"'))
            assert journal.pending_count() == 1
            await journal._run(lambda: journal._store._db.execute("PRAGMA max_page_count = 1000000"))
            await journal.append(new("after"))

    asyncio.run(scenario())
    assert [request_id for request_id, *_ in on_disk(path)] == ["small", "after"]


FILE_SIZE_SCRIPT = """
import asyncio, resource, sys
from pathlib import Path
from runtapd.faults import DiskFull
from runtapd.journal import Journal, NewWrite
from runtapd.model.patch import Patch

def new(request_id, notes):
    return NewWrite(account_id="a", request_id=request_id, entity="e", project="p", run_id="r",
                    patch=Patch(fields=(("notes", notes),)))

async def main():
    journal = Journal(Path(sys.argv[1]), clock=lambda: 0.0, new_id=iter("xyz").__next__)
    await journal.open()
    await journal.append(new("first", ""))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        await journal.append(new("second", "x" * 1_000_000))
    except DiskFull:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await journal.append(new("third", ""))
        print([entry.request_id for entry in journal.open_entries()])
    await journal.close()

asyncio.run(main())
"""


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    done = subprocess.run(
        [sys.executable, "-c", FILE_SIZE_SCRIPT, str(path)], capture_output=True, text=True, timeout=30
    )

    assert done.stdout == "['first', 'third']\n", done.stderr
    assert [request_id for request_id, *_ in on_disk(path)] == ["first", "third"]


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def write() -> None:
        async with opened(path) as journal:
            await journal.append(new())

    async def open_again() -> None:
        await Journal(path, clock=Clock(), new_id=new_id).open()

    asyncio.run(write())
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(Fault, match=r"format 99.*newer"):
        asyncio.run(open_again())
    assert len(on_disk(path)) == 1


def test_a_journal_of_an_older_version_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"

    async def write() -> None:
        async with opened(path) as journal:
            await journal.append(new())

    async def read() -> None:
        async with opened(path) as journal:
            assert journal.pending_count() == 1

    asyncio.run(write())
    added = ("ALTER TABLE writes ADD COLUMN later TEXT NOT NULL DEFAULT 'made'",)
    monkeypatch.setattr(store, "MIGRATIONS", (*store.MIGRATIONS, added))
    asyncio.run(read())
    asyncio.run(read())
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT later FROM writes").fetchall() == [("made",)]


def test_a_damaged_journal_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"this is no database" * 100)

    with pytest.raises(Fault, match="move it away"):
        asyncio.run(Journal(path, clock=Clock(), new_id=new_id).open())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="cannot be opened: No such file"):
        asyncio.run(Journal(tmp_path / "none" / "journal.db", clock=Clock(), new_id=new_id).open())


def test_one_daemon_only(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def scenario() -> None:
        async with opened(path) as journal:
            await journal.append(new())
            with pytest.raises(Fault, match="another daemon"):
                await Journal(path, clock=Clock(), new_id=new_id).open()
            await journal.append(new("q2"))

    asyncio.run(scenario())


def test_an_acknowledged_write_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    script = FILE_SIZE_SCRIPT.split("async def main")[0] + (
        "from runtapd import failpoints\n"
        "async def main():\n"
        "    journal = Journal(Path(sys.argv[1]), clock=lambda: 0.0, new_id=iter('xyz').__next__)\n"
        "    await journal.open()\n"
        "    await journal.append(new('acknowledged', ''))\n"
        "    failpoints.arm('journal.committed')\n"
        "    await journal.append(new('committed', ''))\n"
        "asyncio.run(main())\n"
    )

    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, timeout=30)

    assert done.returncode == -9, done.stderr
    assert [request_id for request_id, *_ in on_disk(path)] == ["acknowledged", "committed"]
