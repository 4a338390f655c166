"""What the database takes on disk, what an append costs, and databases that an older version wrote."""

import json
import random
import sqlite3
from pathlib import Path

import pytest

from runtap_local.store import lines, projects, runs, users
from runtap_local.store.chunks import MAX_LINES
from runtap_local.store.database import Database
from runtap_local.store.lines import Line, Stream
from tests.local.client import Client
from tests.support.local_server import start_local_server

FORMAT_1 = """
CREATE TABLE meta ("key" VARCHAR NOT NULL, value TEXT NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE users (pk INTEGER NOT NULL, name VARCHAR NOT NULL, entity VARCHAR NOT NULL, email VARCHAR NOT NULL,
    created_at BIGINT NOT NULL, PRIMARY KEY (pk), UNIQUE (name), UNIQUE (entity));
CREATE TABLE api_keys (pk INTEGER NOT NULL, user_pk INTEGER NOT NULL, digest VARCHAR NOT NULL,
    created_at BIGINT NOT NULL, PRIMARY KEY (pk), FOREIGN KEY(user_pk) REFERENCES users (pk), UNIQUE (digest));
CREATE TABLE projects (pk INTEGER NOT NULL, entity VARCHAR NOT NULL, name VARCHAR NOT NULL, user_pk INTEGER NOT NULL,
    description TEXT, access VARCHAR, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
    runs_made INTEGER NOT NULL, PRIMARY KEY (pk), UNIQUE (entity, name),
    FOREIGN KEY(user_pk) REFERENCES users (pk));
CREATE TABLE runs (pk INTEGER NOT NULL, project_pk INTEGER NOT NULL, user_pk INTEGER NOT NULL, name VARCHAR NOT NULL,
    display_name VARCHAR NOT NULL, state VARCHAR NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL, group_name VARCHAR, job_type VARCHAR, program VARCHAR, repo VARCHAR,
    "commit" VARCHAR, host VARCHAR, description TEXT, notes TEXT, sweep_name VARCHAR, tags TEXT NOT NULL,
    debug BOOLEAN NOT NULL, exit_code INTEGER, stop_requested BOOLEAN NOT NULL, history_line_count INTEGER NOT NULL,
    events_line_count INTEGER NOT NULL, log_line_count INTEGER NOT NULL, last_step BIGINT, config TEXT,
    summary_metrics TEXT, system_metrics TEXT, history_keys TEXT, PRIMARY KEY (pk), UNIQUE (project_pk, name),
    FOREIGN KEY(project_pk) REFERENCES projects (pk), FOREIGN KEY(user_pk) REFERENCES users (pk));
CREATE INDEX runs_by_creation ON runs (project_pk, created_at);
CREATE INDEX runs_by_state ON runs (state, heartbeat_at);
CREATE TABLE files (pk INTEGER NOT NULL, run_pk INTEGER NOT NULL, name VARCHAR NOT NULL, blob VARCHAR NOT NULL,
    size BIGINT NOT NULL, md5 VARCHAR NOT NULL, mimetype VARCHAR, updated_at BIGINT NOT NULL, PRIMARY KEY (pk),
    UNIQUE (run_pk, name), FOREIGN KEY(run_pk) REFERENCES runs (pk));
CREATE TABLE lines (run_pk INTEGER NOT NULL, stream INTEGER NOT NULL, line INTEGER NOT NULL, step BIGINT NOT NULL,
    text TEXT NOT NULL, PRIMARY KEY (run_pk, stream, line), FOREIGN KEY(run_pk) REFERENCES runs (pk));
CREATE INDEX lines_by_step ON lines (run_pk, stream, step, line);
INSERT INTO meta VALUES ('schema_version', '1');
INSERT INTO users VALUES (1, 'ann', 'ann', 'ann@example.com', 1);
INSERT INTO projects VALUES (1, 'ann', 'p', 1, NULL, NULL, 1, 2, 1);
"""
RUN = (
    "INSERT INTO runs (pk, project_pk, user_pk, name, display_name, state, created_at, updated_at, heartbeat_at, tags,"
    " debug, stop_requested, history_line_count, events_line_count, log_line_count, last_step) "
    "VALUES (?, 1, 1, ?, ?, 'finished', 1, 2, 2, '[]', 0, 0, ?, ?, ?, ?)"
)


def write_format_1(path: Path) -> dict[int, list[str]]:
    """A database of format 1 with two runs; the texts of the first one's history, events and console."""
    texts = {
        0: [json.dumps({"_step": step * 3, "loss": step / 7}) for step in range(3000)],
        1: [json.dumps({"_wandb": True, "system.cpu": step}) for step in range(5)],
        2: [f"2026-01-01T00:00:00.000000 line {number} ü" for number in range(700)],
    }
    with sqlite3.connect(path) as connection:
        connection.executescript(FORMAT_1)
        connection.execute(RUN, (1, "r1", "first", 3000, 5, 700, 8997))
        connection.execute(RUN, (2, "r2", "second", 12, 0, 0, 50))
        for stream, found in texts.items():
            rows = [(stream, n, n * 3 if stream == 0 else n, text) for n, text in enumerate(found)]
            connection.executemany("INSERT INTO lines VALUES (1, ?, ?, ?, ?)", rows)
        # Lines may lack, and steps may go back.
        gapped = [(0, 50), (1, 4), (2, 4), (10, 7), (11, -1)]
        connection.executemany("INSERT INTO lines VALUES (2, 0, ?, ?, 'x')", gapped)
    connection.close()
    return texts


def schema(path: Path) -> set[tuple[str, str]]:
    """(table, what) for the columns and indexes of all tables."""
    with sqlite3.connect(path) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {
            (table, str(row[1:]))
            for table in tables
            for row in connection.execute(f"PRAGMA table_info({table})")
        }
        for table in tables:
            found |= {(table, row[1]) for row in connection.execute(f"PRAGMA index_list({table})")}
    connection.close()
    return found


def test_databases_of_format_1_are_brought_over(tmp_path: Path) -> None:
    path = tmp_path / "local.db"
    texts = write_format_1(path)
    for _ in range(2):  # the second time there is nothing left to do
        database = Database(path)
        with database.read() as connection:
            run = runs.by_path(connection, "ann", "p", "r1")
            assert run is not None and run.display_name == "first"
            for stream in Stream:
                stored = lines.between(connection, 1, stream, 0, 10**6)
                assert stored == dict(enumerate(texts[stream]))
            assert list(lines.texts(connection, 1, Stream.HISTORY, 30, 60)) == texts[0][10:20]
            assert lines.last_step(connection, 1) == run.last_step == 8997
            placed = [line[:2] for line in lines.placed(connection, 2, Stream.HISTORY)]
            assert placed == [(-1, 11), (4, 1), (4, 2), (7, 10), (50, 0)]
        database.close()
    Database(tmp_path / "new.db").close()
    assert schema(path) == schema(tmp_path / "new.db")


def rows_like_the_sdks(first: int, last: int, rng: random.Random) -> list[str]:
    """Rows as the SDK sends them: keys in random order, numbers with all their digits."""
    texts = []
    for step in range(first, last):
        row = {f"metric_{n}": rng.random() * 10 ** (n - 5) for n in range(10)}
        row |= {"_step": step, "_timestamp": 1.795e9 + step + rng.random(), "_runtime": step + rng.random()}
        keys = list(row)
        rng.shuffle(keys)
        texts.append(json.dumps({key: row[key] for key in keys}, separators=(",", ":")))
    return texts


def bytes_of_a_history(tmp_path: Path, steps: int) -> int:
    """What a history takes on disk that was logged to a server of its own."""
    server = start_local_server(tmp_path / "home")
    client = Client(server.url, server.entity, server.api_key)
    rng = random.Random(3)
    try:
        client.upsert("big")
        for offset in range(0, steps, 1000):
            client.log("big", offset, rows_like_the_sdks(offset, offset + 1000, rng))
        page = client.run("big", f"history(minStep: {steps - 1500}, maxStep: {steps - 500}, samples: 1000)")
        found = [json.loads(row)["_step"] for row in page["history"]]
        assert found == list(range(steps - 1500, steps - 500))
        assert len(client.run("big", "history(samples: 500)")["history"]) == 500
    finally:
        server.stop()
    with sqlite3.connect(server.home / "local.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return sum(path.stat().st_size for path in server.home.glob("local.db*"))


def test_histories_are_kept_small(tmp_path: Path) -> None:
    assert bytes_of_a_history(tmp_path, 20_000) < 5_000_000  # a fifth of what may take 60 MB at most


@pytest.mark.slow
def test_a_hundred_thousand_steps_are_kept_small(tmp_path: Path) -> None:
    assert bytes_of_a_history(tmp_path, 100_000) < 25_000_000  # 60 MB at most


def test_an_append_costs_the_same_at_the_end_as_at_the_beginning(tmp_path: Path) -> None:
    database = Database(tmp_path / "local.db")
    with database.write() as connection:
        user = users.add(connection, "ann", "k" * 40, 1)
        project, _ = projects.upsert(connection, "ann", "p", user.pk, 1)
        pk = runs.create(connection, project.pk, "r", user.pk, 1, {})
    costs = []
    with database.write() as connection:
        for number in range(3 * MAX_LINES):
            before = changes(connection)
            lines.put(connection, pk, Stream.HISTORY, [Line(number, number, "{}")])
            costs.append(changes(connection) - before)
        kept = connection.exec_driver_sql(
            "SELECT first_line, last_line FROM chunks ORDER BY first_line"
        ).all()
    database.close()
    assert max(costs) <= 2  # the last chunk goes and comes back
    assert [tuple(row) for row in kept] == [(n * MAX_LINES, (n + 1) * MAX_LINES - 1) for n in range(3)]


def changes(connection: object) -> int:
    """How many rows were written so far."""
    found: int = connection.exec_driver_sql("SELECT total_changes()").scalar_one()  # type: ignore[attr-defined]
    return found


def test_long_lines_stand_in_chunks_of_their_own(tmp_path: Path) -> None:
    database = Database(tmp_path / "local.db")
    with database.write() as connection:
        user = users.add(connection, "ann", "k" * 40, 1)
        project, _ = projects.upsert(connection, "ann", "p", user.pk, 1)
        pk = runs.create(connection, project.pk, "r", user.pk, 1, {})
        texts = ["a" * 300_000, "b", "c" * 40_000, "d" * 40_000, "e"]
        for number, text in enumerate(texts):
            lines.put(connection, pk, Stream.OUTPUT, [Line(number, number, text)])
        spans = connection.exec_driver_sql(
            "SELECT first_line, last_line FROM chunks ORDER BY first_line"
        ).all()
        assert lines.between(connection, pk, Stream.OUTPUT, 0, 9) == dict(enumerate(texts))
    database.close()
    assert [tuple(span) for span in spans] == [(0, 0), (1, 2), (3, 4)]
