"""Stored histories when the disk fails, when the process is killed, and when there is too much of them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from runtapd.cache.disk import Disk
from runtapd.cache.quota import Quota
from runtapd.cache.records import RecordCache
from runtapd.cache.store import RecordStore
from runtapd.history.columns import rows_of
from runtapd.history.kept import Kept, Lost, Mark
from runtapd.history.store import HistoryStore
from runtapd.history.table import NONE, Rows
from tests.support.runs import make_run

T = TypeVar("T")
RUN = "storage-1"
MARK = Mark(5, 4, "2026-01-01T00:00:00Z", "running", 5, 1_000_000.0, settled=False)
MIB = 2**20
HOUR_S = 3600.0
NOISE = random.Random(7)


def rows(begin: int, end: int) -> Rows:
    return rows_of([{"_step": step, "loss": NOISE.random()} for step in range(begin, end)])


def steps(store: HistoryStore, kept: Kept) -> list[int]:
    """The steps of all rows, piece by piece."""
    found: list[int] = []
    while stretch := store.read(kept.storage_id, kept.generation, len(found), ["_step"]):
        found += stretch.steps.tolist()
    return found


class House:
    """One account's histories on disk, in lives one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1_000_000.0

    def live(self, what: Callable[[Disk[HistoryStore]], Awaitable[T]]) -> T:
        async def lived() -> T:
            disk = Disk(self.folder, HistoryStore, clock=lambda: self.now)
            try:
                return await what(disk)
            finally:
                await disk.close()

        return asyncio.run(lived())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "acct")


async def filled(disk: Disk[HistoryStore], name: str = RUN, mark: Mark = MARK, count: int = 10) -> Kept:
    """A history of one run."""

    def fill(store: HistoryStore) -> Kept | None:
        begun = store.begin(name, mark)
        return store.append(name, begun.generation, rows(0, count), mark)

    kept = await disk.read(fill, None)
    assert kept is not None
    return kept


def test_a_damaged_file_is_replaced_and_from_then_on_histories_are_kept_again(house: House) -> None:
    async def first(disk: Disk[HistoryStore]) -> None:
        await filled(disk, count=20_000)

    async def second(disk: Disk[HistoryStore]) -> list[int]:
        async def grow(kept: Kept | None) -> Kept | None:
            generation = kept.generation if kept else "none"
            return await disk.read(lambda store: store.append(RUN, generation, rows(0, 5), MARK), None)

        assert await grow(await disk.read(lambda store: store.kept(RUN), None)) is None
        kept = await filled(disk, count=3)
        return await disk.read(lambda store: steps(store, kept), [])

    house.live(first)
    file = house.folder / "history.db"
    content = bytearray(file.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    file.write_bytes(content)
    assert house.live(second) == [0, 1, 2]


def test_on_a_full_disk_nothing_is_kept_and_what_was_kept_stays(house: House) -> None:
    async def story(disk: Disk[HistoryStore]) -> list[int]:
        kept = await filled(disk)
        await disk.read(_refuse_writes, None)
        refused = await disk.read(
            lambda store: store.append(RUN, kept.generation, rows(10, 20), MARK), "refused"
        )
        assert refused == "refused"
        assert await disk.read(lambda store: store.kept(RUN), None) == kept
        return await disk.read(lambda store: steps(store, kept), [])

    assert house.live(story) == list(range(10))


def _refuse_writes(store: HistoryStore) -> None:
    store._db.execute("PRAGMA query_only = ON")


def test_a_lost_stretch_is_told_to_who_asked(house: House) -> None:
    async def story(disk: Disk[HistoryStore]) -> None:
        kept = await filled(disk)
        await disk.read(lambda store: store._db.execute("UPDATE blobs SET crc = 0"), None)
        with pytest.raises(Lost):
            await disk.read(lambda store: store.read(RUN, kept.generation, 0, None), None)
        assert await disk.read(lambda store: store.kept(RUN), None) == kept, "the file itself is fine"

    house.live(story)


KILLED_SCRIPT = """
import sys
from pathlib import Path
from runtapd.failpoints import arm
from runtapd.history import kept
from runtapd.history.store import HistoryStore
from tests.unit.test_history_disk import MARK, RUN, rows
kept.GROUP_ROWS = 1000
store = HistoryStore(Path(sys.argv[1]))
generation = store.begin(RUN, MARK).generation
for i in range(5):
    store.append(RUN, generation, rows(i * 300, i * 300 + 300), MARK)
arm(sys.argv[2])
store.append(RUN, generation, rows(1500, 4500), MARK)
"""


@pytest.mark.parametrize("point", ["history.appending", "history.merging"])
def test_killed_while_it_grows_a_history_is_as_it_was(tmp_path: Path, point: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_SCRIPT, str(tmp_path), point],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=Path(__file__).parents[2],
        env=os.environ,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    store = HistoryStore(tmp_path)
    kept = store.kept(RUN)
    assert kept is not None
    assert (kept.rows, kept.mark) == (1500, MARK)
    assert steps(store, kept) == list(range(1500))
    grown = store.append(RUN, kept.generation, rows(1500, 4500), replace(MARK, settled=True))
    assert grown is not None
    assert steps(store, grown) == list(range(4500))
    assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


# The limit


class Street:
    """Daemons' lives over one folder of accounts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1_000_000.0

    def live(self, what: Callable[[Quota], Awaitable[T]], limit: int = 100 * MIB) -> T:
        async def lived() -> T:
            quota = Quota(
                self.folder,
                limit,
                (RecordStore, HistoryStore),
                clock=lambda: self.now,
                unsent=lambda account: (),
            )
            try:
                return await what(quota)
            finally:
                await quota.close()

        return asyncio.run(lived())

    async def fill(self, quota: Quota, count: int, account: str = "a", of: int = 20_000) -> None:
        """Histories of 20,000 rows, about 160 KiB each, fetched an hour apart."""
        disk = quota.disk(account, HistoryStore)
        for i in range(count):
            self.now += HOUR_S
            await filled(disk, f"r{i:03}", replace(MARK, checked_at=self.now, settled=True), of)
            await settled(quota)

    def kept(self, account: str = "a") -> list[str]:
        """The histories in a file that is closed."""
        with sqlite3.connect(f"file:{self.folder / account / 'history.db'}?mode=ro", uri=True) as db:
            names = [name for (name,) in db.execute("SELECT storage_id FROM histories ORDER BY storage_id")]
            assert names == [name for (name,) in db.execute("SELECT name FROM uses ORDER BY name")]
            for table in ("keys", "pieces", "blobs"):
                strangers = f"SELECT count(*) FROM {table} WHERE run NOT IN (SELECT run FROM histories)"
                assert db.execute(strangers).fetchone() == (0,)
            assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,), "incremental"
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
        return names

    def bytes_on_disk(self) -> int:
        """What `du` would say."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file())


async def settled(quota: Quota) -> None:
    """Waits until all has been looked over after the last growth."""
    await asyncio.sleep(0)
    while quota._look is not None and not quota._look.done():
        await quota._look


@pytest.fixture
def street(tmp_path: Path) -> Street:
    return Street(tmp_path / "cache")


def test_over_the_limit_whole_histories_go_that_were_used_longest_ago(street: Street) -> None:
    async def story(quota: Quota) -> None:
        await street.fill(quota, 30)

    street.live(story, limit=2 * MIB)
    kept = street.kept()
    assert 5 <= len(kept) <= 15
    assert kept == [f"r{i:03}" for i in range(30 - len(kept), 30)]
    assert street.bytes_on_disk() < 3 * MIB


def test_a_use_keeps_a_history(street: Street) -> None:
    async def story(quota: Quota) -> None:
        await street.fill(quota, 10)
        street.now += HOUR_S
        quota.disk("a", HistoryStore).used(["r002"])
        await quota.prune("a", MIB, None)

    street.live(story)
    kept = street.kept()
    assert kept[0] == "r002"
    assert kept[1:] == [f"r{i:03}" for i in range(11 - len(kept), 10)]
    assert 2 < len(kept) < 7


def test_histories_and_runs_share_the_limit_and_the_older_go_first(street: Street) -> None:
    async def story(quota: Quota) -> tuple[int, int]:
        cache = RecordCache(
            quota.disk("a", RecordStore), app_url="https://x", memory_bytes=10, clock=lambda: street.now
        )
        await cache.absorb_page([make_run("old")], sent_at=street.now, generation=cache.generation)
        await street.fill(quota, 6)
        await cache.absorb_page([make_run("new")], sent_at=street.now, generation=cache.generation)
        before = await quota.sizes()
        assert before["a"] > 6 * 150 * 1024
        assert await quota.counts("a") == {"runs": 2, "histories": 6}
        await quota.prune("a", 600 * 1024, None)
        assert await cache.by_path("team/vision/old") is None
        assert await cache.by_path("team/vision/new") is not None
        counts = await quota.counts("a")
        return counts["runs"], (await quota.sizes())["a"]

    runs, size = street.live(story)
    assert runs == 1
    assert size <= 600 * 1024
    assert street.kept()[-1] == "r005"


def test_pruning_all_removes_the_files(street: Street) -> None:
    async def story(quota: Quota) -> int:
        await street.fill(quota, 2)
        freed = await quota.prune("", 0, None)
        assert await quota.sizes() == {}
        assert await quota.counts("a") == {}
        await street.fill(quota, 1)
        return freed

    assert street.live(story) > 300 * 1024
    assert street.kept() == ["r000"]
    assert not (street.folder / "a" / "records.db").exists(), "nobody asked for it"


def test_a_history_that_is_dropped_while_it_grows_is_gone_to_who_grows_it(street: Street) -> None:
    async def story(quota: Quota) -> Kept | None:
        disk = quota.disk("a", HistoryStore)
        kept = await filled(disk, count=20_000)
        await quota.prune("a", 1, None)
        assert await disk.read(lambda store: store.read(RUN, kept.generation, 0, None), NONE) is None
        return await disk.read(lambda store: store.append(RUN, kept.generation, rows(0, 1), MARK), kept)

    assert street.live(story) is None


def test_what_is_read_counts_as_used_and_what_is_being_fetched_too(street: Street) -> None:
    async def story(quota: Quota) -> None:
        await street.fill(quota, 3, of=1000)
        disk = quota.disk("a", HistoryStore)
        street.now += HOUR_S
        disk.used(["r000"])
        await filled(disk, "growing", replace(MARK, checked_at=0), 10)
        await quota.prune("", 0, street.now)

    street.live(story)
    assert street.kept() == ["growing", "r000"]


FULL_SCRIPT = """
import asyncio, os, resource, signal, sys
from pathlib import Path
from runtapd.cache.disk import Disk
from runtapd.history.store import HistoryStore
from tests.unit.test_history_disk import MARK, RUN, filled, rows, steps
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def main():
    disk = Disk(Path(sys.argv[1]), HistoryStore, clock=lambda: 2e6)
    kept = await filled(disk, count=20_000)
    grow = lambda store: store.append(RUN, kept.generation, rows(20_000, 90_000), MARK)
    for limit in (4096, 300_000, resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        grown = await disk.read(grow, None)
        print(grown.rows if grown else "refused")
        found = await disk.read(lambda store: steps(store, kept), [])
        print(found == list(range(90_000 if grown else 20_000)))
    await disk.close()

asyncio.run(main())
"""


def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=Path(__file__).parents[2],
        env=os.environ,
    )
    assert done.stdout.split() == ["refused", "True", "refused", "True", "90000", "True"], done.stderr
