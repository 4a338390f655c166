"""Finding, starting and stopping the daemon: one daemon whatever happens, and never a mystery."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runtap import channel, discovery, launch
from runtap.errors import DaemonError, NotRunningError
from tests.support.client import FAKE_DAEMON, Place, kill, new_place, wait_until

PID = "from runtap import channel; print(channel.daemon().connection().info.pid)"
CALLS = """
import time
from runtap import channel
from runtap.v1 import daemon_pb2
for _ in range(20):
    channel.daemon().call("daemon.GetServerInfo", daemon_pb2.GetServerInfoRequest())
    time.sleep(0.1)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with new_place(tmp_path) as made:
        for name in [name for name in os.environ if name.startswith("RUNTAP_")]:
            monkeypatch.delenv(name)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


def connect(place: Place, may_start: bool | None = None) -> channel.Connection:
    return channel.connect(place.folders, may_start=may_start)


def stop(place: Place) -> str:
    return launch.stop(place.folders, channel.shut_down)


def hold(path: str) -> int:
    """Holds a lock as another process would."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def prepare(place: Place) -> None:
    discovery.make_private(place.folders.runtime)
    discovery.make_private(place.folders.state)


def write_info(place: Place, **changes: object) -> None:
    info = {
        "format": 1,
        "instance_id": "x",
        "pid": 1,
        "endpoint": "unix:/nowhere.sock",
        "token": "t",
        **changes,
    }
    prepare(place)
    with open(os.open(place.folders.info_path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(info, file)


# -- one daemon


def test_the_second_client_finds_what_the_first_one_started(place: Place) -> None:
    first = place.python(PID)
    second = place.python(PID)
    assert first.out == second.out
    assert first.err == second.err == ""
    assert len(place.processes()) == 1


def test_many_cold_clients_at_once_end_with_one_daemon(place: Place) -> None:
    clients = [place.start("-c", PID) for _ in range(24)]
    answers = [client.communicate(timeout=50) for client in clients]
    assert {err for _, err in answers} == {""}
    assert {out for out, _ in answers} == {f"{place.info()['pid']}\n"}
    assert len(place.processes()) == 1


def test_calls_survive_daemons_that_are_killed_all_the_time(place: Place) -> None:
    clients = [place.start("-c", CALLS) for _ in range(6)]
    killed: set[int] = set()
    while any(client.poll() is None for client in clients) and len(killed) < 4:
        time.sleep(0.05)
        info = discovery.read_info(place.folders)
        if info is not None and discovery.is_same_process(info):
            time.sleep(
                0.5
            )  # a call outlives one daemon, not two: let those who have just arrived be answered
            kill(info.pid)
            killed.add(info.pid)
    assert [client.communicate(timeout=30)[1] for client in clients] == [""] * 6
    assert len(killed) > 1


def test_two_homes_have_a_daemon_each(place: Place) -> None:
    with new_place(place.root / "other") as other:
        other.root.mkdir()
        assert connect(place).info.pid != other.runtap("start", "--json").json()["pid"]
        assert stop(other) == "stopped"
        assert launch.find(place.folders, channel.probe) is not None


def test_a_home_with_a_long_path_works(place: Place) -> None:
    with new_place(place.root / ("long" * 20) / ("longer" * 10)) as deep:
        deep.root.mkdir(parents=True)
        endpoint = deep.runtap("start", "--json").json()["endpoint"]
        assert len(endpoint) < 100
        assert deep.runtap("status", "--json").json()["endpoint"] == endpoint
        assert stop(deep) == "stopped"
        assert not Path(endpoint.removeprefix("unix:")).parent.exists()


# -- what a start looks like from outside


def test_a_started_daemon_inherits_nothing_it_should_not(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("SOMETHING_PRIVATE", "x")
    daemon = psutil.Process(connect(place).info.pid)
    assert daemon.cwd() == "/"
    assert not {name for name in daemon.environ() if name.startswith(("WANDB_", "SOMETHING_"))}
    assert os.getsid(daemon.pid) != os.getsid(0)
    assert daemon.ppid() != os.getpid()
    assert not psutil.Process().children()


def test_the_working_folder_of_the_caller_cannot_replace_the_daemon(place: Place) -> None:
    (place.root / "runtapd.py").write_text("raise SystemExit('the wrong one')")
    assert place.python(PID).err == ""


def test_a_relative_home_means_the_same_folder_to_both(place: Place) -> None:
    place.extra["RUNTAP_HOME"] = "relative"
    outcome = place.python(PID)
    assert outcome.err == ""
    place.extra["RUNTAP_HOME"] = str(place.root / "relative")
    assert place.python(PID).out == outcome.out
    assert place.runtap("stop").code == 0


def test_an_odd_umask_does_no_harm(place: Place) -> None:
    before = os.umask(0o777)
    try:
        connection = connect(place)
    finally:
        os.umask(before)
    assert connection.server.pid == connection.info.pid


# -- whatever was left behind is a normal start


def test_after_kill_9_the_next_client_starts_another(place: Place) -> None:
    first = connect(place).info.pid
    kill(first)
    second = connect(place)
    assert second.info.pid != first
    assert launch.find(place.folders, channel.probe) is not None


def test_a_dead_socket_is_a_normal_start(place: Place) -> None:
    prepare(place)
    dead = f"{place.folders.runtime}/d-1-00.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(dead)
    write_info(place, endpoint=f"unix:{dead}")
    assert connect(place).info.pid != 1


def test_a_socket_that_accepts_and_says_nothing_is_not_taken_for_a_daemon(place: Place) -> None:
    prepare(place)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place.folders.runtime}/mute.sock")
        listener.listen()
        write_info(place, endpoint=f"unix:{place.folders.runtime}/mute.sock")
        begun = time.monotonic()
        with pytest.raises(launch.Unreachable):
            info = discovery.read_info(place.folders)
            assert info is not None
            channel.probe(info, 0.2)
        assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "text", ["", "garbage", "{}", "[]", '{"format": 2}', '{"format": 1, "pid": "x"}', "\xff" * 9]
)
def test_a_garbage_info_file_is_a_normal_start(place: Place, text: str) -> None:
    prepare(place)
    Path(place.folders.info_path).write_bytes(text.encode("latin-1"))
    os.chmod(place.folders.info_path, 0o600)
    assert discovery.read_info(place.folders) is None
    if text == "garbage":  # one real start says it for all
        assert connect(place).server.pid


def test_another_daemon_at_the_place_of_the_info_file_is_not_taken(place: Place) -> None:
    info = connect(place).info
    wrong = discovery.Info("somebody-else", info.pid, 0, info.endpoint, info.token)
    with pytest.raises(launch.Unreachable, match="another daemon"):
        channel.probe(wrong, 5)


def test_an_info_file_that_others_can_read_is_not_believed(place: Place) -> None:
    write_info(place)
    assert discovery.read_info(place.folders) is not None
    os.chmod(place.folders.info_path, 0o644)
    assert discovery.read_info(place.folders) is None


def test_the_token_is_not_shown(place: Place) -> None:
    connection = connect(place)
    assert connection.info.token not in repr(connection.info) + repr(connection) + repr(channel.daemon())


# -- locks


def test_a_predecessor_that_still_drains_is_waited_for(place: Place) -> None:
    prepare(place)
    held = hold(place.folders.daemon_lock)
    threading.Timer(0.6, os.close, (held,)).start()
    assert connect(place).server.pid


def test_whoever_waits_for_the_lock_takes_the_daemon_its_holder_started(place: Place) -> None:
    connect(place)
    Path(place.folders.info_path).rename(place.root / "aside")
    held = hold(place.folders.start_lock)
    threading.Timer(0.3, os.rename, (place.root / "aside", place.folders.info_path)).start()
    try:
        assert connect(place).server.pid
    finally:
        os.close(held)


def test_a_lock_that_is_never_freed_is_told_with_the_cure(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "START_DEADLINE_S", 0.3)
    prepare(place)
    held = hold(place.folders.daemon_lock)
    with pytest.raises(DaemonError, match="does not answer: run `runtap stop`"):
        connect(place)
    os.close(held)
    held = hold(place.folders.start_lock)
    with pytest.raises(DaemonError, match="another program has been starting or stopping"):
        connect(place)
    os.close(held)


# -- refusals


def test_no_daemon_is_started_where_that_is_forbidden(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTAP_AUTOSTART", "0")
    with pytest.raises(NotRunningError, match="run `runtap start`"):
        connect(place)
    assert not place.home.exists()
    assert connect(place, may_start=True).server.pid
    assert connect(place).server.pid


def test_a_folder_that_is_not_private_is_refused(place: Place) -> None:
    runtime = Path(place.folders.runtime)
    prepare(place)
    runtime.chmod(0o755)
    with pytest.raises(DaemonError, match="mode 0755 instead of 0700"):
        connect(place)
    runtime.rmdir()
    runtime.symlink_to(place.root)
    with pytest.raises(DaemonError, match="symbolic link"):
        connect(place)
    runtime.unlink()
    runtime.write_text("")
    with pytest.raises(DaemonError, match="not a folder"):
        connect(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(place: Place) -> None:
    prepare(place)
    os.chown(place.folders.runtime, 12345, -1)
    with pytest.raises(DaemonError, match="belongs to user 12345"):
        connect(place)


def test_a_home_that_cannot_be_made_is_told(place: Place) -> None:
    place.home.write_text("a file")
    with pytest.raises(DaemonError, match=r"cannot look at .*RUNTAP_HOME"):
        connect(place)


# -- a daemon that does not come up (a double of its program)


@pytest.fixture
def fake(place: Place, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("PYTHONPATH", str(FAKE_DAEMON))
    place.extra["PYTHONPATH"] = str(FAKE_DAEMON)
    return monkeypatch


def test_a_full_disk_is_told_in_the_daemons_words(place: Place, fake: pytest.MonkeyPatch) -> None:
    message = "the disk under /somewhere is full; free some space, then start again"
    fake.setenv("RUNTAP_FAKE", "fail")
    fake.setenv("RUNTAP_FAKE_WORD", json.dumps({"ok": False, "reason": "disk", "message": message}))
    with pytest.raises(
        DaemonError, match="could not start \\(disk\\): the disk under /somewhere is full"
    ) as caught:
        connect(place)
    assert "\n" not in caught.value.message


def test_a_daemon_that_dies_is_told_with_the_end_of_its_log(place: Place, fake: pytest.MonkeyPatch) -> None:
    prepare(place)
    Path(place.folders.error_log).write_text("of yesterday\n")
    fake.setenv("RUNTAP_FAKE", "die")
    with pytest.raises(DaemonError, match="ended before it was ready") as caught:
        connect(place)
    assert caught.value.message.splitlines()[-1] == "RuntimeError: the fake daemon died as it was told to"
    assert "yesterday" not in caught.value.message
    assert os.stat(place.folders.error_log).st_mode & 0o777 == 0o644  # as the test made it


def test_a_daemon_that_never_gets_ready_is_told(place: Place, fake: pytest.MonkeyPatch) -> None:
    fake.setenv("RUNTAP_FAKE", "silent")
    fake.setattr(launch, "START_DEADLINE_S", 0.5)
    with pytest.raises(DaemonError, match=r"was not ready within 0.5 s"):
        connect(place)


def test_a_readiness_line_that_makes_no_sense_is_told(place: Place, fake: pytest.MonkeyPatch) -> None:
    fake.setenv("RUNTAP_FAKE", "garbage")
    with pytest.raises(DaemonError, match=r"something strange .*Segmentation fault"):
        connect(place)


def test_explain_knows_every_kind_of_line() -> None:
    assert launch.explain(b'{"ok": true}\n') is None
    assert launch.explain(b'{"ok": false, "reason": "locked", "message": "m"}\n') == ""
    assert "did not say why" in str(launch.explain(b'{"ok": false}\n'))
    assert "15 s" in str(launch.explain(b"", in_time=False))


# -- skew


def test_an_old_idle_daemon_is_replaced(place: Place, fake: pytest.MonkeyPatch) -> None:
    fake.setenv("RUNTAP_FAKE", "old")
    old = launch.find_or_start(place.folders, channel.probe)
    fake.delenv("PYTHONPATH")
    new = connect(place)
    assert (old.server.version, new.server.version) == ("0.0.1", new.info.version)
    assert new.server.api_revision >= channel.MINIMUM_REVISION
    assert new.info.pid != old.info.pid


def test_an_old_busy_daemon_is_used_with_a_warning(place: Place, fake: pytest.MonkeyPatch) -> None:
    fake.setenv("RUNTAP_FAKE", "busy")
    old = launch.find_or_start(place.folders, channel.probe)
    with pytest.warns(UserWarning, match="version 0.0.1.*lacks API revision 1.*runtap restart"):
        assert connect(place).info == old.info
    assert stop(place) == "stopped"


def test_an_old_daemon_is_left_alone_where_none_may_be_started(
    place: Place, fake: pytest.MonkeyPatch
) -> None:
    fake.setenv("RUNTAP_FAKE", "old")
    old = launch.find_or_start(place.folders, channel.probe)
    fake.setenv("RUNTAP_AUTOSTART", "0")
    with pytest.warns(UserWarning, match="lacks API revision"):
        assert connect(place).info == old.info


# -- stopping


def test_stopping_waits_until_the_lock_is_free(place: Place) -> None:
    pid = connect(place).info.pid
    assert stop(place) == "stopped"
    wait_until(lambda: not psutil.pid_exists(pid))  # its lock is the last thing it lets go of
    assert stop(place) == "absent"
    assert not Path(place.folders.info_path).exists()


def test_a_daemon_that_hangs_is_ended_by_force(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "SIGNAL_S", 0.3)
    monkeypatch.setattr(launch, "PROBE_S", 0.3)
    pid = connect(place).info.pid
    os.kill(pid, signal.SIGSTOP)
    assert launch.stop(place.folders, channel.shut_down, grace=0.1) == "killed"
    wait_until(lambda: not psutil.pid_exists(pid))


def test_a_process_that_only_has_the_daemons_number_is_never_touched(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "SIGNAL_S", 0.1)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as bystander:
        write_info(place, pid=bystander.pid, pid_started=1)
        held = hold(place.folders.daemon_lock)
        with pytest.raises(DaemonError, match="cannot stop the daemon"):
            launch.stop(place.folders, channel.shut_down, grace=0.1)
        os.close(held)
        assert bystander.poll() is None
        bystander.communicate("\n")


def test_stopping_before_anything_was_ever_started(place: Place) -> None:
    assert stop(place) == "absent"
    assert not place.home.exists()
