"""How a daemon starts: once per home, whatever a dead one left behind, and only in folders that are private."""

from __future__ import annotations

import os
import resource
import socket
import stat
from pathlib import Path

import pytest

from runtap.v1 import daemon_pb2 as pb
from runtap.v1 import daemon_pb2_grpc as rpc
from tests.rpc.conftest import StartDaemon
from tests.support.daemon import Daemon, DaemonRefused, processes_of, runtime_dir, start_daemon


def _info(daemon: Daemon) -> pb.GetServerInfoResponse:
    return rpc.DaemonServiceStub(daemon.channel()).GetServerInfo(pb.GetServerInfoRequest())


def _status(daemon: Daemon) -> pb.GetStatusResponse:
    return rpc.DaemonServiceStub(daemon.channel()).GetStatus(pb.GetStatusRequest())


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_started_daemon_answers_who_it_is(daemon: Daemon) -> None:
    info = _info(daemon)
    assert info.instance_id == daemon.info["instance_id"]
    assert info.pid == daemon.pid == daemon.info["pid"]
    assert info.version == daemon.info["version"] == "0.1.0"
    assert info.api_revision == daemon.info["api_revision"] == 1
    assert os.path.isabs(info.executable)
    assert "daemon.attach" in info.capabilities


def test_the_info_file_says_where_and_since_when(daemon: Daemon) -> None:
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    assert daemon.info["format"] == 1
    assert daemon.info["pid_started"] == float(fields[19])
    assert len(bytes.fromhex(daemon.token)) == 32
    assert daemon.log_path.exists()
    assert Path(daemon.info["state_directory"]) == daemon.log_path.parent


def test_everything_is_private(daemon: Daemon) -> None:
    folder = runtime_dir(daemon.home)
    assert _mode(folder) == 0o700
    assert _mode(Path(daemon.info["state_directory"])) == 0o700
    for path in (
        daemon.info_path,
        folder / "daemon.lock",
        daemon.log_path,
        daemon.socket_path,
    ):
        assert _mode(path) == 0o600, path


def test_the_status_tells_how_it_was_started_and_what_it_uses(daemon: Daemon) -> None:
    status = _status(daemon)
    assert status.start_reason == "test"
    assert status.last_exit_reason == ""
    assert status.endpoint == daemon.endpoint
    assert status.log_path == str(daemon.log_path)
    assert status.log_level == "info"
    assert status.resident_bytes > 1024**2
    assert daemon.token not in str(status)


def test_a_second_daemon_of_the_same_home_is_refused(daemon: Daemon) -> None:
    with pytest.raises(DaemonRefused) as refused:
        start_daemon(daemon.home)
    assert refused.value.exit_code == 3
    assert refused.value.told["reason"] == "locked"
    assert _info(daemon).pid == daemon.pid


def test_two_homes_never_meet(start: StartDaemon, tmp_path: Path) -> None:
    one, other = start(tmp_path / "one"), start(tmp_path / "other")
    assert one.endpoint != other.endpoint
    assert one.token != other.token
    assert _info(one).pid == one.pid
    assert _info(other).pid == other.pid
    one.stop()
    assert _info(other).pid == other.pid


def test_a_killed_daemon_is_a_normal_start_for_the_next(start: StartDaemon) -> None:
    first = start()
    first.kill()
    assert first.info_path.exists()
    dead_socket = first.socket_path
    assert dead_socket.exists()

    second = start(first.home)

    assert _info(second).instance_id != first.info["instance_id"]
    assert second.token != first.token
    assert not dead_socket.exists()
    status = _status(second)
    assert status.last_exit_reason == "crash"
    assert any("crashed" in warning for warning in status.warnings)


@pytest.mark.parametrize("place", ["locked", "bound", "published", "draining", "closed"])
def test_killed_anywhere_on_its_way_the_next_one_starts(
    start: StartDaemon, tmp_path: Path, place: str
) -> None:
    home, env = tmp_path / "home", {"RUNTAP_FAILPOINT": f"life-{place}"}
    try:
        doomed = start_daemon(home, env)
        doomed.signal(15)
        assert doomed.wait() == -9
    except (DaemonRefused, FileNotFoundError) as refused:
        assert place in ("locked", "bound", "published")
        if isinstance(refused, DaemonRefused):
            assert refused.exit_code == -9
    assert _info(start(home)).pid


def test_a_stale_info_file_and_a_dead_socket_are_a_normal_start(start: StartDaemon, tmp_path: Path) -> None:
    folder = runtime_dir(tmp_path / "home")
    folder.mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    dead = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(folder)  # the whole path may be too long for a socket
    try:
        dead.bind("d-1-abcd.sock")
    finally:
        os.chdir(here)
        dead.close()
    (folder / "daemon.json").write_text('{"instance_id": "gone", "endpoint": "unix:/etc/passwd"}')
    (folder / "keep.txt").write_text("not ours to remove")

    assert _info(start()).pid
    assert not (folder / "d-1-abcd.sock").exists()
    assert (folder / "keep.txt").exists()
    assert Path("/etc/passwd").exists()


def test_a_broken_info_file_is_a_normal_start(start: StartDaemon, tmp_path: Path) -> None:
    folder = runtime_dir(tmp_path / "home")
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "daemon.json").write_text("{half a")
    assert _info(start()).pid


def test_a_long_path_moves_the_socket_to_a_private_folder(start: StartDaemon, tmp_path: Path) -> None:
    daemon = start(tmp_path / ("long" * 30))
    path = daemon.socket_path
    assert len(os.fsencode(path)) <= 90
    assert runtime_dir(daemon.home) not in path.parents
    assert _mode(path.parent) == 0o700
    assert _mode(path) == 0o600
    assert _info(daemon).pid == daemon.pid
    daemon.stop()
    assert not path.parent.exists()


def test_a_dead_daemons_private_socket_folder_goes_with_the_next_start(
    start: StartDaemon, tmp_path: Path
) -> None:
    first = start(tmp_path / ("long" * 30))
    first.kill()
    folder = first.socket_path.parent
    assert folder.exists()
    start(first.home)
    assert not folder.exists()


@pytest.mark.parametrize("which", ["run", "state"])
def test_a_symlinked_folder_is_refused(tmp_path: Path, which: str) -> None:
    home = tmp_path / "home"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder = home / which / runtime_dir(home).name
    folder.parent.mkdir(parents=True)
    folder.symlink_to(elsewhere)
    with pytest.raises(DaemonRefused) as refused:
        start_daemon(home)
    assert refused.value.exit_code == 4
    assert refused.value.told["reason"] == "folder"
    assert "symbolic link" in refused.value.told["message"]
    assert not list(elsewhere.iterdir())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = runtime_dir(tmp_path / "home")
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(DaemonRefused) as refused:
        start_daemon(tmp_path / "home")
    assert refused.value.exit_code == 4
    assert "12345" in refused.value.told["message"]


def test_a_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    folder = runtime_dir(tmp_path / "home")
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    with pytest.raises(DaemonRefused) as refused:
        start_daemon(tmp_path / "home")
    assert refused.value.exit_code == 4
    assert "0755" in refused.value.told["message"]
    assert "chmod 700" in refused.value.told["message"]


def _no_bytes_in_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_a_full_disk_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DaemonRefused) as refused:
        start_daemon(tmp_path / "home", preexec=_no_bytes_in_files)
    assert refused.value.exit_code == 5
    assert refused.value.told["reason"] == "disk"
    assert "full" in refused.value.told["message"]
    assert not (runtime_dir(tmp_path / "home") / "daemon.json").exists()
    assert not processes_of(tmp_path / "home")


@pytest.mark.parametrize(
    ("name", "value"),
    [("RUNTAP_IDLE_EXIT_S", "soon"), ("RUNTAP_LOG_LEVEL", "loud"), ("RUNTAP_MAX_STREAMS", "0")],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(DaemonRefused) as refused:
        start_daemon(tmp_path / "home", {name: value})
    assert refused.value.exit_code == 2
    assert repr(value) in refused.value.told["message"]
    assert "Traceback" not in refused.value.output
