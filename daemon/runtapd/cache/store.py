"""Records and answers on disk: one `records.db` per account, disposable, used from one thread of its own.

The file may be deleted at any time; a damaged or foreign one is dropped and begun anew. Documents too large for a
message lie in a table of their own, so that a run is read without them and they are read in pieces.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtapd import faults
from runtapd.model.run import DocumentKind, Record

FORMAT = 3
BROKEN = (sqlite3.Error, OSError, faults.DiskFull)
"""What a method raises when the disk does not do what it should."""
_SCHEMA = """
CREATE TABLE records (
  storage_id TEXT PRIMARY KEY, entity TEXT NOT NULL, project TEXT NOT NULL, run_id TEXT NOT NULL,
  state TEXT NOT NULL, etag TEXT NOT NULL, revision INTEGER NOT NULL, fetched_at REAL NOT NULL,
  checked_at REAL NOT NULL, sign TEXT NOT NULL, updated_at TEXT, heartbeat_at TEXT, history_line_count INTEGER,
  last_step INTEGER, oversize TEXT NOT NULL,
  body BLOB NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX records_by_path ON records (entity, project, run_id);
CREATE TABLE documents (
  storage_id TEXT NOT NULL, kind INTEGER NOT NULL, digest BLOB NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (storage_id, kind)
);
CREATE TABLE answers (
  key TEXT PRIMARY KEY, fetched_at REAL NOT NULL, whole_at REAL NOT NULL, versioned INTEGER NOT NULL, total INTEGER,
  incomplete TEXT NOT NULL, runs TEXT NOT NULL
) WITHOUT ROWID;
"""
_COLUMNS = (
    "storage_id, entity, project, run_id, state, etag, revision, fetched_at, checked_at, sign,"
    " updated_at, heartbeat_at, history_line_count, last_step, oversize, body"
)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A complete list as it was fetched."""

    key: str
    fetched_at: float
    whole_at: float
    """Unix seconds: no run's documents were older than this."""
    versioned: bool
    """Whether the server told of every run when it was last changed."""
    total: int | None
    incomplete: str
    runs: tuple[tuple[str, str], ...]
    """(storage id, cursor behind it), in order."""


class RecordStore:
    """One account's records on disk. Every method blocks; call them from the store's one thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "records.db"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise  # a full disk does not make what lies here bad
            self.discard(folder)
            self._db = self._open()

    @staticmethod
    def discard(folder: Path) -> None:
        """Removes what cannot be used, so that there is room for what can."""
        for suffix in ("", "-wal", "-shm"):
            (folder / f"records.db{suffix}").unlink(missing_ok=True)

    @staticmethod
    def exists(folder: Path) -> bool:
        """True while the file is where it was made."""
        return (folder / "records.db").exists()

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def by_path(self, entity: str, project: str, run_id: str) -> Record | None:
        """Returns a run's record."""
        query = f"SELECT {_COLUMNS} FROM records WHERE entity = ? AND project = ? AND run_id = ?"
        row = self._db.execute(query, (entity, project, run_id)).fetchone()
        return _record(row) if row else None

    def by_ids(self, storage_ids: Sequence[str]) -> list[Record]:
        """Returns the records there are, in no particular order."""
        found: list[Record] = []
        for start in range(0, len(storage_ids), 500):
            part = storage_ids[start : start + 500]
            marks = ",".join("?" * len(part))
            query = f"SELECT {_COLUMNS} FROM records WHERE storage_id IN ({marks})"
            found += [_record(row) for row in self._db.execute(query, part)]
        return found

    def put(self, records: Iterable[Record]) -> None:
        """Keeps these records and their oversize documents, replacing older ones."""
        with self._transaction():
            for record in records:
                # A run that was deleted and made again under its old path has a new storage id.
                former = self._db.execute(
                    "SELECT storage_id FROM records"
                    " WHERE entity = ? AND project = ? AND run_id = ? AND storage_id <> ?",
                    (record.entity, record.project, record.run_id, record.storage_id),
                ).fetchone()
                if former:
                    self._delete(former[0])
                self._db.execute(
                    f"INSERT OR REPLACE INTO records ({_COLUMNS}) VALUES ({_MARKS})", _row(record)
                )
                self._put_documents(record)

    def _put_documents(self, record: Record) -> None:
        query = "SELECT kind, digest FROM documents WHERE storage_id = ?"
        kept = dict(self._db.execute(query, (record.storage_id,)).fetchall())
        for kind, text in record.documents.items():
            body = text.encode()
            digest = hashlib.blake2b(body, digest_size=16).digest()
            if kept.pop(int(kind), None) != digest:  # megabytes that did not change are not written again
                self._db.execute(
                    "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)",
                    (record.storage_id, int(kind), digest, body),
                )
        for gone in kept:
            self._db.execute(
                "DELETE FROM documents WHERE storage_id = ? AND kind = ?", (record.storage_id, gone)
            )

    def check(self, storage_ids: Sequence[str], at: float) -> None:
        """Notes when these runs were last found unchanged."""
        with self._transaction():
            self._db.executemany(
                "UPDATE records SET checked_at = ? WHERE storage_id = ?", [(at, i) for i in storage_ids]
            )

    def remove(self, storage_id: str) -> None:
        """Forgets a run."""
        with self._transaction():
            self._delete(storage_id)

    def _delete(self, storage_id: str) -> None:
        self._db.execute("DELETE FROM records WHERE storage_id = ?", (storage_id,))
        self._db.execute("DELETE FROM documents WHERE storage_id = ?", (storage_id,))

    def document_digest(self, storage_id: str, kind: DocumentKind, revision: int) -> bytes | None:
        """Names the text of an oversize document of a run at this revision; None when it is not here."""
        row = self._db.execute(
            "SELECT digest FROM documents JOIN records USING (storage_id)"
            " WHERE storage_id = ? AND kind = ? AND revision = ?",
            (storage_id, int(kind), revision),
        ).fetchone()
        return row[0] if row else None

    def document_piece(
        self, storage_id: str, kind: DocumentKind, digest: bytes, start: int, length: int
    ) -> bytes | None:
        """Returns bytes of an oversize document; None when the document of that digest is not here any more."""
        row = self._db.execute(
            "SELECT substr(body, ?, ?) FROM documents WHERE storage_id = ? AND kind = ? AND digest = ?",
            (start + 1, length, storage_id, int(kind), digest),
        ).fetchone()
        return row[0] if row else None

    def put_answer(self, answer: StoredAnswer) -> None:
        """Keeps a complete list."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(answer.key, answer.fetched_at, answer.whole_at, answer.versioned, answer.total),
                    *(answer.incomplete, json.dumps(answer.runs)),
                ),
            )

    def forget_answers(self) -> None:
        """Forgets all lists; the runs stay."""
        with self._transaction():
            self._db.execute("DELETE FROM answers")

    def answer(self, key: str) -> StoredAnswer | None:
        """Returns a complete list."""
        row = self._db.execute(
            "SELECT fetched_at, whole_at, versioned, total, incomplete, runs FROM answers WHERE key = ?",
            (key,),
        ).fetchone()
        if row is None:
            return None
        fetched_at, whole_at, versioned, total, incomplete, runs = row
        listed = tuple((i, c) for i, c in json.loads(runs))
        return StoredAnswer(key, fetched_at, whole_at, bool(versioned), total, incomplete, listed)

    def usage(self) -> tuple[int, int, int]:
        """Returns the numbers of records and answers, and bytes on disk."""
        records = self._db.execute("SELECT count(*) FROM records").fetchone()[0]
        answers = self._db.execute("SELECT count(*) FROM answers").fetchone()[0]
        size = sum(f.stat().st_size for f in self._path.parent.glob("records.db*"))
        return records, answers, size

    def _open(self) -> sqlite3.Connection:
        # Born private; SQLite gives its side files the mode of the main one.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")  # a cache may lose its last moments, never its sense
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
            elif version != FORMAT:
                raise sqlite3.DatabaseError(f"format {version}")
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise faults.DiskFull(f"cannot write {self._path.name}: {error}") from error
            raise


def is_damage(error: Exception) -> bool:
    """True when the file itself is bad, as opposed to a disk that is full or away."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)


_NAMES = [name.strip() for name in _COLUMNS.split(",")]
_MARKS = ",".join("?" * len(_NAMES))


def _row(record: Record) -> tuple[object, ...]:
    return (
        record.storage_id,
        record.entity,
        record.project,
        record.run_id,
        record.state,
        record.etag,
        record.revision,
        record.fetched_at,
        record.checked_at,
        record.sign,
        record.updated_at,
        record.heartbeat_at,
        record.history_line_count,
        record.last_step,
        json.dumps([[int(kind), size] for kind, size in record.oversize]),
        record.body,
    )


def _record(row: Sequence[object]) -> Record:
    values = dict(zip(_NAMES, row, strict=True))
    oversize = tuple((DocumentKind(kind), size) for kind, size in json.loads(str(values.pop("oversize"))))
    return Record(**values, oversize=oversize)  # type: ignore[arg-type]
