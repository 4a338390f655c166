"""`history.db`: the histories of one account's runs on disk. SQL only, used from one thread of its own.

A run's rows are numbered from 0 and lie in pieces, one behind the other: groups, then segments (`kept.py`). Appending
adds a segment; small segments become one, and when there is enough of them, or the run has ended and they are not few,
they become groups. All of that is one transaction with the mark. Dropping a run and beginning anew gives it another
generation.

The file is readable across releases: what `FORMAT` 1 is, it stays (`tests/data/history-1.db` must open for ever).
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from runtapd.cache import tables
from runtapd.cache.eviction import minute_of
from runtapd.cache.space import Contents, Space
from runtapd.cache.tables import transaction
from runtapd.failpoints import failpoint
from runtapd.history import kept
from runtapd.history.kept import Blob, Kept, Lost, Mark, Piece, Stretch
from runtapd.history.table import STEP, Rows, joined

FORMAT = 1
_SCHEMA = """
CREATE TABLE histories (
  run INTEGER PRIMARY KEY, storage_id TEXT NOT NULL UNIQUE, generation TEXT NOT NULL,
  rows INTEGER NOT NULL, line_count INTEGER, last_step INTEGER, heartbeat_at TEXT NOT NULL, state TEXT NOT NULL,
  next_step INTEGER NOT NULL, checked_at REAL NOT NULL, settled INTEGER NOT NULL, shortfall INTEGER NOT NULL
);
CREATE TABLE keys (
  run INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE TABLE pieces (
  run INTEGER NOT NULL, first INTEGER NOT NULL, rows INTEGER NOT NULL, first_step INTEGER NOT NULL,
  last_step INTEGER NOT NULL, grouped INTEGER NOT NULL, texts INTEGER NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (run, first)
) WITHOUT ROWID;
CREATE TABLE blobs (
  run INTEGER NOT NULL, first INTEGER NOT NULL, key INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (run, first, key)
);
CREATE TABLE uses (name TEXT PRIMARY KEY, used_in INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX uses_by_time ON uses (used_in);
CREATE TRIGGER gone AFTER DELETE ON histories BEGIN
  DELETE FROM keys WHERE run = old.run;
  DELETE FROM pieces WHERE run = old.run;
  DELETE FROM blobs WHERE run = old.run;
  DELETE FROM uses WHERE name = old.storage_id;
END;
"""
# A blob of a group has its key's number; a segment has one blob, with number -1. `uses` has a row for every history.
_DETAILS = """
SELECT u.name, 'histories', (SELECT ifnull(sum(p.bytes), 0) FROM pieces AS p WHERE p.run = h.run)
FROM u LEFT JOIN histories AS h ON h.storage_id = u.name
"""
_CONTENTS = Contents(_DETAILS, [("histories", "storage_id"), ("uses", "name")])  # the rest goes by trigger
_ALL_KEYS = -1
_MARK = "line_count, last_step, heartbeat_at, state, next_step, checked_at, settled, shortfall"
_PIECE = "first, rows, first_step, last_step, grouped, texts"


class HistoryStore:
    """One account's histories on disk. Every method blocks; call them from the store's one thread."""

    FILE: ClassVar[tables.File] = tables.File("history.db", FORMAT, _SCHEMA)

    def __init__(self, folder: Path) -> None:
        self._db = tables.opened(folder, self.FILE)
        self.space = Space(self._db, _CONTENTS)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def kept(self, storage_id: str) -> Kept | None:
        """Returns what is kept of a run."""
        row = self._db.execute(
            f"SELECT generation, rows, {_MARK} FROM histories WHERE storage_id = ?", (storage_id,)
        ).fetchone()
        return Kept(storage_id, row[0], row[1], _mark(row[2:])) if row else None

    def begin(self, storage_id: str, mark: Mark) -> Kept:
        """Drops what there was of a run and begins anew, without rows."""
        generation = secrets.token_hex(8)
        with transaction(self._db):
            self._db.execute("DELETE FROM histories WHERE storage_id = ?", (storage_id,))
            self._db.execute(
                f"INSERT INTO histories (storage_id, generation, rows, {_MARK})"
                " VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?)",
                (storage_id, generation, *_values(mark)),
            )
            self._used(storage_id, mark)
        return Kept(storage_id, generation, 0, mark)

    def append(self, storage_id: str, generation: str, rows: Rows, mark: Mark) -> Kept | None:
        """Adds rows, or none, and sets the mark, both or neither; None when that generation is gone."""
        with transaction(self._db):
            run = self._run(storage_id, generation)
            if run is None:
                return None
            begin = self._end(run)
            if rows.length or mark.settled:
                self._grow(run, begin, rows, mark.settled)
            failpoint("history.appending")
            marks = ", ".join(f"{name} = ?" for name in _MARK.split(", "))
            total = begin + rows.length
            self._db.execute(
                f"UPDATE histories SET rows = ?, {marks} WHERE run = ?", (total, *_values(mark), run)
            )
            self._used(storage_id, mark)
        return Kept(storage_id, generation, total, mark)

    def read(self, storage_id: str, generation: str, first: int, keys: Sequence[str] | None) -> Rows | None:
        """Returns the rows from ordinal `first` to the end of the piece it lies in: these keys, `_step` and what
        dotted ones reach into; None when that generation is gone. Raises Lost for a damaged piece."""
        stretch = self.stretch(storage_id, generation, first, keys)
        return stretch.decoded() if stretch else None

    def stretch(
        self, storage_id: str, generation: str, first: int, keys: Sequence[str] | None
    ) -> Stretch | None:
        """The same still encoded: decoding takes longer, and can be done outside the store's thread.

        Behind the last row there is an empty stretch.
        """
        run = self._run(storage_id, generation)
        if run is None:
            return None
        piece = self._piece(run, "first <= ? ORDER BY first DESC", first)
        if piece is None or first >= piece.first + piece.rows:
            return Stretch(_NOTHING, (), (), 0)
        wanted = None if keys is None else kept.needed(keys)
        return Stretch(piece, self._blobs(run, piece, wanted), wanted, first)

    def row_of_step(self, storage_id: str, generation: str, step: int) -> int:
        """Returns the ordinal of the first row at that step or later: the number of rows when there is none, 0 when
        that generation is gone. Raises Lost for a damaged piece."""
        run = self._run(storage_id, generation)
        if run is None:
            return 0
        piece = self._piece(run, "last_step >= ? ORDER BY first", step)
        if piece is None:
            return self._end(run)
        if piece.first_step >= step:
            return piece.first
        rows = Stretch(piece, self._blobs(run, piece, [STEP]), [STEP], piece.first).decoded()
        return piece.first + int(rows.steps.searchsorted(step))

    def replace(self, storage_id: str, generation: str, lost: Lost, rows: Rows) -> None:
        """Puts a lost stretch back, which must have as many rows as it had; nothing if it is not there any more."""
        if rows.length != lost.rows:
            raise ValueError(f"{rows.length} rows cannot stand for {lost.rows}")
        with transaction(self._db):
            run = self._run(storage_id, generation)
            piece = None if run is None else self._piece(run, "first = ?", lost.first)
            if run is not None and piece is not None and piece.rows == lost.rows:
                self._learn(run, rows)
                self._remove(run, [piece])
                self._put(run, piece.first, rows, grouped=piece.grouped)

    def keys(self, storage_id: str) -> list[str]:
        """Returns a run's keys in the order in which they were first seen."""
        rows = self._db.execute(
            "SELECT name FROM keys JOIN histories USING (run) WHERE storage_id = ? ORDER BY number",
            (storage_id,),
        )
        return [name for (name,) in rows]

    def drop(self, storage_id: str) -> None:
        """Forgets a run's history."""
        with transaction(self._db):
            self._db.execute("DELETE FROM histories WHERE storage_id = ?", (storage_id,))

    def counts(self) -> Counter[str]:
        """Returns the number of histories."""
        return Counter(histories=self._db.execute("SELECT count(*) FROM histories").fetchone()[0])

    # Growing, inside a transaction

    def _grow(self, run: int, begin: int, rows: Rows, settled: bool) -> None:
        width = self._learn(run, rows)
        pieces = self._pieces(run)
        tail = [piece for piece in pieces if not piece.grouped]
        waiting, texts = _total(tail, rows)
        grouping = kept.too_large(waiting, texts, width, kept.SMALL if settled else 1)
        if grouping:
            groups = pieces[: len(pieces) - len(tail)]
            taken = (kept.reopened(groups, waiting, texts, width) if settled else []) + tail
        elif settled:
            taken = tail if rows.length or len(tail) > 1 else []
        else:
            taken = kept.absorbed(tail, rows, width)
        try:
            rows = joined([*(self._decoded(run, piece) for piece in taken), rows])
        except Lost:
            # Whoever reads it will put it back; until then what is behind it stays as it comes.
            taken, grouping = [], False
        self._remove(run, taken)
        begin = taken[0].first if taken else begin
        done = self._put_groups(run, begin, rows, width, settled) if grouping else 0
        self._put(run, begin + done, rows.slice(done, rows.length), grouped=False)

    def _put_groups(self, run: int, begin: int, rows: Rows, width: int, whole: bool) -> int:
        """Writes the groups that are full, and the last one if all is wanted; returns how many rows that were."""
        ends = kept.full_groups(rows, width)
        if whole and (not ends or ends[-1] < rows.length):
            ends.append(rows.length)
        done = 0
        for end in ends:
            self._put(run, begin + done, rows.slice(done, end), grouped=True)
            failpoint("history.merging")
            done = end
        return done

    def _put(self, run: int, first: int, rows: Rows, *, grouped: bool) -> None:
        if not rows.length:
            return
        piece, blobs = kept.piece_of(first, rows, grouped=grouped), kept.blobs_of(rows, grouped=grouped)
        numbers = self._numbers(run)
        size = sum(len(blob.body) for blob in blobs)
        self._db.execute(
            f"INSERT INTO pieces (run, {_PIECE}, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(run, piece.first, piece.rows, piece.first_step, piece.last_step),
                *(piece.grouped, piece.texts, size),
            ),
        )
        self._db.executemany(
            "INSERT INTO blobs VALUES (?, ?, ?, ?, ?)",
            [(run, first, _number(blob, numbers), blob.crc, blob.body) for blob in blobs],
        )

    def _remove(self, run: int, pieces: Iterable[Piece]) -> None:
        for table in ("pieces", "blobs"):
            self._db.executemany(
                f"DELETE FROM {table} WHERE run = ? AND first = ?", [(run, piece.first) for piece in pieces]
            )

    def _learn(self, run: int, rows: Rows) -> int:
        """Numbers keys that are new; returns how many there are."""
        known = self._numbers(run)
        fresh = [key for key in rows.columns if key not in known]
        self._db.executemany(
            "INSERT INTO keys VALUES (?, ?, ?)",
            [(run, number, key) for number, key in enumerate(fresh, len(known))],
        )
        return len(known) + len(fresh)

    def _used(self, storage_id: str, mark: Mark) -> None:
        # A history that is still being fetched was never checked; that it is begun is a use.
        minute = minute_of(mark.checked_at or time.time())
        self._db.execute("INSERT OR REPLACE INTO uses VALUES (?, ?)", (storage_id, minute))

    # Looking

    def _run(self, storage_id: str, generation: str) -> int | None:
        row = self._db.execute(
            "SELECT run FROM histories WHERE storage_id = ? AND generation = ?", (storage_id, generation)
        ).fetchone()
        return row[0] if row else None

    def _end(self, run: int) -> int:
        return int(self._db.execute("SELECT rows FROM histories WHERE run = ?", (run,)).fetchone()[0])

    def _piece(self, run: int, where: str, value: int) -> Piece | None:
        query = f"SELECT {_PIECE} FROM pieces WHERE run = ? AND {where} LIMIT 1"
        row = self._db.execute(query, (run, value)).fetchone()
        return _piece(row) if row else None

    def _pieces(self, run: int) -> list[Piece]:
        rows = self._db.execute(f"SELECT {_PIECE} FROM pieces WHERE run = ? ORDER BY first", (run,))
        return [_piece(row) for row in rows]

    def _numbers(self, run: int) -> dict[str, int]:
        rows = self._db.execute("SELECT name, number FROM keys WHERE run = ? ORDER BY number", (run,))
        return dict(rows.fetchall())

    def _decoded(self, run: int, piece: Piece) -> Rows:
        return Stretch(piece, self._blobs(run, piece, None), None, piece.first).decoded()

    def _blobs(self, run: int, piece: Piece, keys: Sequence[str] | None) -> list[Blob]:
        names = {number: name for name, number in self._numbers(run).items()} if piece.grouped else {}
        query = "SELECT key, body, crc FROM blobs WHERE run = ? AND first = ?"
        if not piece.grouped or keys is None:
            found = self._db.execute(f"{query} ORDER BY key", (run, piece.first)).fetchall()
        else:
            wanted = set(keys)
            numbers = [number for number, name in names.items() if name in wanted]
            one = f"{query} AND key = ?"
            asked = (self._db.execute(one, (run, piece.first, number)).fetchone() for number in numbers)
            found = [row for row in asked if row]
        return [Blob(names.get(number), body, crc) for number, body, crc in found]


_NOTHING = Piece(0, 0, 0, 0, grouped=True, texts=0)


def _total(pieces: Sequence[Piece], rows: Rows) -> tuple[int, int]:
    """The rows and the bytes of texts of pieces and of rows that follow them."""
    texts = kept.text_bytes(rows) + sum(piece.texts for piece in pieces)
    return sum(piece.rows for piece in pieces) + rows.length, texts


def _number(blob: Blob, numbers: dict[str, int]) -> int:
    return _ALL_KEYS if blob.key is None else numbers[blob.key]


def _piece(row: Sequence[int]) -> Piece:
    first, rows, first_step, last_step, grouped, texts = row
    return Piece(first, rows, first_step, last_step, bool(grouped), texts)


def _values(mark: Mark) -> tuple[object, ...]:
    return (
        *(mark.line_count, mark.last_step, mark.heartbeat_at, mark.state, mark.next_step),
        *(mark.checked_at, mark.settled, mark.shortfall),
    )


def _mark(row: Sequence[Any]) -> Mark:
    line_count, last_step, heartbeat_at, state, next_step, checked_at, settled, shortfall = row
    return Mark(
        line_count, last_step, heartbeat_at, state, next_step, checked_at, bool(settled), shortfall=shortfall
    )
