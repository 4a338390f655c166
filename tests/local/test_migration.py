"""Databases of an earlier format are brought over: all of it or nothing, however long it takes and whatever happens."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from runtap_local.program.process import _await_answer
from runtap_local.store import lines
from runtap_local.store.database import Database, DatabaseError
from runtap_local.store.lines import Stream
from tests.local.test_storage import write_format_1
from tests.support.local_server import base_env, run_command

DIES = """
import os, signal, sys
from runtap_local.store import migrations
from runtap_local.program.cli import main

left, put = int(sys.argv.pop(1)), migrations.put
def dying(*arguments):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    put(*arguments)
migrations.put = dying
main()
"""
FULL_DISK = """
import runtap_local.store.database as database
from runtap_local.program.cli import main

# No smaller than the file is: not one page more.
database._PRAGMAS += ("max_page_count=1",)
main()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A data folder with a database of format 1."""
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    write_format_1(path / "local.db")
    yield path
    run_command(path, "stop", check=False)


def format_of(home: Path) -> int:
    """What the database says itself."""
    with closing(sqlite3.connect(home / "local.db")) as connection:
        return int(connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0])


def tables_of(home: Path) -> set[str]:
    """The tables that there are."""
    with closing(sqlite3.connect(home / "local.db")) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """As long as somebody else writes."""
    with closing(sqlite3.connect(home / "local.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")


def run_script(script: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The program with something wrong in it."""
    command = [sys.executable, "-c", script, *arguments]
    env = base_env(home.parent)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=40)


def test_who_is_killed_meanwhile_leaves_the_old_format(home: Path) -> None:
    before = tables_of(home)
    for after in ("0", "3"):
        done = run_script(DIES, after, "--home", str(home), "status", home=home)
        assert done.returncode == -signal.SIGKILL and "from format 1 to format 2" in done.stderr
        assert format_of(home) == 1 and tables_of(home) == before
    Database(home / "local.db").close()
    assert format_of(home) == 2 and "lines" not in tables_of(home)


def test_a_full_disk_leaves_the_old_format(home: Path) -> None:
    before = tables_of(home)
    done = run_script(FULL_DISK, "--home", str(home), "serve", home=home)
    assert done.returncode == 1 and "Error: the disk of the server is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert format_of(home) == 1 and tables_of(home) == before


def test_start_says_what_takes_long_and_waits_for_it(home: Path) -> None:
    command = [sys.executable, "-m", "runtap_local", "--home", str(home), "start", "--json"]
    with locked(home):  # as `user add` does while it brings the database over
        process = subprocess.Popen(
            command, env=base_env(home.parent), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        said = process.stderr.readline()
        assert "from format 1 to format 2" in said and "cannot read it afterwards" in said
        assert process.poll() is None
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and not err, err
    assert json.loads(out)["url"].startswith("http://127.0.0.1:")
    assert format_of(home) == 2
    with Database(home / "local.db").read() as connection:
        assert len(lines.between(connection, 1, Stream.HISTORY, 0, 10**6)) == 3000


def test_who_opens_it_now_waits_for_no_writer(home: Path) -> None:
    Database(home / "local.db").close()
    with locked(home):
        assert run_command(home, "status", check=False).returncode == 3
        assert not run_command(home, "user", "list").stderr


def test_a_server_that_says_what_it_does_has_time(tmp_path: Path) -> None:
    said: list[str] = []
    reader, writer = os.pipe()
    deadline = time.monotonic() + 0.05
    os.write(writer, b'{"progress": "one"}\n{"prog')

    def say(text: str) -> None:
        said.append(text)
        if text == "one":
            time.sleep(0.1)
            os.write(writer, b'ress": "two"}\n{"ok": true}\n')

    try:
        assert _await_answer(reader, deadline, say) == {"ok": True} and said == ["one", "two"]
        assert _await_answer(reader, deadline, say) is None
        os.close(writer)
        assert _await_answer(reader, time.monotonic() + 10, say) == {}
    finally:
        os.close(reader)


def test_a_database_that_stays_locked_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtap_local.store.database._PATIENCE", 2)
    monkeypatch.setattr("runtap_local.store.database._PRAGMAS", ("busy_timeout=10",))
    with locked(home), pytest.raises(DatabaseError, match="another program keeps"):
        Database(home / "local.db", lambda text: None)
