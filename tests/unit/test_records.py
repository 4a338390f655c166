"""The cache of runs: compared, numbered, kept on disk, and no worse off when the disk fails."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from runtapd.cache import records
from runtapd.cache.disk import Disk
from runtapd.cache.records import RecordCache
from runtapd.cache.store import RecordStore, StoredAnswer
from runtapd.model import encode
from runtapd.model.run import DocumentKind, Record, RunData
from tests.support.runs import make_run

T = TypeVar("T")
LARGE = json.dumps({f"k{i}": i for i in range(100_000)})
PATH = "team/vision/r1"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Life:
    """One daemon's life with one account's cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "acct"
        self.clock = Clock()

    def run(self, what: Callable[[RecordCache], Awaitable[T]], *, memory: int = 2**24) -> T:
        async def lived() -> T:
            disk = Disk(self.folder, RecordStore, clock=self.clock)
            cache = RecordCache(disk, app_url="https://x", memory_bytes=memory, clock=self.clock)
            try:
                return await what(cache)
            finally:
                await disk.close()

        return asyncio.run(lived())

    async def fetched(self, cache: RecordCache, *runs: RunData, sent_at: float | None = None) -> list[Record]:
        """Takes in runs as if just fetched."""
        moment = self.clock.now if sent_at is None else sent_at
        return await cache.absorb_page(runs, sent_at=moment, generation=cache.generation)


@pytest.fixture
def life(tmp_path: Path) -> Life:
    return Life(tmp_path)


def test_a_revision_grows_with_each_change_and_only_then(life: Life) -> None:
    async def story(cache: RecordCache) -> list[int]:
        seen = []
        for summary in ("{}", "{}", '{"a":1}', "{}"):
            life.clock.now += 1
            seen.append((await life.fetched(cache, make_run(summary=summary)))[0].revision)
        return seen

    assert life.run(story) == [1, 1, 2, 3]


def test_revisions_go_on_after_a_restart_and_after_leaving_memory(life: Life) -> None:
    async def first(cache: RecordCache) -> None:
        for i in range(3):
            life.clock.now += 1
            await life.fetched(cache, make_run(summary=f'{{"a":{i}}}'))

    async def second(cache: RecordCache) -> list[int]:
        same = await life.fetched(cache, make_run(summary='{"a":2}'))
        life.clock.now += 1
        changed = await life.fetched(cache, make_run(summary='{"a":9}'))
        return [same[0].revision, changed[0].revision]

    life.run(first)
    assert life.run(second) == [3, 4]
    assert life.run(second, memory=10) == [5, 6]  # nothing stays in memory, so the disk is compared with


def test_an_older_answer_that_arrives_late_changes_nothing(life: Life) -> None:
    async def story(cache: RecordCache) -> str:
        await life.fetched(cache, make_run(display_name="new"), sent_at=life.clock.now - 1)
        late = await life.fetched(cache, make_run(display_name="old"), sent_at=life.clock.now - 5)
        return encode.parse(late[0].body).display_name

    assert life.run(story) == "new"


def test_a_record_from_the_future_does_not_stay_forever(life: Life) -> None:
    async def story(cache: RecordCache) -> str:
        await life.fetched(cache, make_run(display_name="before the clock was set back"))
        life.clock.now -= 500
        return encode.parse((await life.fetched(cache, make_run(display_name="now")))[0].body).display_name

    assert life.run(story) == "now"


def test_an_answer_from_before_an_own_write_is_dropped_for_that_run_only(life: Life) -> None:
    async def story(cache: RecordCache) -> list[str]:
        await life.fetched(cache, make_run(display_name="old"))
        generation, sent_at = cache.generation, life.clock.now
        life.clock.now += 1
        cache.sending(PATH)
        cache.sent(PATH)
        cache.absorb_written(make_run(display_name="written"), life.clock.now)
        runs = [make_run(display_name="as it was"), make_run("r2", display_name="other")]
        kept = await cache.absorb_page(runs, sent_at=sent_at, generation=generation)
        return [encode.parse(record.body).display_name for record in kept]

    assert life.run(story) == ["written", "other"]


def test_an_outdated_run_that_is_all_there_is_must_be_asked_for_again(life: Life) -> None:
    async def story(cache: RecordCache) -> list[bool]:
        generation, sent_at = cache.generation, life.clock.now
        life.clock.now += 1
        cache.sending(PATH)
        kept = await cache.absorb_page([make_run(), make_run("r2")], sent_at=sent_at, generation=generation)
        return [record.fetched_at >= cache.floor_of(record.path) for record in kept]

    assert life.run(story) == [False, True]


def test_own_writes_forget_lists_on_disk(life: Life) -> None:
    async def story(cache: RecordCache) -> list[StoredAnswer | None]:
        cache.keep_answer(StoredAnswer("k", 1.0, 1.0, True, 1, "", (("storage-r1", "c1"),)))
        before = await cache.stored_answer("k")
        cache.sending(PATH)
        return [before, await cache.stored_answer("k")]

    assert life.run(story) == [StoredAnswer("k", 1.0, 1.0, True, 1, "", (("storage-r1", "c1"),)), None]


def test_what_was_read_survives_a_restart(life: Life) -> None:
    run = make_run(notes="ü", state="running", history_keys='{"lastStep": 7}', history_line_count=8)

    async def again(cache: RecordCache) -> None:
        held = await cache.by_path(PATH)
        assert held is not None and held.from_disk
        assert encode.run_of(encode.parse(held.record.body), {}) == run
        assert (held.record.last_step, held.record.history_line_count) == (7, 8)
        second = await cache.by_path(PATH)
        assert second is not None and not second.from_disk
        assert list(await cache.by_ids(["storage-r1", "unknown"])) == ["storage-r1"]

    life.run(lambda cache: life.fetched(cache, run))
    life.run(again)


def test_a_run_made_anew_under_its_old_path_takes_its_place(life: Life) -> None:
    new = make_run(storage_id="storage-second", summary="{}")

    async def story(cache: RecordCache) -> str:
        await life.fetched(cache, make_run(summary=LARGE))
        await life.fetched(cache, new)
        cache.forget("storage-r1")  # the old one, found gone by somebody slow
        held = await cache.by_path(PATH)
        return held.record.storage_id if held else ""

    assert life.run(story) == "storage-second"
    database = sqlite3.connect(life.folder / "records.db")
    assert database.execute("SELECT storage_id FROM records").fetchall() == [("storage-second",)]
    assert database.execute("SELECT count(*) FROM documents").fetchone() == (0,)
    database.close()


def test_a_large_document_lies_on_disk_and_is_read_in_pieces(life: Life) -> None:
    async def story(cache: RecordCache) -> None:
        record = (await life.fetched(cache, make_run(summary=LARGE)))[0]
        held = await cache.by_path(PATH)
        assert held is not None and held.record.documents == {}
        digest = await cache.document_digest(record, DocumentKind.SUMMARY)
        assert digest is not None
        pieces = [
            await cache.document_piece(record.storage_id, DocumentKind.SUMMARY, digest, start, 300_000)
            for start in range(0, len(LARGE), 300_000)
        ]
        assert b"".join(piece or b"" for piece in pieces) == LARGE.encode()
        life.clock.now += 1
        beat = (await life.fetched(cache, make_run(summary=LARGE, heartbeat_at="later")))[0]
        assert beat.revision == 2
        piece = await cache.document_piece(record.storage_id, DocumentKind.SUMMARY, digest, 0, 5)
        assert piece == LARGE[:5].encode(), "a heartbeat changes no document"
        assert await cache.document_digest(record, DocumentKind.SUMMARY) is None, "but it is another record"
        life.clock.now += 1
        await life.fetched(cache, make_run(summary=LARGE + " "))
        assert await cache.document_piece(record.storage_id, DocumentKind.SUMMARY, digest, 0, 5) is None

    life.run(story)


@pytest.mark.parametrize("damage", ["garbage", "other format", "torn"])
def test_a_damaged_file_is_begun_anew(life: Life, damage: str) -> None:
    life.run(lambda cache: life.fetched(cache, *(make_run(f"r{i}", summary=LARGE) for i in range(3))))
    file = life.folder / "records.db"
    if damage == "garbage":
        file.write_bytes(b"not a database at all" * 100)
    elif damage == "torn":
        content = bytearray(file.read_bytes())
        content[4096:] = b"\x5a" * (len(content) - 4096)
        file.write_bytes(content)
    else:
        database = sqlite3.connect(file)
        database.execute("PRAGMA user_version = 77")
        database.close()

    async def story(cache: RecordCache) -> int:
        await cache.by_path("team/vision/r0")
        await life.fetched(cache, make_run())
        nothing: Counter[str] = Counter()
        return (await cache._disk.read(RecordStore.counts, nothing))["runs"]

    assert life.run(story) >= 0
    assert life.run(story) == 1, "from then on it is kept again"


@pytest.mark.parametrize("trouble", ["no folder can be made", "the folder vanishes", "the disk is full"])
def test_reads_are_answered_without_a_disk(life: Life, trouble: str) -> None:
    if trouble == "no folder can be made":
        life.folder.write_text("a file lies where the folder should")

    async def story(cache: RecordCache) -> None:
        assert await cache.by_path(PATH) is None
        if trouble == "the folder vanishes":
            shutil.rmtree(life.folder)
        elif trouble == "the disk is full":
            await cache._disk.read(_no_more_pages, None)
        for i in range(3):
            life.clock.now += 1
            records = await life.fetched(cache, *(make_run(f"r{n}", notes=str(i)) for n in range(100)))
            assert len(records) == 100
        held = await cache.by_path(PATH)
        assert held is not None and held.record.revision == 3
        cache.keep_answer(StoredAnswer("k", 1.0, 1.0, True, 1, "", ()))
        cache.forget("storage-r1")
        await cache.stored_answer("k")
        assert len(await cache._disk.read(RecordStore.counts, (0, 0))) == 2

    life.run(story)


def _no_more_pages(store: RecordStore) -> None:
    store._db.execute(f"PRAGMA max_page_count = {store._db.execute('PRAGMA page_count').fetchone()[0]}")


def test_closed_means_memory_only(life: Life) -> None:
    async def story(cache: RecordCache) -> bool:
        await cache._disk.close()
        await life.fetched(cache, make_run())
        cache.sending(PATH)
        return await cache.by_path(PATH) is not None

    assert life.run(story)


def test_flushing_moves_the_floor(life: Life) -> None:
    async def story(cache: RecordCache) -> list[float]:
        life.clock.now = 2000.0
        cache.sending(PATH)
        life.clock.now = 2001.0
        flushed = cache.flush()
        return [flushed, cache.floor_of(PATH), cache.floor_of("team/vision/other")]

    assert life.run(story) == [2001.0] * 3


def test_what_was_read_from_disk_meanwhile_does_not_replace_what_is_newer(life: Life) -> None:
    """A memory for one run: the version that comes while an older one is read from disk has left it again."""

    async def story(cache: RecordCache) -> list[str]:
        await life.fetched(cache, make_run(display_name="old"))
        await life.fetched(cache, make_run("r2"))
        reading = asyncio.ensure_future(cache.by_ids(["storage-r1"]))
        await asyncio.sleep(0)
        for run in (make_run(display_name="new"), make_run("r2", display_name="again")):
            life.clock.now += 1
            cache.absorb([run], sent_at=life.clock.now, generation=cache.generation)
        found = [*(await reading).values(), await cache.by_path(PATH)]
        return [encode.parse(held.record.body).display_name for held in found if held]

    assert life.run(story, memory=2000) == ["new", "new"]


def test_what_is_known_of_runs_that_left_memory_does_not_grow_for_ever(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_NAMES", 20)

    async def story(cache: RecordCache) -> None:
        for i in range(200):
            await life.fetched(cache, make_run(run_id=f"r{i}", storage_id=f"s{i}"))
            if i % 50 == 0:  # one that is wanted now and then goes on being numbered
                [kept] = await life.fetched(cache, make_run(run_id="hot", storage_id="hot", summary=f"[{i}]"))
        assert kept.revision == 4
        assert len(cache._revisions) <= 20 + 3 * 8 and len(cache._ids) <= 20 + 3 * 8
        for i in (0, 100, 199):
            held = await cache.by_path(f"team/vision/r{i}")
            assert held is not None and held.record.storage_id == f"s{i}"

    life.run(story, memory=8 * 1400)


def test_many_own_writes_are_remembered_by_one_floor(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_WRITES", 10)

    async def story(cache: RecordCache) -> None:
        cache.sending("team/vision/slow")
        for i in range(30):
            life.clock.now += 1
            cache.sending(f"team/vision/r{i}")
            cache.sent(f"team/vision/r{i}")
        assert len(cache._written) <= 11
        for i in range(30):
            assert cache.floor_of(f"team/vision/r{i}") >= 1001 + i
        assert cache.floor < 1030
        [late] = await life.fetched(cache, make_run(run_id="slow", storage_id="slow"))
        assert late.lacks_write

    life.run(story)
