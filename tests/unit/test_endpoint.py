"""Folders, the info file and leftovers, without a process."""

from __future__ import annotations

import json
import os
import resource
import stat
from pathlib import Path

import pytest

from runtapd import endpoint as endpoint_module
from runtapd.endpoint import Endpoint, folder_problem, private_folder, process_start, write_private
from runtapd.settings import Settings
from runtapd.starting import EXIT_CODES, StartFailure, disk_failure


def _settings(home: Path) -> Settings:
    return Settings.from_environment({"RUNTAP_HOME": str(home)})


def _endpoint(tmp_path: Path) -> Endpoint:
    return Endpoint.acquire(_settings(tmp_path))


def test_a_folder_is_made_private(tmp_path: Path) -> None:
    private_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("mode", "owner", "word"),
    [
        (stat.S_IFLNK | 0o777, os.getuid(), "symbolic link"),
        (stat.S_IFREG | 0o700, os.getuid(), "not a folder"),
        (stat.S_IFDIR | 0o700, os.getuid() + 1, "belongs to"),
        (stat.S_IFDIR | 0o750, os.getuid(), "0750"),
        (stat.S_IFDIR | 0o1700, os.getuid(), "1700"),
        (stat.S_IFDIR | 0o700, os.getuid(), ""),
    ],
)
def test_what_is_wrong_with_a_folder(mode: int, owner: int, word: str) -> None:
    problem = folder_problem(os.stat_result((mode, 0, 0, 1, owner, 0, 0, 0, 0, 0)))
    assert word in problem
    assert bool(problem) == bool(word)


def test_a_private_file_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_private(tmp_path / "daemon.json", {"a": object()})
    assert not list(tmp_path.iterdir())


def test_only_one_holds_the_lock_and_releasing_frees_it(tmp_path: Path) -> None:
    first = _endpoint(tmp_path)
    with pytest.raises(StartFailure) as failure:
        _endpoint(tmp_path)
    assert failure.value.reason == "locked"
    assert failure.value.exit_code == 3
    first.release("shutdown")
    second = _endpoint(tmp_path)
    assert (second.instance_id, second.token) != (first.instance_id, first.token)
    second.release("shutdown")


def test_the_info_file_is_withdrawn_only_while_it_is_ours(tmp_path: Path) -> None:
    ours = _endpoint(tmp_path)
    ours.publish()
    assert ours.is_ours()
    ours.info_path.write_text('{"instance_id": "a successor"}')
    assert not ours.is_ours()
    ours.withdraw()
    assert ours.info_path.exists()
    ours.release("replaced")
    assert ours.info_path.exists()


def test_a_daemon_without_a_descriptor_left_is_not_replaced(tmp_path: Path) -> None:
    ours = _endpoint(tmp_path)
    ours.publish()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert ours.is_ours()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    ours.info_path.unlink()
    assert not ours.is_ours()
    ours.release("replaced")


def test_how_the_last_one_ended_is_remembered(tmp_path: Path) -> None:
    first = _endpoint(tmp_path)
    assert first.last_exit_reason == ""
    first.publish()
    first.release("idle")
    second = _endpoint(tmp_path)
    assert second.last_exit_reason == "idle"
    second.release("never published")
    third = _endpoint(tmp_path)
    assert third.last_exit_reason == "idle"
    third.publish()
    os.close(third._lock_fd)  # as a kill would
    fourth = _endpoint(tmp_path)
    assert fourth.last_exit_reason == "crash"
    assert not fourth.info_path.exists()
    fourth.release("idle")


def test_the_token_is_not_shown(tmp_path: Path) -> None:
    endpoint = _endpoint(tmp_path)
    assert endpoint.token not in repr(endpoint)
    endpoint.release("shutdown")


def test_leftovers_outside_our_names_are_not_touched(tmp_path: Path) -> None:
    precious = tmp_path / "precious" / "d-1-ab.sock.txt"
    precious.parent.mkdir()
    precious.write_text("keep")
    folder = _settings(tmp_path).runtime_dir
    private_folder(folder)
    (folder / "daemon.lock").write_text(str(precious))
    _endpoint(tmp_path).release("shutdown")
    assert precious.exists()


def test_a_socket_elsewhere_goes_with_the_next_start_whenever_its_daemon_died(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    first = _endpoint(home)
    folder = first.socket_path.parent
    assert folder.parent == Path("/tmp")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    first.socket_path.touch()
    os.close(first._lock_fd)  # killed before it published anything
    second = _endpoint(home)
    assert not folder.exists()
    second.release("shutdown")
    assert not second.socket_path.parent.exists()


def test_process_start_tells_processes_apart() -> None:
    assert process_start(os.getpid()) > 0
    assert process_start(2**31 - 1) == 0


def test_the_environment_is_there() -> None:
    assert not endpoint_module.environment_is_gone()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "disk"),
        (OSError(122, "Disk quota exceeded"), "disk"),
        (OSError(30, "Read-only file system"), "folder"),
    ],
)
def test_what_a_failing_disk_means(error: OSError, reason: str) -> None:
    failure = disk_failure(error, Path("/somewhere"))
    assert failure.reason == reason
    assert "/somewhere" in failure.message
    assert failure.exit_code == EXIT_CODES[reason]
