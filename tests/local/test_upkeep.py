"""The database file and its write-ahead log stay as small as they can be."""

import os
from pathlib import Path

import pytest
from sqlalchemy import select

from runtap_local.store import projects, users
from runtap_local.store.database import Database
from runtap_local.store.tables import meta


def test_deleted_data_is_given_back(tmp_path: Path) -> None:
    path, said = tmp_path / "local.db", list[str]()
    database = Database(path)
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE much (text TEXT)")
        connection.exec_driver_sql("INSERT INTO much VALUES (?)", (os.urandom(600_000).hex(),))
    database.give_back(said.append, least=100_000)  # all of it is in use
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM much")
    database.close()  # which tidies the write-ahead log
    database = Database(path)
    database.give_back(said.append)  # not worth it
    assert not said and path.stat().st_size > 1_000_000
    database.give_back(said.append, least=100_000)
    assert said == ["giving 1 MB of deleted data back to the disk"] and path.stat().st_size < 900_000
    database.give_back(said.append, least=100_000)  # nothing left
    assert len(said) == 1
    database.close()
    Database(path).close()


def test_readers_without_a_pause_do_not_keep_the_log_growing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, log = tmp_path / "local.db", tmp_path / "local.db-wal"
    database = Database(path)
    with database.write() as connection:
        user = users.add(connection, "ann", "k" * 40, 1)
    database.shorten_log()
    assert log.stat().st_size > 0  # not worth it
    database.close()
    monkeypatch.setattr("runtap_local.store.database._LONG_LOG", 100_000)
    database = Database(path)

    def write_much() -> int:
        for number in range(20):
            with database.write() as connection:
                projects.upsert(connection, "ann", f"p{number}", user.pk, 1, {"description": "x" * 10_000})
        return log.stat().st_size

    with database.read() as reader:
        reader.execute(select(meta)).all()
        size = write_much()
        assert size > 100_000
        database.shorten_log(patience_ms=20)
        assert log.stat().st_size >= size
    database.shorten_log()
    assert log.stat().st_size >= size  # not again so soon
    while write_much() < 2 * size:
        with database.read() as reader:
            reader.execute(select(meta)).all()
            write_much()
    database.shorten_log()
    assert log.stat().st_size == 0
    with database.read() as reader:
        assert projects.find(reader, "ann", "p19") is not None
    database.close()
