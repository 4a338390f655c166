"""Exports of finished histories: Parquet parts, made at the first question and again when the run was written to.

Nobody waits long for them: they are made in a thread of their own, from a snapshot, and are registered in a moment.
Whoever asks meanwhile is told of no parts, which sends readers to the rows themselves.
"""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Row

from ..faults import NotFound
from ..http.signing import FilePath
from ..settings import Settings
from ..store import exports, lines, runs
from ..store.blobs import BlobStore
from ..store.chunks import Placed
from ..store.database import Database
from ..store.exports import Part
from ..store.lines import Stream

_LOG = logging.getLogger(__name__)
_MAX_JOBS: Final = 8
_MAX_TEXT: Final = 32 * 1024 * 1024
"""How much text becomes one part: in memory it is some ten times as much."""
_UNFINISHED: Final = frozenset({"running", "pending", "preempting"})


class PartPath(FilePath):
    """The full name of a part of a run's history; signed as files are."""

    def address(self) -> str:
        """The path below the server's address."""
        return "/exports/" + "/".join(
            quote(part, safe="") for part in (self.entity, self.project, self.run, self.name)
        )


class Exports:
    """Makes the parts of finished runs and finds them again."""

    def __init__(
        self, database: Database, blobs: BlobStore, settings: Settings, patience_s: float = 3.0
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._settings = settings
        self._patience_s = patience_s  # how long who asks waits for parts that are being made
        self._jobs: dict[int, Future[None]] = {}
        self._failed: dict[
            int, int
        ] = {}  # at which revision a run could not be exported: it is not tried again
        self._lock = Lock()  # guards the jobs; nothing is done under it but to look and to note
        self._working = Lock()  # one export at a time leaves the rest of the machine to those who log

    def deadline(self) -> float:
        """Until when a request that begins now may wait for parts, however many runs it asks for."""
        return time.monotonic() + self._patience_s

    def paths(self, run: Row[Any], until: float) -> list[PartPath]:
        """The parts of the run as it is now; none while it runs, without history, or where exports are off."""
        if not self._settings.parquet or run.state in _UNFINISHED:
            return []
        parts = self._known(run.pk)
        if parts is None:
            job = self._job(run.pk)
            if job is not None:
                with contextlib.suppress(FutureTimeout):
                    job.result(max(0.0, until - time.monotonic()))
                parts = self._known(run.pk)
        names = [f"{part.blob}.parquet" for part in parts or ()]
        return [PartPath(run.entity, run.project_name, run.name, name) for name in names]

    def find(self, path: PartPath) -> Path:
        """Where the bytes of a part are. Raises NotFound, also for a part of what the run was before."""
        blob = path.name.removesuffix(".parquet")
        with self._database.read() as connection:
            run = runs.by_path(connection, path.entity, path.project, path.run, heavy=())
            known = exports.parts(connection, run.pk) if run else []
        if all(part.blob != blob for part in known):
            raise NotFound(f"run {path.run} has no such export now: ask for its parts again")
        return self._blobs.path(blob)

    def _known(self, run_pk: int) -> list[Part] | None:
        """The parts, if they are those of the history as it is now."""
        with self._database.read() as connection:
            wanted = exports.revision(connection, run_pk)
            parts = exports.parts(connection, run_pk)
        if self._failed.get(run_pk) == wanted:
            return []
        current = all(part.revision == wanted for part in parts)
        return parts if current and (parts or not wanted) else None

    def _job(self, run_pk: int) -> Future[None] | None:
        """The work on a run's parts, begun now unless there is enough of it already."""
        with self._lock:
            job = self._jobs.get(run_pk)
            if job is None and len(self._jobs) < _MAX_JOBS:
                job = self._jobs[run_pk] = Future()
                Thread(target=self._work, args=(run_pk, job), daemon=True).start()
            return job

    def _work(self, run_pk: int, job: Future[None]) -> None:
        from . import parquet  # pyarrow takes a moment and 50 MB, which most servers never need

        revision = 0
        try:
            with self._working:
                with self._database.read() as connection:
                    revision = exports.revision(connection, run_pk)
                self._export(run_pk)
        except parquet.TooWide as error:
            _LOG.warning("a history is not exported: %s", error)
            self._failed[run_pk] = revision
        except Exception:  # noqa: BLE001 - the top of a thread; the rows themselves can still be read
            _LOG.exception("exporting a history failed")
            self._failed[run_pk] = revision
        finally:
            with self._lock:
                del self._jobs[run_pk]
            job.set_result(None)

    def _export(self, run_pk: int) -> None:
        """Make the parts and register them, unless the run was written to meanwhile."""
        made: list[Part] = []
        unused = made
        try:
            self._write_parts(run_pk, made)
            with self._database.write() as connection:
                current = made and exports.revision(connection, run_pk) == made[0].revision
                replaced = exports.replace(connection, run_pk, made) if current else made
            unused = replaced
        finally:
            for part in unused:
                self._blobs.delete(part.blob)

    def _write_parts(self, run_pk: int, made: list[Part]) -> None:
        with self._database.read() as connection:
            revision = exports.revision(connection, run_pk)
            for rows in divided(
                lines.placed(connection, run_pk, Stream.HISTORY), self._settings.parquet_rows
            ):
                self._write_part(rows, revision, made)

    def _write_part(self, rows: list[Placed], revision: int, made: list[Part]) -> None:
        """Write rows as a part, or as several where that would be a large one of little in it."""
        from . import parquet

        try:
            table = parquet.table([step for step, _, _ in rows], [text for _, _, text in rows])
        except parquet.TooSparse:
            half = len(rows) // 2
            self._write_part(rows[:half], revision, made)
            self._write_part(rows[half:], revision, made)
            return
        blob, target = self._blobs.create()
        made.append(Part(blob, revision))
        with target:
            parquet.write(table, target)


def divided(rows: Iterable[Placed], most: int, most_text: int = _MAX_TEXT) -> Iterator[list[Placed]]:
    """The rows of each part: so many, or as many as fill it."""
    part: list[Placed] = []
    size = 0
    for row in rows:
        part.append(row)
        size += len(row[2])
        if len(part) == most or size >= most_text:
            yield part
            part, size = [], 0
    if part:
        yield part
