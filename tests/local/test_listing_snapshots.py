"""Remembered lists under concurrency: whatever is written meanwhile, a list is that of one moment."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, insert, update

from runtap_local.ids import Place
from runtap_local.store import revisions
from runtap_local.store import runs as run_store
from runtap_local.store.database import Database
from runtap_local.store.listing import Lists, understand
from runtap_local.store.remembered import Remembered
from runtap_local.store.tables import projects, runs, users

PAIRS = 20
CHOSEN = '{"config.on": true}'
MADE = {"created_at": 1, "updated_at": 1}


def fill(database: Database) -> None:
    """Pairs of runs of which one is on."""
    with database.write() as connection:
        connection.execute(insert(users).values(pk=1, name="u", entity="u", email="", created_at=1))
        connection.execute(insert(projects).values(pk=1, entity="u", name="p", user_pk=1, **MADE))
        rows = [
            {"name": f"{pair:02}{side}", "config": config(side == "a")}
            for pair in range(PAIRS)
            for side in "ab"
        ]
        fixed = {
            "project_pk": 1,
            "user_pk": 1,
            "state": "running",
            "display_name": "",
            "heartbeat_at": 1,
            **MADE,
        }
        connection.execute(insert(runs), [{**fixed, **row} for row in rows])


def config(on: bool) -> str:
    return json.dumps({"on": {"value": on}})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "local.db")
    fill(made)
    yield made
    made.close()


def test_every_list_is_of_one_moment(database: Database) -> None:
    """A writer switches pairs over; a list that mixed two moments would hold both runs of a pair, or none."""
    shared, done = Remembered(), Event()
    by_name, by_value = understand(CHOSEN, "+name"), understand(CHOSEN, "-config.on")

    def write() -> None:
        for turn in range(1, 150):
            with database.write() as connection:
                first = 2 * (turn % PAIRS) + 1
                on = turn // PAIRS % 2 == 1
                run_store.change(connection, first, turn, {"config": config(on)})
                run_store.change(connection, first + 1, turn, {"config": config(not on)})
        done.set()

    def read() -> int:
        looks = 0
        while not done.is_set() or looks < 20:
            with database.read() as connection:
                lists = Lists(connection, shared, 1)
                count = lists.count(by_name)
                for listing in (by_name, by_value):
                    page = lists.page(listing, Place(0), 1000, {"config"})
                    assert count == len(page.rows) == PAIRS and not page.more
                    assert [row.name[:2] for row in page.rows] == [f"{pair:02}" for pair in range(PAIRS)]
                    assert all(json.loads(row.config)["on"]["value"] for row in page.rows)
            looks += 1
        return looks

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        pool.submit(write).result()
        assert all(reader.result() >= 20 for reader in readers)


def test_every_write_moves_the_revision_and_no_reading_does(database: Database) -> None:
    def revision() -> int:
        with database.read() as connection:
            return revisions.of(connection, 1)

    before = revision()
    assert before == 2 * PAIRS and revision() == before
    with database.write() as connection:
        connection.execute(update(runs).where(runs.c.pk == 1).values(notes="by a way nobody thought of"))
    assert revision() == before + 1
    with database.write() as connection:
        run_store.remove(connection, 1)
    assert revision() == before + 2
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        run_store.remove(connection, 2)
        raise ZeroDivisionError
    assert revision() == before + 2


def test_a_database_without_revisions_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    database = Database(path)
    with database.write() as connection:
        for verb in ("INSERT", "UPDATE", "DELETE"):
            connection.exec_driver_sql(f"DROP TRIGGER revise_after_{verb}")
        connection.exec_driver_sql("DROP TABLE revisions")
    database.close()
    database = Database(path)
    fill(database)
    with database.read() as connection:
        assert revisions.of(connection, 1) == 2 * PAIRS
    database.close()


def test_what_is_remembered_is_bounded(database: Database) -> None:
    asked: list[Any] = []

    def ask(connection: Connection, remembered: Remembered, question: int, size: int = 10) -> None:
        def make() -> range:
            asked.append(question)
            return range(size)

        assert list(remembered.once(connection, 1, question, make)) == list(range(size))

    with database.read() as connection:
        remembered = Remembered(most_pks=25)
        for question in (1, 2, 1, 3, 1, 2):  # the third is one too many: the longest unused goes
            ask(connection, remembered, question)
        assert asked == [1, 2, 3, 2]
        ask(connection, remembered, 4, size=100)  # larger than all that is kept: not kept, and not in the way
        ask(connection, remembered, 4, size=100)
        assert asked[4:] == [4, 4]
        asked.clear()
        for question in (*range(2000), 1999):
            ask(connection, remembered, question, size=0)
        ask(connection, remembered, 0, size=0)
        assert asked == [*range(2000), 0]
