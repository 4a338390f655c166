"""The database: how it is opened, its version, and the two ways to use it, reading and writing."""

import errno
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, insert, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ..faults import Busy, Fault, NoRoom
from . import revisions
from .migrations import migrate
from .tables import SCHEMA_VERSION, meta, metadata

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WRITES: Final = "runtap_writes"
_PRAGMAS: Final = (
    "busy_timeout=10000",  # the command line writes beside the server
    "journal_mode=WAL",
    "synchronous=NORMAL",  # a crash of the process loses nothing, one of the machine the last moments
    "cache_size=-32000",
    "journal_size_limit=67108864",
)


class DatabaseError(Exception):
    """The database cannot be used; the text says why and what to do."""


class Database:
    """One SQLite file in WAL mode: any number of readers beside one writer, each on a snapshot of its own."""

    def __init__(self, path: Path) -> None:
        self._engine = _open(path)
        self._writer = self._engine.execution_options(**{_WRITES: True})
        # SQLite has one writer at a time; waiting here is fair and quick, waiting inside SQLite is polling.
        self._write_lock = threading.Lock()
        try:
            self._prepare(path)
        except SQLAlchemyError as error:
            self.close()
            raise DatabaseError(f"cannot use the database {path}: {getattr(error, 'orig', error)}") from None

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

    def _prepare(self, path: Path) -> None:
        with self.write() as connection:
            metadata.create_all(connection)
            version = connection.scalar(select(meta.c.value).where(meta.c.key == "schema_version"))
            if version is None:
                connection.execute(insert(meta).values(key="schema_version", value=str(SCHEMA_VERSION)))
            elif int(version) > SCHEMA_VERSION:
                raise DatabaseError(
                    f"{path} has format {version}, this program reads formats up to {SCHEMA_VERSION}: "
                    f"use the runtap version that wrote it, or another --home"
                )
            elif int(version) < SCHEMA_VERSION:
                migrate(connection, int(version), SCHEMA_VERSION)
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
