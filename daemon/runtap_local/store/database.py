"""The database: how it is opened, its version, and the two ways to use it, reading and writing."""

import errno
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Error as DriverError
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ..faults import Busy, Fault, NoRoom
from . import revisions
from .migrations import migrate
from .tables import SCHEMA_VERSION, meta, metadata

_LOG = logging.getLogger(__name__)
_PATIENCE: Final = 60  # times the busy_timeout: somebody else may be bringing a large database over
_LONG_LOG: Final = 256 * 1024 * 1024
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WRITES: Final = "runtap_writes"
_PRAGMAS: Final = (
    "busy_timeout=10000",  # the command line writes beside the server
    "journal_mode=WAL",
    "synchronous=NORMAL",  # a crash of the process loses nothing, one of the machine the last moments
    "cache_size=-32000",
    "journal_size_limit=67108864",
)


Say = Callable[[str], None]
"""Takes one line for people who wait."""


class DatabaseError(Exception):
    """The database cannot be used; the text says why and what to do."""


class Database:
    """One SQLite file in WAL mode: any number of readers beside one writer, each on a snapshot of its own."""

    def __init__(self, path: Path, say: Say = _LOG.warning) -> None:
        """Open it, made or brought over first where it has to be; ``say`` is told of what takes long."""
        self._engine = _open(path)
        self._longest_log = _LONG_LOG
        self._log = path.with_name(path.name + "-wal")
        self._writer = self._engine.execution_options(**{_WRITES: True})
        # SQLite has one writer at a time; waiting here is fair and quick, waiting inside SQLite is polling.
        self._write_lock = threading.Lock()
        try:
            self._prepare(path, say)
        except SQLAlchemyError as error:
            self.close()
            raise DatabaseError(f"cannot use the database {path}: {getattr(error, 'orig', error)}") from None
        except (DatabaseError, Fault) as error:
            self.close()
            raise DatabaseError(str(error)) from None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view of everything, until the end of the block."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: all of the block or, after an exception, nothing of it."""
        try:
            with self._write_lock, self._writer.begin() as connection:
                yield connection
        except OperationalError as error:
            raise fault_of(error) or error from None

    def secret(self, name: str) -> bytes:
        """A random secret of this data folder, made once."""
        with self.write() as connection:
            found = connection.scalar(select(meta.c.value).where(meta.c.key == f"secret:{name}"))
            if found is None:
                found = secrets.token_hex(32)
                connection.execute(insert(meta).values(key=f"secret:{name}", value=found))
        return bytes.fromhex(found)

    def close(self) -> None:
        """Let go of every connection; the last one tidies the write-ahead log."""
        self._engine.dispose()

    def give_back(self, say: Say = _LOG.warning, least: int = 64 * 1024 * 1024) -> None:
        """Give the disk back what deleted runs have left in the file, once that is more than what is still in use.

        For a moment at which nobody waits for the database: the time it takes is that of what is kept.
        """
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            (free,), (pages,), (size,) = (
                cursor.execute(f"PRAGMA {name}").fetchone()
                for name in ("freelist_count", "page_count", "page_size")
            )
            if free * size < least or free * 2 < pages:
                return
            say(f"giving {free * size // 1_000_000} MB of deleted data back to the disk")
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except DriverError as error:
            _LOG.warning("the space stays with the database for now: %s", error)
        finally:
            connection.close()

    def shorten_log(self, patience_ms: int = 10_000) -> None:
        """Begin the write-ahead log anew where it has grown long.

        It begins anew by itself whenever a writer finds no reader, but readers without a pause would have it grow for
        ever. This waits for those under way, and writers wait for this; where that was in vain, it is tried again once
        the log is twice as long.
        """
        size = self._log.stat().st_size if self._log.exists() else 0
        if size < self._longest_log:
            return
        with self._write_lock:
            connection = self._engine.raw_connection()
            try:
                cursor = connection.cursor()
                cursor.execute(f"PRAGMA busy_timeout={patience_ms}")
                busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._longest_log = 2 * size if busy else _LONG_LOG
            finally:
                connection.invalidate()  # its patience is not that of others

    def _prepare(self, path: Path, say: Say) -> None:
        version, complete = self._look()
        if version == SCHEMA_VERSION and complete:
            return  # without waiting for whoever writes just now
        if version is not None and version > SCHEMA_VERSION:
            raise DatabaseError(
                f"{path} has format {version}, this program reads formats up to {SCHEMA_VERSION}: "
                f"use the runtap version that wrote it, or another --home"
            )
        if version is not None and version < SCHEMA_VERSION:
            say(
                f"bringing {path} from format {version} to format {SCHEMA_VERSION}: about half a minute for each "
                "2 GB, and earlier versions of runtap cannot read it afterwards"
            )
        for left in reversed(range(_PATIENCE)):
            try:
                with self.write() as connection:
                    _bring_up_to_date(connection)
                return
            except Busy:
                if not left:
                    raise

    def _look(self) -> tuple[int | None, bool]:
        """The format of the file, None where it is new; and whether everything is there that belongs to ours."""
        with self.read() as connection:
            tables = set(inspect(connection).get_table_names())
            found = _format(connection) if meta.name in tables else None
            return found, tables >= metadata.tables.keys() and revisions.are_kept(connection)


def _format(connection: Connection) -> int | None:
    version = connection.scalar(select(meta.c.value).where(meta.c.key == "schema_version"))
    return None if version is None else int(version)


def _bring_up_to_date(connection: Connection) -> None:
    """Make what is not there, and take the steps that lead from an earlier format to ours: all of it or nothing."""
    metadata.create_all(connection)
    version = _format(connection)
    if version is None:
        connection.execute(insert(meta).values(key="schema_version", value=str(SCHEMA_VERSION)))
    elif version < SCHEMA_VERSION:
        migrate(connection, version, SCHEMA_VERSION)
        connection.execute(
            update(meta).where(meta.c.key == "schema_version").values(value=str(SCHEMA_VERSION))
        )
    revisions.keep(connection)


def fault_of(error: BaseException | None) -> Fault | None:
    """What clients are told of trouble with the disk or the database that is none of their doing."""
    full = isinstance(error, OSError) and error.errno in _FULL
    text = str(error.orig) if isinstance(error, OperationalError) else ""
    if full or "disk is full" in text:
        return NoRoom("the disk of the server is full: make room on it, then try again")
    if "database is locked" in text:
        return Busy("another program keeps the server's database locked: try again")
    return None


def _open(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", pool_size=8, max_overflow=16)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        # The driver's own way of opening transactions cannot say IMMEDIATE and leaves reads outside of any.
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
