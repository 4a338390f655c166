"""The caches of all accounts stay within their limit, on real files, and the disk gets its space back."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from runtapd import faults
from runtapd.cache.quota import Quota
from runtapd.cache.records import RecordCache
from runtapd.cache.store import RecordStore, StoredAnswer
from runtapd.history.store import HistoryStore
from runtapd.model.run import RunData
from tests.support.runs import make_run

T = TypeVar("T")
MIB = 2**20
HOUR_S = 3600.0
ALL = 100 * MIB
"""A limit that nothing here reaches."""
NOISE = random.Random(7)


class House:
    """Daemons' lives over one folder of caches, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1_000_000.0
        self.unsent: list[tuple[str, str, str]] = []

    def live(self, what: Callable[[Quota], Awaitable[T]], limit: int = ALL) -> T:
        async def lived() -> T:
            quota = Quota(
                self.folder,
                limit,
                (RecordStore, HistoryStore),
                clock=lambda: self.now,
                unsent=lambda account: tuple(self.unsent),
            )
            try:
                return await what(quota)
            finally:
                await quota.close()

        return asyncio.run(lived())

    def cache(self, quota: Quota, account: str = "a") -> RecordCache:
        """One account's cache that holds nothing in memory."""
        return RecordCache(
            quota.disk(account, RecordStore), app_url="https://x", memory_bytes=10, clock=lambda: self.now
        )

    async def fill(self, cache: RecordCache, *runs: RunData) -> None:
        """Takes in runs as if just fetched."""
        await cache.absorb_page(runs, sent_at=self.now, generation=cache.generation)

    def bytes_on_disk(self, account: str = "a") -> int:
        """What `du` would say."""
        return sum(path.stat().st_blocks * 512 for path in (self.folder / account).iterdir())

    def kept(self, account: str = "a") -> list[str]:
        """The runs in a file that is closed."""
        with sqlite3.connect(f"file:{self.folder / account / 'records.db'}?mode=ro", uri=True) as db:
            names = db.execute("SELECT run_id FROM records ORDER BY run_id").fetchall()
            uses = db.execute("SELECT name FROM uses ORDER BY name").fetchall()
            known = db.execute("SELECT storage_id FROM records UNION SELECT key FROM answers ORDER BY 1")
            assert uses == known.fetchall(), "each thing has one use"
            strangers = (
                "SELECT count(*) FROM documents WHERE storage_id NOT IN (SELECT storage_id FROM records)"
            )
            assert db.execute(strangers).fetchone() == (0,)
            assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,), "incremental"
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
        return [name for (name,) in names]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "cache")


def a_run(number: int, kib: int = 64) -> RunData:
    """A run whose summary takes so much."""
    return make_run(f"r{number:03}", summary=json.dumps({"x": NOISE.randbytes(kib * 512).hex()}))


async def settled(quota: Quota) -> None:
    """Waits until the cache has been looked over after the last write."""
    for disk in quota._disks.values():
        await disk.read(lambda store: None, None)
    await asyncio.sleep(0)
    while quota._look is not None and not quota._look.done():
        await quota._look


async def filled_hourly(
    house: House, quota: Quota, count: int, account: str = "a", kib: int = 64
) -> RecordCache:
    """Fills a cache with runs fetched an hour apart."""
    cache = house.cache(quota, account)
    for i in range(count):
        house.now += HOUR_S
        await house.fill(cache, a_run(i, kib))
    await settled(quota)
    return cache


def test_over_the_limit_what_was_used_longest_ago_goes(house: House) -> None:
    async def story(quota: Quota) -> None:
        cache = await filled_hourly(house, quota, 10)
        house.now += HOUR_S
        assert await cache.by_path("team/vision/r000") is not None, "used again"
        assert await cache.by_ids(["storage-r001"])
        for i in range(10, 60):
            house.now += HOUR_S
            await house.fill(cache, a_run(i))
            await settled(quota)
            assert await cache.by_path("team/vision/r000") is not None
            assert house.bytes_on_disk() < 3 * MIB + MIB // 2

    house.live(story, limit=2 * MIB)
    kept = house.kept()
    assert kept[0] == "r000"
    assert kept[1:] == [f"r{i:03}" for i in range(61 - len(kept), 60)]
    assert 15 < len(kept) < 40


def test_the_account_that_has_most_gives_way(house: House) -> None:
    async def story(quota: Quota) -> None:
        await filled_hourly(house, quota, 5, "small")
        await filled_hourly(house, quota, 80, "large")

    house.live(story, limit=2 * MIB)
    assert len(house.kept("small")) == 5, "although its runs are older"
    assert 10 < len(house.kept("large")) < 40


def test_accounts_that_are_not_in_use_count_and_give_way(house: House) -> None:
    async def first(quota: Quota) -> None:
        await filled_hourly(house, quota, 100, "former")

    async def second(quota: Quota) -> None:
        await filled_hourly(house, quota, 8, "now")

    house.live(first)
    former = house.bytes_on_disk("former")
    house.live(second, limit=4 * MIB)
    assert house.bytes_on_disk("former") < former - 2 * MIB
    assert len(house.kept("now")) == 8
    assert house.kept("former")[-1] == "r099"


def test_a_sweep_is_told_once(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def story(quota: Quota) -> None:
        cache = house.cache(quota)
        await house.fill(cache, *(a_run(i) for i in range(60)))
        await settled(quota)

    with caplog.at_level("INFO", "runtapd.cache"):
        house.live(story, limit=2 * MIB)
    (record,) = caplog.records
    assert record.getMessage() == "the cache was over its limit"
    assert record.__dict__["runs_dropped"] > 10
    assert record.__dict__["bytes_freed"] > MIB


def test_large_documents_go_with_their_runs(house: House) -> None:
    async def story(quota: Quota) -> int:
        await filled_hourly(house, quota, 4, kib=3000)
        assert house.bytes_on_disk() > 11 * MIB
        return await quota.prune("a", 4 * MIB, None)

    assert house.live(story) > 7 * MIB
    assert house.kept() == ["r003"]
    assert house.bytes_on_disk() < 4 * MIB


def test_reads_have_their_turn_while_much_is_dropped(house: House) -> None:
    async def story(quota: Quota) -> tuple[bool, int]:
        cache = await filled_hourly(house, quota, 400)
        pruning = asyncio.create_task(quota.prune("a", MIB, None))
        answered = 0
        while not pruning.done():
            assert await cache.by_path("team/vision/r399") is not None
            answered += 1
        await pruning
        return await cache.by_path("team/vision/r399") is not None, answered

    there, answered = house.live(story)
    assert there
    assert answered > 10, "one read a slice at least"


def test_pruning_keeps_what_it_is_told_and_frees_what_it_says(house: House) -> None:
    async def story(quota: Quota) -> int:
        await filled_hourly(house, quota, 64)
        assert sum((await quota.sizes()).values()) > 4 * MIB
        freed = await quota.prune("", 2 * MIB, None)
        assert sum((await quota.sizes()).values()) <= 2 * MIB
        assert await quota.prune("", 2 * MIB, None) == 0, "nothing is left to do"
        return freed

    before = 64 * 64 * 1024
    assert house.live(story) > before - 2 * MIB
    kept = house.kept()
    assert 20 < len(kept) < 32
    assert kept[-1] == "r063"


def test_pruning_can_take_only_what_was_long_unused(house: House) -> None:
    async def story(quota: Quota) -> None:
        cache = await filled_hourly(house, quota, 10)
        await cache.by_path("team/vision/r002")
        await quota.prune("", 0, house.now - 5 * HOUR_S)

    house.live(story)
    assert house.kept() == ["r002", "r004", "r005", "r006", "r007", "r008", "r009"]


def test_a_use_after_the_clock_was_set_back_counts(house: House) -> None:
    async def story(quota: Quota) -> None:
        cache = house.cache(quota)
        house.now += 1000 * HOUR_S
        await house.fill(cache, a_run(0))
        house.now -= 1000 * HOUR_S
        await house.fill(cache, a_run(1))
        await quota.prune("", 0, house.now)  # nothing is that old, but the future becomes now
        house.now += HOUR_S
        await cache.by_path("team/vision/r001")
        await quota.prune("", 0, house.now)

    house.live(story)
    assert house.kept() == ["r001"]


def test_pruning_one_account_leaves_the_others_alone(house: House) -> None:
    async def story(quota: Quota) -> tuple[int, int]:
        await filled_hourly(house, quota, 5, "a")
        await filled_hourly(house, quota, 5, "b")
        return await quota.prune("a", 0, None), (await quota.counts("b"))["runs"]

    freed, others = house.live(story)
    assert freed > 5 * 64 * 1024
    assert others == 5
    assert not (house.folder / "a" / "records.db").exists()


def test_after_all_is_dropped_the_cache_goes_on(house: House) -> None:
    async def story(quota: Quota) -> None:
        cache = await filled_hourly(house, quota, 5)
        await quota.prune("", 0, None)
        assert await cache.by_path("team/vision/r004") is None
        await house.fill(cache, a_run(7))
        assert await cache.by_path("team/vision/r007") is not None

    house.live(story)
    assert house.kept() == ["r007"]


def test_runs_with_unsent_writes_stay(house: House) -> None:
    house.unsent = [("team", "vision", "r000"), ("team", "vision", "never cached")]

    async def story(quota: Quota) -> None:
        await filled_hourly(house, quota, 80)
        await quota.prune("", 0, None)

    house.live(story, limit=2 * MIB)
    assert house.kept() == ["r000"]


def test_an_account_that_is_logged_out_meanwhile_does_not_come_back(house: House) -> None:
    async def story(quota: Quota) -> None:
        await filled_hourly(house, quota, 2, "a")
        await filled_hourly(house, quota, 20, "b")

        def logs_out(account: str) -> list[tuple[str, str, str]]:
            shutil.rmtree(house.folder / "b", ignore_errors=True)
            return []

        quota._unsent = logs_out
        await quota.prune("", 2 * 64 * 1024, None)

    house.live(story)
    assert not (house.folder / "b").exists()


def test_a_large_write_leaves_no_large_log(house: House) -> None:
    async def story(quota: Quota) -> None:
        cache = house.cache(quota)
        await house.fill(cache, *(a_run(i, 2000) for i in range(10)))
        for i in range(3):
            await house.fill(cache, a_run(20 + i))
            await settled(quota)
        assert (house.folder / "a" / "records.db-wal").stat().st_size < 6 * MIB

    house.live(story)


def test_lists_go_too_and_own_writes_leave_nothing_of_them(house: House) -> None:
    def answer(key: str) -> StoredAnswer:
        return StoredAnswer(key, house.now, house.now, True, 1, "", (("storage-r000", "c"),))

    async def story(quota: Quota) -> list[bool]:
        cache = await filled_hourly(house, quota, 1)
        cache.keep_answer(answer("old"))
        cache.sending("team/vision/r000")
        cache.keep_answer(answer("forgotten"))
        house.now += 10 * HOUR_S
        await cache.stored_answer("nothing of the kind")
        cache.keep_answer(answer("new"))
        await quota.prune("", 0, house.now - HOUR_S)
        return [await cache.stored_answer(key) is not None for key in ("old", "forgotten", "new")]

    assert house.live(story) == [False, False, True]
    assert house.kept() == []


def test_a_full_disk_says_so_and_the_cache_stays_usable(house: House) -> None:
    async def story(quota: Quota) -> None:
        cache = await filled_hourly(house, quota, 20)
        # The very first page of the log fails, as on a disk without room.
        await quota.disk("a", RecordStore).read(_refuse_writes, None)
        with pytest.raises(faults.DiskFull, match="dropping all of it needs no room"):
            await quota.prune("", MIB // 2, None)
        assert await cache.by_path("team/vision/r000") is not None
        assert await quota.prune("", 0, None) > 20 * 64 * 1024, "dropping everything still works"
        await house.fill(cache, a_run(21))
        assert await cache.by_path("team/vision/r021") is not None

    house.live(story)
    assert house.kept() == ["r021"]


def _refuse_writes(store: RecordStore) -> None:
    store._db.execute("PRAGMA query_only = ON")


FULL_SCRIPT = """
import asyncio, resource, signal, sys
from pathlib import Path
from runtapd import faults
from runtapd.cache.quota import Quota
from runtapd.cache.store import RecordStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def main():
    quota = Quota(Path(sys.argv[1]), 2**30, [RecordStore], clock=lambda: 2e6, unsent=lambda account: ())
    print((await quota.counts("a"))["runs"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        await quota.prune("a", 2**20, None)
    except faults.DiskFull as fault:
        print("refused")
    print((await quota.counts("a"))["runs"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await quota.prune("a", 2**20, None)
    print((await quota.counts("a"))["runs"] < 16)
    await quota.close()

asyncio.run(main())
"""


def test_files_that_may_not_grow_lose_nothing(house: House) -> None:
    async def fill(quota: Quota) -> None:
        await filled_hourly(house, quota, 40)

    house.live(fill)
    done = subprocess.run(
        [sys.executable, "-c", FULL_SCRIPT, str(house.folder)],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ,
    )
    assert done.stdout.split() == ["40", "refused", "40", "True"], done.stderr
    assert 5 < len(house.kept()) < 16


def test_a_folder_that_is_gone_is_nothing_to_prune(house: House) -> None:
    async def story(quota: Quota) -> tuple[dict[str, int], int]:
        return await quota.sizes(), await quota.prune("", 0, None)

    assert house.live(story) == ({}, 0)
