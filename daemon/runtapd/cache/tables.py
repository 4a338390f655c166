"""The files of an account's cache: what is in `records.db`, how files are opened, changed in one go, measured, removed.

A file may be deleted at any time; whoever opens it drops a damaged or foreign one and begins anew. The tables of
`history.db` are `history/store.py`'s.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtapd import faults
from runtapd.failpoints import failpoint

_LOG_BYTES = 4 * 2**20
BROKEN = (sqlite3.Error, OSError, faults.DiskFull)
"""What a method raises when the disk does not do what it should."""


@dataclass(frozen=True, slots=True)
class File:
    """A kind of file, of which each account has one."""

    name: str
    format: int
    """A file with another one is not opened."""
    schema: str


_RECORDS = """
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
CREATE TABLE small_answers (key TEXT PRIMARY KEY, fetched_at REAL NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE uses (name TEXT PRIMARY KEY, used_in INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX uses_by_time ON uses (used_in);
"""
# `uses` has a row for every record (named by its storage id) and every answer (by its key). It is a table of its own,
# so that noting a use does not write a whole run again.


RECORDS = File("records.db", 3, _RECORDS)


def opened(folder: Path, file: File) -> sqlite3.Connection:
    """Opens the file, which is made when there is none; one that is damaged or foreign is removed first."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return _opened(folder / file.name, file)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise  # a full disk does not make what lies here bad
        discard(folder, file)
        return _opened(folder / file.name, file)


def _opened(path: Path, file: File) -> sqlite3.Connection:
    # Born private; SQLite gives its side files the mode of the main one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, file.format):
            raise sqlite3.DatabaseError(f"format {version}")
        if version == 0:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # must be said before anything is written
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # a cache may lose its last moments, never its sense
        db.execute("PRAGMA secure_delete = OFF")  # dropping megabytes must not write megabytes of zeros
        db.execute(
            f"PRAGMA journal_size_limit = {_LOG_BYTES}"
        )  # one large write must not leave a large log for good
        if version == 0:
            db.executescript(f"BEGIN; {file.schema} PRAGMA user_version = {file.format}; COMMIT;")
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing of it; DiskFull when it cannot be written."""
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    except BaseException as error:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):
            raise faults.DiskFull(f"cannot write to the cache: {error}") from error
        raise


def discard(folder: Path, file: File) -> None:
    """Removes the file, so that there is room for what can be used."""
    # In this order: SQLite drops a log that it finds beside an empty file, so one left behind does no harm.
    for suffix in ("", "-wal", "-shm"):
        (folder / f"{file.name}{suffix}").unlink(missing_ok=True)
        failpoint("cache.discarding")


def exists(folder: Path, file: File) -> bool:
    """True while the file is where it was made."""
    return (folder / file.name).exists()


def size(folder: Path, file: File) -> int:
    """Returns the bytes of the file and of its log."""
    found = 0
    for suffix in ("", "-wal"):
        with contextlib.suppress(OSError):
            found += (folder / f"{file.name}{suffix}").stat().st_size
    return found


def is_damage(error: Exception) -> bool:
    """True when the file itself is bad, as opposed to a disk that is full or away."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
