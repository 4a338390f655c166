"""Records and answers on disk: one `records.db` per account, disposable, used from one thread of its own.

The file itself is `tables.py`'s, the space it takes `space.py`'s. Documents too large for a message lie in a table of
their own, so that a run is read without them and they are read in pieces.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from runtapd.cache import tables
from runtapd.cache.eviction import minute_of
from runtapd.cache.space import RECORDS, Space
from runtapd.cache.tables import transaction
from runtapd.model.run import DocumentKind, Record

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

    FILE: ClassVar[tables.File] = tables.RECORDS

    def __init__(self, folder: Path) -> None:
        self._db = tables.opened(folder, self.FILE)
        self.space = Space(self._db, RECORDS)

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
        with transaction(self._db):
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
                self._used(record.storage_id, record.fetched_at)

    def _put_documents(self, record: Record) -> None:
        query = "SELECT kind, digest FROM documents WHERE storage_id = ?"
        kept = dict(self._db.execute(query, (record.storage_id,)).fetchall())
        for kind, text in record.documents.items():
            body = text.encode()
            digest = digest_of(body)
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
        with transaction(self._db):
            self._db.executemany(
                "UPDATE records SET checked_at = ? WHERE storage_id = ?", [(at, i) for i in storage_ids]
            )

    def remove(self, storage_id: str) -> None:
        """Forgets a run."""
        with transaction(self._db):
            self._delete(storage_id)

    def _delete(self, storage_id: str) -> None:
        self._db.execute("DELETE FROM records WHERE storage_id = ?", (storage_id,))
        self._db.execute("DELETE FROM documents WHERE storage_id = ?", (storage_id,))
        self._db.execute("DELETE FROM uses WHERE name = ?", (storage_id,))

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
        with transaction(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(answer.key, answer.fetched_at, answer.whole_at, answer.versioned, answer.total),
                    *(answer.incomplete, json.dumps(answer.runs)),
                ),
            )
            self._used(answer.key, answer.fetched_at)

    def forget_answers(self) -> None:
        """Forgets all lists; the runs stay."""
        with transaction(self._db):
            self._db.execute("DELETE FROM uses WHERE name IN (SELECT key FROM answers)")
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

    def put_small(self, key: str, fetched_at: float, body: str) -> None:
        """Keeps an answer that is no list of runs."""
        with transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO small_answers VALUES (?, ?, ?)", (key, fetched_at, body))
            self._used(key, fetched_at)

    def small(self, key: str) -> tuple[float, str] | None:
        """Returns when such an answer was fetched, and what it was."""
        row = self._db.execute("SELECT fetched_at, body FROM small_answers WHERE key = ?", (key,)).fetchone()
        return tuple(row) if row else None

    def remove_small(self, key: str) -> None:
        """Forgets such an answer."""
        with transaction(self._db):
            self._db.execute("DELETE FROM small_answers WHERE key = ?", (key,))
            self._db.execute("DELETE FROM uses WHERE name = ?", (key,))

    def counts(self) -> Counter[str]:
        """Returns the numbers of runs and of lists of them."""
        records = self._db.execute("SELECT count(*) FROM records").fetchone()[0]
        answers = self._db.execute("SELECT count(*) FROM answers").fetchone()[0]
        return Counter(runs=records, lists=answers)

    def ids_of(self, paths: Iterable[tuple[str, str, str]]) -> set[str]:
        """Returns the storage ids of the runs of these paths that are here."""
        query = "SELECT storage_id FROM records WHERE entity = ? AND project = ? AND run_id = ?"
        rows = (self._db.execute(query, path).fetchone() for path in paths)
        return {row[0] for row in rows if row}

    def _used(self, name: str, at: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO uses VALUES (?, ?)", (name, minute_of(at)))


def digest_of(body: bytes) -> bytes:
    """Names the text of a document."""
    return hashlib.blake2b(body, digest_size=16).digest()


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
