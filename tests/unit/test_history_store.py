"""Stored histories: whatever rows are appended come back, and damage is noticed and stays where it is."""

from __future__ import annotations

import math
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtapd.history import kept
from runtapd.history.columns import rows_of
from runtapd.history.kept import Lost, Mark
from runtapd.history.rows import Row
from runtapd.history.store import HistoryStore
from runtapd.history.table import NONE, Rows
from tests.support.history_rows import plain_rows

RUN = "storage-1"
MARK = Mark(5, 4, "2026-01-01T00:00:00Z", "running", 5, 1_000_000.0, settled=False)
ENDED = replace(MARK, state="finished", settled=True)


@contextmanager
def small_groups(rows: int = 8, small: int = 2) -> Iterator[None]:
    """Groups of a few rows, so that small tables fill some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "GROUP_ROWS", rows)
        patch.setattr(kept, "GROUP_BYTES", 2000)
        patch.setattr(kept, "KEY_BYTES", 60)
        patch.setattr(kept, "SMALL", small)
        yield


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HistoryStore]:
    store = HistoryStore(tmp_path)
    yield store
    store.close()


def database(store: HistoryStore) -> sqlite3.Connection:
    """The store's own connection, to look at what no method tells."""
    return store._db


def counted(begin: int, end: int, **more: Any) -> Rows:
    """Rows with these steps."""
    return rows_of(
        [{"_step": step, "loss": step / 8, **more, "_timestamp": step * 1.5} for step in range(begin, end)]
    )


def everything(
    store: HistoryStore, generation: str, first: int = 0, keys: Sequence[str] | None = None
) -> list[Any]:
    """The rows from an ordinal on, as plain dicts, as a reader would come by them."""
    found: list[Any] = []
    while rows := some(store, generation, first + len(found), keys):
        found += plain_rows(rows)
    return found


def some(store: HistoryStore, generation: str, first: int, keys: Sequence[str] | None = None) -> Rows:
    rows = store.read(RUN, generation, first, keys)
    assert rows is not None
    return rows


def plain(value: Any) -> Any:
    """A value so that two are equal when they mean the same: of numbers only how much they are, and NaN is NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def pieces(store: HistoryStore) -> list[tuple[int, int, bool]]:
    """First row, rows and whether it is a group, of every piece."""
    found = database(store).execute("SELECT first, rows, grouped FROM pieces ORDER BY first")
    return [(first, rows, bool(grouped)) for first, rows, grouped in found]


numbers = st.integers(-(2**63), 2**63 - 1) | st.floats() | st.integers(-3, 3)
texts = st.text(max_size=30)
values = st.none() | st.booleans() | numbers | texts | st.dictionaries(texts, numbers | texts, max_size=2)
keys = st.sampled_from(["a", "a.b", "b", "ключ/1", "new\nline", "_runtime"])
cells = st.dictionaries(keys, values, max_size=4)


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    rows = draw(st.lists(cells, max_size=40))
    steps = accumulate(draw(st.lists(st.integers(0, 10**12), min_size=len(rows), max_size=len(rows))))
    return [{"_step": step, **row} for step, row in zip(steps, rows, strict=True)]


@given(histories(), st.lists(st.integers(0, 40), max_size=6), st.data())
@settings(max_examples=80, deadline=None)
def test_any_table_in_any_cuts_comes_back(rows: list[Row], cuts: list[int], data: st.DataObject) -> None:
    ends = sorted({min(cut, len(rows)) for cut in cuts} | {0, len(rows)})
    settling = data.draw(st.lists(st.booleans(), min_size=len(ends), max_size=len(ends)))
    with small_groups(), tempfile.TemporaryDirectory() as folder:
        store = HistoryStore(Path(folder))
        generation = store.begin(RUN, MARK).generation
        for (begin, end), settled in zip(pairwise(ends), settling, strict=False):
            now = store.append(RUN, generation, rows_of(rows[begin:end]), replace(MARK, settled=settled))
            assert now is not None and now.rows == end
            assert_same(store, generation, rows[:end], data)
        store.close()
        store = HistoryStore(Path(folder))
        assert_same(store, generation, rows, data)
        store.append(RUN, generation, NONE, ENDED)
        assert sum(not grouped for _, _, grouped in pieces(store)) <= 1, (
            "of a run that has ended few rows at most"
        )
        assert_same(store, generation, rows, data)
        assert set(store.keys(RUN)) == {key for row in rows for key in row}
        store.close()


def assert_same(store: HistoryStore, generation: str, rows: list[Row], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(rows)))
    wanted = data.draw(st.none() | st.lists(keys, max_size=3))
    around = None if wanted is None else {"_step", *wanted, *(key.partition(".")[0] for key in wanted)}
    expected = [
        {key: plain(value) for key, value in row.items() if around is None or key in around}
        for row in rows[first:]
    ]
    assert plain(everything(store, generation, first, wanted)) == expected
    step = data.draw(st.sampled_from([row["_step"] for row in rows] or [0])) + data.draw(st.integers(-1, 1))
    ordinal = sum(row["_step"] < step for row in rows)
    assert store.row_of_step(RUN, generation, step) == ordinal


def test_what_is_kept_is_what_was_said_last(store: HistoryStore) -> None:
    assert store.kept(RUN) is None
    begun = store.begin(RUN, MARK)
    assert store.kept(RUN) == begun
    assert (begun.rows, begun.mark) == (0, MARK)
    later = replace(MARK, line_count=None, last_step=None, next_step=2**50, checked_at=2e6, shortfall=24)
    grown = store.append(RUN, begun.generation, counted(0, 3), later)
    assert grown is not None and grown == store.kept(RUN)
    assert (grown.generation, grown.rows, grown.mark) == (begun.generation, 3, later)
    ended = store.append(RUN, begun.generation, NONE, ENDED)
    assert ended is not None and ended == store.kept(RUN)
    assert (ended.rows, ended.mark) == (3, ENDED)


def test_a_generation_that_is_gone_is_neither_read_nor_added_to(store: HistoryStore) -> None:
    old = store.begin(RUN, MARK).generation
    store.append(RUN, old, counted(0, 3), MARK)
    new = store.begin(RUN, MARK).generation
    assert new != old
    assert store.read(RUN, old, 0, None) is None
    assert store.append(RUN, old, counted(3, 6), MARK) is None
    assert everything(store, new) == []
    assert store.keys(RUN) == []
    store.append(RUN, new, counted(0, 1), MARK)
    store.drop(RUN)
    assert store.kept(RUN) is None
    assert store.read(RUN, new, 0, None) is None
    for table in ("histories", "keys", "pieces", "blobs", "uses"):
        assert database(store).execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_runs_are_apart(store: HistoryStore) -> None:
    one, other = store.begin(RUN, MARK).generation, store.begin("storage-2", MARK).generation
    store.append(RUN, one, counted(0, 3), MARK)
    store.append("storage-2", other, counted(7, 9, acc=1), MARK)
    store.drop("storage-2")
    assert [row["_step"] for row in everything(store, one)] == [0, 1, 2]
    assert store.keys(RUN) == ["_step", "loss", "_timestamp"]


def test_rows_appended_one_by_one_lie_in_few_segments(store: HistoryStore) -> None:
    generation = store.begin(RUN, MARK).generation
    for step in range(200):
        store.append(RUN, generation, counted(step, step + 1), MARK)
    assert len(pieces(store)) <= 8
    assert [row["_step"] for row in everything(store, generation)] == list(range(200))


def test_groups_are_aligned_and_the_last_one_is_filled_up_when_a_run_goes_on(store: HistoryStore) -> None:
    with small_groups(20, small=4):
        generation = store.begin(RUN, MARK).generation
        store.append(RUN, generation, counted(0, 4), MARK)
        store.append(RUN, generation, counted(4, 63), MARK)
        assert pieces(store) == [(0, 20, True), (20, 20, True), (40, 20, True), (60, 3, False)]
        store.append(RUN, generation, counted(63, 64), ENDED)
        assert pieces(store)[3:] == [(60, 4, False)], "not worth a blob per key"
        store.append(RUN, generation, counted(64, 66), ENDED)
        assert pieces(store)[3:] == [(60, 6, True)]
        store.append(RUN, generation, counted(66, 73), MARK)
        store.append(RUN, generation, NONE, ENDED)
        assert pieces(store)[3:] == [(60, 13, True)], "two short groups became one"
        assert [row["_step"] for row in everything(store, generation)] == list(range(73))


def test_a_group_closes_early_for_large_texts_and_for_many_keys(store: HistoryStore) -> None:
    generation = store.begin(RUN, MARK).generation
    texts = rows_of([{"_step": step, "text": "x" * 10_000} for step in range(500)])
    store.append(RUN, generation, texts, ENDED)
    assert [rows for _, rows, _ in pieces(store)] == [209, 209, 82]
    generation = store.begin(RUN, MARK).generation
    huge = rows_of([{"_step": step, "text": "x" * 3_000_000} for step in range(2)])
    store.append(RUN, generation, huge, ENDED)
    assert [rows for _, rows, _ in pieces(store)] == [1, 1]
    generation = store.begin(RUN, MARK).generation
    wide = rows_of([{"_step": step} | {f"k{i}": i for i in range(5000)} for step in range(1)])
    store.append(RUN, generation, wide, MARK)
    store.append(RUN, generation, counted(1, 2000), MARK)
    assert pieces(store)[0] == (0, 209, True)


def test_a_key_that_a_group_lacks_has_no_blob(store: HistoryStore) -> None:
    with small_groups(10):
        generation = store.begin(RUN, MARK).generation
        rows: list[Row] = [{"_step": step} | ({"rare": step} if step == 13 else {}) for step in range(20)]
        store.append(RUN, generation, rows_of(rows), MARK)
        blobs = database(store).execute("SELECT first, count(*) FROM blobs GROUP BY first").fetchall()
        assert blobs == [(0, 1), (10, 2)]
        assert everything(store, generation, keys=["rare"]) == rows
        assert list(some(store, generation, 0, ["rare"]).columns) == ["_step"]


def damaged(store: HistoryStore) -> Iterator[int]:
    """Flips a byte in every blob, one after the other; tells the first row of its piece."""
    db = database(store)
    for number, first, body in db.execute("SELECT rowid, first, body FROM blobs").fetchall():
        for place in (0, len(body) // 2, len(body) - 1):
            bad = bytearray(body)
            bad[place] ^= 0x40
            db.execute("UPDATE blobs SET body = ? WHERE rowid = ?", (bytes(bad), number))
            yield first
        db.execute("UPDATE blobs SET body = ? WHERE rowid = ?", (body, number))


def test_a_flipped_byte_in_any_blob_is_noticed_and_harms_no_other_rows(store: HistoryStore) -> None:
    with small_groups(10):
        generation = store.begin(RUN, MARK).generation
        store.append(RUN, generation, counted(0, 23), MARK)
        found = 0
        for bad in damaged(store):
            for first, count, _ in pieces(store):
                if first != bad:
                    assert [row["_step"] for row in plain_rows(some(store, generation, first))] == list(
                        range(first, first + count)
                    )
                    continue
                with pytest.raises(Lost) as lost:
                    store.read(RUN, generation, first + 1, None)
                assert (lost.value.first, lost.value.rows) == (first, count)
                assert (lost.value.first_step, lost.value.last_step) == (first, first + count - 1)
                found += 1
        assert found == 21
        assert len(everything(store, generation)) == 23


@pytest.mark.parametrize("settled", [False, True])
def test_a_lost_stretch_is_put_back(store: HistoryStore, settled: bool) -> None:
    generation = store.begin(RUN, MARK).generation
    store.append(RUN, generation, counted(0, 5000), MARK)
    store.append(RUN, generation, counted(5000, 9000), replace(MARK, settled=settled))
    before = everything(store, generation)
    database(store).execute("UPDATE blobs SET body = x'00' WHERE first = 0")
    with pytest.raises(Lost) as caught:
        store.read(RUN, generation, 17, ["loss"])
    lost = caught.value
    with pytest.raises(ValueError, match="3 rows cannot stand for"):
        store.replace(RUN, generation, lost, counted(0, 3))
    store.replace(RUN, "another", lost, counted(0, lost.rows))
    store.replace(RUN, generation, lost, counted(0, lost.rows, extra="e"))
    assert everything(store, generation) == [
        row | ({"extra": "e"} if i < lost.rows else {}) for i, row in enumerate(before)
    ]


def test_growing_goes_on_beside_a_lost_segment(store: HistoryStore) -> None:
    with small_groups(10):
        generation = store.begin(RUN, MARK).generation
        store.append(RUN, generation, counted(0, 6), MARK)
        database(store).execute("UPDATE blobs SET crc = crc + 1")
        store.append(RUN, generation, counted(6, 12), MARK)
        store.append(RUN, generation, counted(12, 30), ENDED)
        with pytest.raises(Lost) as lost:
            store.read(RUN, generation, 0, None)
        assert [row["_step"] for row in everything(store, generation, 6)] == list(range(6, 30))
        store.replace(RUN, generation, lost.value, counted(0, 6))
        store.append(RUN, generation, NONE, ENDED)
        assert all(grouped for _, _, grouped in pieces(store))
        assert [row["_step"] for row in everything(store, generation)] == list(range(30))


def test_rows_without_steps_or_keys_are_rows(store: HistoryStore) -> None:
    generation = store.begin(RUN, MARK).generation
    rows: list[Row] = [{"system.cpu": 1.5, "_timestamp": 1}, {}, {"system.gpu": 2}]
    store.append(RUN, generation, rows_of(rows), MARK)
    store.append(RUN, generation, rows_of([{}, {}]), MARK)
    store.append(RUN, generation, NONE, ENDED)
    assert everything(store, generation) == [*rows, {}, {}]
    assert everything(store, generation, 1, ["system.gpu"]) == [{}, {"system.gpu": 2}, {}, {}]
    assert store.row_of_step(RUN, generation, 0) == 0


def test_the_file_is_private(store: HistoryStore, tmp_path: Path) -> None:
    store.begin(RUN, MARK)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"history.db": 0o600, "history.db-wal": 0o600, "history.db-shm": 0o600}


@pytest.mark.parametrize("statement", ["PRAGMA user_version = 2", None], ids=["newer", "damaged"])
def test_a_file_that_cannot_be_used_is_replaced(tmp_path: Path, statement: str | None) -> None:
    store = HistoryStore(tmp_path)
    store.begin(RUN, MARK)
    if statement:
        database(store).execute(statement)
    store.close()
    if not statement:
        (tmp_path / "history.db").write_bytes(b"no database" * 1000)
    store = HistoryStore(tmp_path)
    assert store.kept(RUN) is None
    assert store.begin(RUN, MARK).rows == 0
    store.close()


def rows_of_every_kind() -> list[Row]:
    """What lies in `tests/data/history-1.db`."""
    mixed: list[Any] = [1, 2.5, "x", True, None, {"a": [1, None]}]
    return [
        {
            "_step": step,
            "loss": math.nan if step == 7 else step / 8,
            "name": f"n{step}",
            "mixed": mixed[step % 6],
        }
        | ({"rare": 2**60 + step, "ok": step > 150, "void": None} if step % 50 == 4 else {})
        | {"_timestamp": 1.7e9 + step}
        for step in range(0, 400, 2)
    ]


def test_a_file_of_the_first_format_opens_for_ever(tmp_path: Path) -> None:
    """Made by appending rows 0 to 119 with `ENDED`, then 120 to 179 and 180 to 199 with `MARK`."""
    (tmp_path / "history.db").write_bytes((Path(__file__).parents[1] / "data" / "history-1.db").read_bytes())
    store = HistoryStore(tmp_path)
    found = store.kept(RUN)
    assert found is not None
    assert (found.generation, found.rows, found.mark) == ("0123456789abcdef", 200, MARK)
    assert pieces(store) == [(0, 120, True), (120, 60, False), (180, 20, False)]
    assert plain(everything(store, found.generation)) == plain(rows_of_every_kind())
    assert store.row_of_step(RUN, found.generation, 301) == 151
    assert store.keys(RUN) == ["_step", "loss", "name", "mixed", "rare", "ok", "void", "_timestamp"]
    store.append(RUN, found.generation, NONE, ENDED)
    assert plain(everything(store, found.generation)) == plain(rows_of_every_kind())
    store.close()
