"""`runtap start | stop | restart | status | flush`, and how trouble is told."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.client import FAKE_DAEMON, Place, new_place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with new_place(tmp_path) as made:
        yield made


def test_a_whole_life(place: Place) -> None:
    absent = place.runtap("status")
    assert (absent.code, absent.out.splitlines()[1:]) == (3, [f"data  {place.folders.state}"])
    started = place.runtap("start")
    pid, version = place.info()["pid"], place.info()["version"]
    assert (started.code, started.out) == (0, f"runtap started (pid {pid}, version {version})\n")
    assert place.runtap("start").out == f"runtap runs already (pid {pid}, version {version})\n"
    status = place.runtap("status")
    assert status.code == 0
    assert status.out.startswith(f"runtap is running (pid {pid}, version {version})\n")
    assert f"endpoint             {place.info()['endpoint']}\n" in status.out
    assert "fetched before" in place.runtap("flush").out
    assert place.runtap("restart").out.startswith("runtap started (pid ")
    assert place.info()["pid"] != pid
    assert place.runtap("stop").out == "runtap stopped\n"
    assert place.runtap("stop").out == "runtap was not running\n"
    assert place.processes() == []


def test_start_json_is_idempotent_and_says_where_the_token_lies(place: Place) -> None:
    first = place.runtap("start", "--json").json()
    second = place.runtap("start", "--json").json()
    assert first["started"] is True
    assert second == {**first, "started": False}
    info = json.loads(Path(first["token_file"]).read_text())
    assert (info["pid"], info["endpoint"]) == (first["pid"], first["endpoint"])
    assert info["token"] not in json.dumps(first)


def test_status_json_has_what_scripts_stand_on(place: Place) -> None:
    absent = place.runtap("status", "--json")
    assert (absent.code, json.loads(absent.out)) == (3, {"running": False})
    assert place.processes() == []
    place.runtap("start")
    status = place.runtap("status", "--json").json()
    assert status["running"] is True
    assert (status["pid"], status["endpoint"]) == (place.info()["pid"], place.info()["endpoint"])
    assert status["version"] == place.info()["version"]
    assert (status["accounts"], status["pending_writes"]) == ([], 0)
    assert status["start_reason"] == "start"
    assert place.info()["token"] not in json.dumps(status)


def test_stop_and_flush_json(place: Place) -> None:
    assert place.runtap("stop", "--json").json() == {"running": False, "outcome": "absent"}
    assert place.runtap("flush", "--json").json()["not_before"].endswith("Z")
    assert place.runtap("stop", "--json").json() == {"running": False, "outcome": "stopped"}
    assert place.runtap("restart", "--json").json()["started"] is True


def test_looking_does_not_keep_the_daemon_alive(place: Place) -> None:
    place.runtap("start")
    first, second = (
        datetime.fromisoformat(place.runtap("status", "--json").json()["idle_exit_at"][:26]) for _ in range(2)
    )
    assert abs(second - first) < timedelta(
        milliseconds=20
    )  # the rounding of clocks, not the time between the calls


def test_a_daemon_that_hangs_is_named_and_ended(place: Place) -> None:
    pid = place.runtap("start", "--json").json()["pid"]
    os.kill(pid, signal.SIGSTOP)
    status = place.runtap("status")
    assert (status.code, status.out) == (1, "")
    assert (
        status.err
        == f"runtap: the daemon (pid {pid}) runs but does not answer: `runtap restart` replaces it\n"
    )
    os.kill(pid, signal.SIGCONT)


def test_autostart_forbidden_is_exit_code_3_and_start_starts_all_the_same(place: Place) -> None:
    place.extra["RUNTAP_AUTOSTART"] = "0"
    refused = place.runtap("flush")
    assert (refused.code, refused.out) == (3, "")
    assert refused.err == (
        "runtap: no runtap daemon is running, and RUNTAP_AUTOSTART=0 forbids to start one: run `runtap start`\n"
    )
    assert place.runtap("start").code == 0
    assert place.runtap("flush").code == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nope"], "runtap: No such command 'nope' (see `runtap --help`)\n"),
        (["start", "--nope"], "runtap: No such option '--nope' (see `runtap start --help`)\n"),
        (["logs", "-n", "x"], "runtap: Invalid value for '-n' / '--lines': 'x' is not a valid integer range"),
        (["local", "user", "add"], "runtap: Missing argument 'NAME' (see `runtap local user add --help`)\n"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(place: Place, words: list[str], complaint: str) -> None:
    outcome = place.runtap(*words)
    assert outcome.code == 2
    assert outcome.err.startswith(complaint)
    assert outcome.err.count("\n") == 1


def test_no_words_at_all_show_the_help(place: Place) -> None:
    outcome = place.runtap()
    assert outcome.code == 2
    assert outcome.out == place.runtap("--help").out


def test_the_version(place: Place) -> None:
    assert place.runtap("--version").out.startswith("runtap 0.")


def test_a_folder_that_is_refused_is_told_in_one_line(place: Place) -> None:
    Path(place.folders.runtime).mkdir(parents=True)
    Path(place.folders.runtime).chmod(0o777)
    outcome = place.runtap("start")
    assert outcome.code == 1
    assert "has mode 0777 instead of 0700" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_full_disk_is_told_in_one_line(place: Place) -> None:
    word = {
        "ok": False,
        "reason": "disk",
        "message": "the disk under /x is full; free some space, then start again",
    }
    place.extra.update(PYTHONPATH=str(FAKE_DAEMON), RUNTAP_FAKE="fail", RUNTAP_FAKE_WORD=json.dumps(word))
    outcome = place.runtap("start")
    assert (outcome.code, outcome.err) == (
        1,
        f"runtap: the runtap daemon could not start (disk): {word['message']}\n",
    )


def test_what_nobody_foresaw_is_one_line_and_a_file(place: Place) -> None:
    place.runtap("start")
    place.runtap("stop")
    outcome = place.python(
        "import runtap.cli.main as cli\ncli.COMMANDS['start'] = ('no_such_module', '')\ncli.main(['start'])"
    )
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("runtap: unexpected ModuleNotFoundError: No module named")
    place_named = Path(outcome.err.rstrip("\n").rpartition("details are in ")[2])
    assert "Traceback" in place_named.read_text()
    assert place_named.stat().st_mode & 0o777 == 0o600


def test_a_reader_that_leaves_early_sees_no_complaint(place: Place) -> None:
    with place.running("-m", "runtap", "--help") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
