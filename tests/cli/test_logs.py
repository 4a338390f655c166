"""`runtap logs`: a JSON log for people, over its rotation."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtap.cli import logs
from tests.support.client import Place, new_place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with new_place(tmp_path) as made:
        yield made


def test_an_event_is_one_readable_line() -> None:
    line = (
        '{"time": "2026-11-21T21:31:35.295Z", "level": "info", "logger": "x", "message": "serving", "pid": 3}'
    )
    assert logs.readable(line) == "2026-11-21 21:31:35.295 info    serving  [pid=3]"


def test_a_traceback_is_indented_below() -> None:
    line = json.dumps({"time": "T", "level": "error", "message": "m", "traceback": "a\nb"})
    assert logs.readable(line).splitlines()[1:] == ["    a", "    b"]


@pytest.mark.parametrize("line", ["", "plain words", "[1]", "3", '{"half'])
def test_what_is_no_event_stays_as_it_is(line: str) -> None:
    assert logs.readable(line) == line


def test_the_tail_reaches_into_rotated_files(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    path.write_text("5\n6\n")
    Path(f"{path}.1").write_text("3\n4\n")
    Path(f"{path}.2").write_text("1\n2\n")
    assert logs.tail(str(path), 0) == []
    assert logs.tail(str(path), 1) == ["6"]
    assert logs.tail(str(path), 5) == ["2", "3", "4", "5", "6"]
    assert logs.tail(str(path), 50) == ["1", "2", "3", "4", "5", "6"]


def test_following_goes_on_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    path.write_text("old\n")
    lines = logs.new_lines(str(path))
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(next(lines) for _ in range(3)))
    reader.start()
    for text in ("half", " a line\nsecond\n"):
        threading.Event().wait(0.3)
        with open(path, "a") as file:
            file.write(text)
    os.rename(path, f"{path}.1")
    path.write_text("third\n")
    reader.join(10)
    assert found == ["half a line", "second", "third"]
    lines.close()


def test_the_log_of_a_daemon_and_of_one_that_has_ended(place: Place) -> None:
    none = place.runtap("logs")
    assert none.code == 1
    assert none.err.startswith("runtap: there is no log yet at ")
    place.runtap("start")
    token = place.info()["token"]
    place.runtap("stop")
    shown = place.runtap("logs", "-n", "500")
    assert shown.code == 0
    assert " info    serving  [version=" in shown.out
    assert token not in shown.out
    raw = place.runtap("logs", "--json", "-n", "1").out
    assert set(json.loads(raw)) >= {"time", "level", "message"}


def test_following_ends_quietly_when_interrupted(place: Place) -> None:
    place.runtap("start")
    with place.running("-u", "-m", "runtap", "logs", "-f", "-n", "1") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(2)
        assert process.communicate(timeout=20)[1].strip() == ""
        assert process.returncode == 130
