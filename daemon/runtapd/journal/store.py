"""The journal's SQLite file. Everything here runs in the journal's one thread; faults, not SQLite errors, leave it.

WAL with `synchronous=FULL` keeps a commit across a power cut; `locking_mode=EXCLUSIVE`, set before the first access,
needs no shared memory (so a home on a network file system is fine) and admits one daemon only.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from runtapd.faults import DiskFull, Fault, RequestIdReused
from runtapd.journal.entry import Entry, NewWrite, WriteState, conflicts_from_json, conflicts_to_json
from runtapd.model.patch import Conflict, Patch

KEPT_S = 7 * 86400.0
"""How long settled writes and their request ids are remembered."""

# One item per format, in order; each takes the file from the format before. Never edited once released.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE writes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            write_id TEXT NOT NULL UNIQUE,
            account_id TEXT NOT NULL,
            request_id TEXT NOT NULL,
            body_hash TEXT NOT NULL,
            entity TEXT NOT NULL,
            project TEXT NOT NULL,
            run_id TEXT NOT NULL,
            storage_id TEXT NOT NULL,
            patch_json TEXT NOT NULL,
            key_source TEXT NOT NULL,
            state INTEGER NOT NULL,
            accepted_at REAL NOT NULL,
            settled_at REAL,
            attempts INTEGER NOT NULL DEFAULT 0,
            message TEXT NOT NULL DEFAULT '',
            conflicts_json TEXT NOT NULL DEFAULT '[]',
            not_honoured_json TEXT NOT NULL DEFAULT '[]',
            UNIQUE (account_id, request_id)
        )""",
        "CREATE INDEX writes_settled ON writes (settled_at)",
    ),
)
_COLUMNS = (
    "seq, write_id, account_id, request_id, body_hash, entity, project, run_id, storage_id, patch_json, "
    "key_source, state, accepted_at, settled_at, attempts, message, conflicts_json, not_honoured_json"
)
# What SQLite says when a disk, a quota or a file size limit is exhausted.
_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC})


class JournalStore:
    """The open file. Made and used in one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._as_faults():
            # SQLite gives its side files the mode of the main file.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Folds the log into the file and lets go of it."""
        self._db.close()

    def append(self, new: NewWrite, write_id: str, now: float) -> tuple[Entry, bool]:
        """Commits a write and returns it with True, or the first write of the same request id with False."""
        body_hash = new.body_hash()
        with self._transaction():
            found = self._one("account_id = ? AND request_id = ?", new.account_id, new.request_id)
            if found is None:
                self._insert(new, write_id, body_hash, now)
                found = self._one("write_id = ?", write_id)
                assert found is not None
                return found, True
        if found.body_hash != body_hash:
            raise RequestIdReused(
                f"request_id {new.request_id!r} was used before for another change of {found.path}; "
                "give each change an id of its own, such as a new UUID",
                field="request_id",
                metadata={"write_id": found.write_id},
            )
        return found, False

    def mark_sending(self, write_id: str, conflicts: Iterable[Conflict]) -> None:
        """Commits that the write is about to be sent (once more), and what it will overwrite."""
        self._update(
            "state = ?, attempts = attempts + 1, conflicts_json = ?",
            write_id,
            int(WriteState.SENDING),
            conflicts_to_json(conflicts),
        )

    def settle(self, entry: Entry) -> None:
        """Commits how the write ended."""
        self._update(
            "state = ?, settled_at = ?, message = ?, conflicts_json = ?, not_honoured_json = ?",
            entry.write_id,
            int(entry.state),
            entry.settled_at,
            # A server's words may hold what has no UTF-8.
            entry.message.encode("utf-8", "replace").decode(),
            conflicts_to_json(entry.conflicts),
            conflicts_to_json(entry.not_honoured),
        )

    def open_entries(self) -> list[Entry]:
        """Everything not settled, in order of acceptance."""
        return self._select("settled_at IS NULL ORDER BY seq")

    def by_write_id(self, account_id: str, write_id: str) -> Entry | None:
        """One write of this account."""
        with self._as_faults():
            return self._one("account_id = ? AND write_id = ?", account_id, write_id)

    def by_request_id(self, account_id: str, request_id: str) -> Entry | None:
        """The write of this account that came with this request id."""
        with self._as_faults():
            return self._one("account_id = ? AND request_id = ?", account_id, request_id)

    def settled(
        self,
        account_id: str,
        path: tuple[str, str, str] | None,
        states: Sequence[int],
        before_seq: int,
        limit: int,
    ) -> list[Entry]:
        """Settled writes of an account, newest first; of one run, in some states, older than a number."""
        where, values = "account_id = ? AND settled_at IS NOT NULL AND seq < ?", [account_id, before_seq]
        if path is not None:
            where += " AND entity = ? AND project = ? AND run_id = ?"
            values += path
        where += f" AND state IN ({', '.join('?' * len(states))})"
        return self._select(f"{where} ORDER BY seq DESC LIMIT ?", *values, *states, limit)

    def last_settled(self) -> dict[str, float]:
        """When the newest settled write of each account was settled."""
        with self._as_faults():
            return dict(
                self._db.execute(
                    "SELECT account_id, MAX(settled_at) FROM writes WHERE settled_at IS NOT NULL GROUP BY account_id"
                )
            )

    def prune(self, now: float) -> None:
        """Forgets writes settled more than seven days ago."""
        with self._transaction():
            self._db.execute("DELETE FROM writes WHERE settled_at < ?", (now - KEPT_S,))

    def _prepare(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if found > len(MIGRATIONS):
                raise Fault(
                    f"the journal {self._path} has format {found}, and this version of runtap knows formats up to "
                    f"{len(MIGRATIONS)}: it was written by a newer one; install that again, or move the file away "
                    "(writes waiting in it are then not sent)"
                )
            for statements in MIGRATIONS[found:]:
                for statement in statements:
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _insert(self, new: NewWrite, write_id: str, body_hash: str, now: float) -> None:
        self._db.execute(
            "INSERT INTO writes (write_id, account_id, request_id, body_hash, entity, project, run_id, storage_id, "
            "patch_json, key_source, state, accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                write_id,
                new.account_id,
                new.request_id,
                body_hash,
                new.entity,
                new.project,
                new.run_id,
                new.storage_id,
                new.patch.to_json(),
                new.key_source,
                int(WriteState.ACCEPTED),
                now,
            ),
        )

    def _update(self, assignments: str, write_id: str, *values: object) -> None:
        with self._transaction():
            self._db.execute(f"UPDATE writes SET {assignments} WHERE write_id = ?", (*values, write_id))

    def _one(self, where: str, *values: object) -> Entry | None:
        with closing(self._db.execute(f"SELECT {_COLUMNS} FROM writes WHERE {where}", values)) as rows:
            row = rows.fetchone()
        return None if row is None else _entry(row)

    def _select(self, where: str, *values: object) -> list[Entry]:
        with (
            self._as_faults(),
            closing(self._db.execute(f"SELECT {_COLUMNS} FROM writes WHERE {where}", values)) as rows,
        ):
            return [_entry(row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._as_faults():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite may have rolled back by itself, and on a broken disk even this can fail.
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _as_faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code in _NO_ROOM:
                raise DiskFull(
                    f"the disk is full or over its quota: the journal {self._path} cannot grow, so nothing was "
                    f"recorded ({error}); make room and try again"
                ) from error
            if code is not None and code & 0xFF == sqlite3.SQLITE_BUSY:
                raise Fault(f"the journal {self._path} is in use by another daemon") from error
            raise Fault(
                f"the journal {self._path} cannot be used ({error}); if it is damaged, move it away and start again "
                "(writes waiting in it are then not sent)"
            ) from error
        except OSError as error:
            raise Fault(f"the journal {self._path} cannot be opened: {error.strerror}") from error


def _entry(row: Sequence[Any]) -> Entry:
    return Entry(
        seq=row[0],
        write_id=row[1],
        account_id=row[2],
        request_id=row[3],
        body_hash=row[4],
        entity=row[5],
        project=row[6],
        run_id=row[7],
        storage_id=row[8],
        patch=Patch.from_json(row[9]),
        key_source=row[10],
        state=WriteState(row[11]),
        accepted_at=row[12],
        settled_at=row[13],
        attempts=row[14],
        message=row[15],
        conflicts=conflicts_from_json(row[16]),
        not_honoured=conflicts_from_json(row[17]),
    )
