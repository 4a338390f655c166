"""The program: start, stop, status, users; one server per folder whatever happens."""

import base64
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.local.client import Client
from tests.local.conftest import alive, check_no_leaks
from tests.support.local_server import LocalServer, base_env, run_command, start_local_server


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A data folder; whatever serves it is stopped in the end."""
    path = tmp_path / "state" / "local"
    yield path
    if path.is_dir() and not path.is_symlink():
        run_command(path, "stop", check=False)


def wait_until_dead(pid: int) -> None:
    """Wait for the end of a process that was told to end."""
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_start_prints_exactly_what_scripts_need_and_is_repeatable(home: Path) -> None:
    first = run_command(home, "start", "--json")
    told = json.loads(first.stdout)
    assert set(told) == {"url", "api_key", "entity", "pid"} and told["entity"] == "local"
    assert len(told["api_key"]) == len("local-") + 40
    assert json.loads(run_command(home, "start", "--json").stdout) == told
    assert requests.get(told["url"] + "/healthz", timeout=5).json()["ok"] is True
    port = int(told["url"].rpartition(":")[2])
    assert 20000 <= port < 32768
    shown = json.loads(run_command(home, "status", "--json").stdout)
    assert shown["running"] is True and shown["pid"] == told["pid"] and shown["runs"] == 0
    assert "runs at" in run_command(home, "start").stdout
    assert told["url"] in run_command(home, "status").stdout
    assert json.loads(run_command(home, "stop", "--json").stdout) == {"stopped": True}
    assert not alive(told["pid"])
    again = json.loads(run_command(home, "start", "--json").stdout)
    assert {**again, "pid": 0} == {**told, "pid": 0}  # the port and the key are kept


def test_stop_and_status_without_a_server(home: Path) -> None:
    assert json.loads(run_command(home, "stop", "--json").stdout) == {"stopped": False}
    for _ in range(2):
        done = run_command(home, "status", "--json", check=False)
        assert done.returncode == 3 and json.loads(done.stdout)["running"] is False
        run_command(home, "start", "--json")
        run_command(home, "stop")


def test_only_the_owner_can_read_anything(home: Path) -> None:
    server = start_local_server(home)
    client = Client(server.url, server.entity, server.api_key)
    client.upsert("r1")
    client.request("PUT", f"/files/{client.entity}/p/r1/a.txt", data=b"x")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    paths = list(home.rglob("*"))
    assert {path.name for path in paths} >= {
        "local.db",
        "local.db-wal",
        "local.json",
        "local.lock",
        "local.log",
    }
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    info = json.loads((home / "local.json").read_text())
    assert info["pid"] == server.pid and info["instance"] and info["url"] == server.url
    server.stop()
    info = json.loads((home / "local.json").read_text())
    assert "pid" not in info and "instance" not in info and info["api_key"] == server.api_key
    check_no_leaks(server, [server.api_key])


def test_two_starts_at_once_end_in_one_server(home: Path) -> None:
    home.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "runtap_local", "--home", str(home), "start", "--json"]
    starts = [
        subprocess.Popen(command, env=base_env(home.parent), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    told = []
    for start in starts:
        out, err = start.communicate(timeout=30)
        assert start.returncode == 0, err
        told.append(json.loads(out))
    assert all(one == told[0] for one in told)


def test_a_server_in_the_foreground_counts_too(home: Path) -> None:
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "runtap_local", "--home", str(home), "serve", "--ready-fd", str(writer)]
    process = subprocess.Popen(
        command, env=base_env(home.parent.parent), pass_fds=(writer,), stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    with os.fdopen(reader) as ready:
        told = json.loads(ready.readline())
    assert told["ok"] is True and told["pid"] == process.pid
    assert json.loads(run_command(home, "start", "--json").stdout)["pid"] == process.pid
    second = run_command(home, "serve", check=False)
    assert second.returncode == 1 and "another process serves" in second.stderr
    assert "Traceback" not in second.stderr
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 0 and time.monotonic() - begun < 5


def test_a_start_that_fails_says_why_through_the_pipe(home: Path) -> None:
    start_local_server(home)
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "runtap_local", "serve", "--home", str(home), "--ready-fd", str(writer)]
    process = subprocess.Popen(command, env=base_env(home.parent), pass_fds=(writer,), stderr=subprocess.PIPE)
    os.close(writer)
    with os.fdopen(reader) as ready:
        told = json.loads(ready.read())
    process.communicate(timeout=10)
    assert process.returncode == 1
    assert (
        told["ok"] is False and told["reason"] == "already_serving" and "another process" in told["message"]
    )


def test_stopping_waits_for_no_idle_connection(home: Path) -> None:
    server = start_local_server(home)
    with requests.Session() as session:
        session.get(server.url + "/healthz", timeout=5)
        server.stop()
    assert not alive(server.pid)


def test_a_taken_port_is_named_with_its_cure(home: Path) -> None:
    server = start_local_server(home)
    server.stop()
    port = int(server.url.rpartition(":")[2])
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        failed = run_command(home, "start", "--json", check=False)
        assert failed.returncode == 1 and failed.stdout == ""
        assert f"port {port} is used" in failed.stderr and "--port" in failed.stderr
        assert len(failed.stderr.strip().splitlines()) == 1
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            other = probe.getsockname()[1]
        moved = json.loads(run_command(home, "start", "--json", "--port", str(other)).stdout)
        assert moved["url"].endswith(f":{other}")
    refused = run_command(home, "start", "--port", str(port), check=False)
    assert refused.returncode == 1 and "stop" in refused.stderr
    run_command(home, "stop")
    assert json.loads(run_command(home, "start", "--json").stdout)["url"] == moved["url"]


def test_kill_nine_loses_nothing_acknowledged(home: Path) -> None:
    server = start_local_server(home)
    client = Client(server.url, server.entity, server.api_key)
    client.upsert("r1")
    client.log("r1", 0, [{"_step": step} for step in range(500)])
    os.kill(server.pid, signal.SIGKILL)
    wait_until_dead(server.pid)
    assert json.loads(run_command(home, "status", "--json", check=False).stdout)["running"] is False
    orphan = home / "files" / "ab" / "abandoned"  # as an upload leaves it that was cut off with the server
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"x")
    again = start_local_server(home)
    assert again.url == server.url and again.pid != server.pid and not orphan.exists()
    assert client.run("r1", "historyLineCount") == {"historyLineCount": 500}


def test_a_server_that_does_not_end_is_ended(home: Path) -> None:
    server = start_local_server(home, stop_deadline_s=0.5)
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    wait_until_dead(server.pid)


def test_the_info_file_can_be_lost(home: Path) -> None:
    server = start_local_server(home)
    server.stop()
    (home / "local.json").write_text("{broken")
    again = start_local_server(home)
    assert again.entity == "local" and again.api_key != server.api_key
    assert (
        Client(again.url, "local", server.api_key).query("{ viewer { entity } }")["viewer"]["entity"]
        == "local"
    )


def test_users_are_added_beside_a_running_server(home: Path) -> None:
    server = start_local_server(home)
    key = "local-" + "k" * 40
    for _ in range(2):  # repeating it is harmless
        told = json.loads(run_command(home, "user", "add", "ann", "--api-key", key, "--json").stdout)
        assert told == {"user": "ann", "entity": "ann", "api_key": key}
    assert Client(server.url, "ann", key).query("{ viewer { entity } }")["viewer"]["entity"] == "ann"
    minted = server.add_user("bob")
    assert Client(server.url, "bob", minted).query("{ viewer { entity } }")["viewer"]["entity"] == "bob"
    listed = json.loads(run_command(home, "user", "list", "--json").stdout)
    assert [user["user"] for user in listed] == ["local", "ann", "bob"]
    for arguments, expected in (
        (("carl", "--api-key", "short"), "at least 40"),
        (("carl", "--api-key", key), "belongs to user 'ann'"),
        (("a/b",), "invalid user name"),
    ):
        refused = run_command(home, "user", "add", *arguments, check=False)
        assert refused.returncode == 1 and expected in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    check_no_leaks(server, [key, minted])


def test_users_may_come_before_the_first_start(home: Path) -> None:
    key = json.loads(run_command(home, "user", "add", "ann", "--json").stdout)["api_key"]
    server = start_local_server(home)
    assert server.entity == "local"
    assert Client(server.url, "ann", key).query("{ viewer { entity } }")["viewer"]["entity"] == "ann"


def test_folders_of_others_and_links_are_refused(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "file").write_text("")
    cases = [("link", "symbolic link"), ("file", "cannot use the data folder")]
    if os.geteuid() == 0:
        (tmp_path / "foreign").mkdir()
        os.chown(tmp_path / "foreign", 12345, 12345)
        cases.append(("foreign", "belongs to another user"))
    for name, expected in cases:
        for command in ("start", "serve", "status"):
            refused = run_command(tmp_path / name, command, check=False)
            assert refused.returncode == 1 and expected in refused.stderr, (name, command, refused)
            assert "Traceback" not in refused.stderr


def test_a_database_of_another_format_is_refused(home: Path) -> None:
    server = start_local_server(home)
    server.stop()
    (home / "local.db").write_bytes(b"this is no database, whatever its name says" * 100)
    failed = run_command(home, "start", check=False)
    assert failed.returncode == 1 and "cannot use the database" in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1


def test_settings_and_usage_errors_are_one_line(home: Path) -> None:
    failed = run_command(home, "start", check=False, crash_after_s="soon")
    assert failed.returncode == 1 and "RUNTAP_LOCAL_CRASH_AFTER_S must be a number" in failed.stderr
    failed = run_command(home, "start", check=False, crash_after_s=-1)
    assert failed.returncode == 1 and "crash_after_s must be more than 0" in failed.stderr
    assert run_command(home, "dance", check=False).returncode == 2


def test_the_folder_comes_from_the_environment(tmp_path: Path) -> None:
    env = base_env(tmp_path)
    for extra, expected in (
        ({"RUNTAP_HOME": str(tmp_path / "a")}, tmp_path / "a" / "local"),
        ({"XDG_STATE_HOME": str(tmp_path / "b")}, tmp_path / "b" / "runtap" / "local"),
        ({}, tmp_path / ".local" / "state" / "runtap" / "local"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "runtap_local", "status", "--json"],
            env={**env, **extra},
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert json.loads(done.stdout)["home"] == str(expected)
        assert not expected.exists()  # asking makes nothing
    done = run_command(
        tmp_path / "before", "status", "--json", "--home", str(tmp_path / "behind"), check=False
    )
    assert json.loads(done.stdout)["home"] == str(tmp_path / "behind")


def test_status_in_between_disturbs_no_start(home: Path) -> None:
    home.parent.mkdir(parents=True)
    env = base_env(home.parent)
    base = [sys.executable, "-m", "runtap_local", "--home", str(home)]
    start = subprocess.Popen(
        [*base, "start", "--json"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    asking = [subprocess.Popen([*base, "status"], env=env, stdout=subprocess.DEVNULL) for _ in range(4)]
    out, err = start.communicate(timeout=30)
    assert [one.wait(timeout=20) in (0, 3) for one in asking] == [True] * 4
    assert start.returncode == 0, err
    assert LocalServer(home=home, **json.loads(out)).command("status").returncode == 0


FULL_DISK = """
import resource
import runtap_local.store.database as database
from runtap_local.program.cli import main

database._PRAGMAS += ("max_page_count=150",)
resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))
main()
"""


def test_a_full_disk_is_told_and_loses_nothing(home: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, "--home", str(home), "serve"]
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*command, "--ready-fd", str(writer)],
        env=base_env(home.parent.parent),
        pass_fds=(writer,),
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    with os.fdopen(reader) as ready:
        told = json.loads(ready.readline())
    info = json.loads((home / "local.json").read_text())
    client = Client(told["url"], "local", info["api_key"])
    client.upsert("r1")
    row = json.dumps({"_step": 0, "noise": os.urandom(20_000).hex()})
    taken = 0
    while True:
        files = {"wandb-history.jsonl": {"offset": taken, "content": [row]}}
        response = client.stream("r1", check=False, files=files)
        if response.status_code != 200:
            break
        taken += 1
        assert taken < 100
    assert response.status_code == 507 and "disk of the server is full" in response.text
    status, text = client.errors(
        "mutation M($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
        i={"name": "r2", "modelName": "p", "notes": "x" * 100_000},
    )
    assert status == 507 and "make room" in text
    upload = client.request("PUT", "/files/local/p/r1/a.bin", data=bytes(9 << 20))
    assert upload.status_code == 507 and not list((home / "files").glob("*/*"))
    assert client.run("r1", "historyLineCount fileCount") == {"historyLineCount": taken, "fileCount": 0}
    process.terminate()
    assert process.stderr is not None and "Traceback" not in process.communicate(timeout=10)[1]
    start_local_server(home)  # with room again
    client.stream("r1", files=files)
    assert client.run("r1", "historyLineCount") == {"historyLineCount": taken + 1}


def test_stopping_in_the_middle_of_requests_leaves_nothing_half_done(home: Path) -> None:
    server = start_local_server(home)
    client = Client(server.url, server.entity, server.api_key)
    client.upsert("r1")
    host, port = server.url.removeprefix("http://").split(":")
    token = base64.b64encode(f"api:{server.api_key}".encode()).decode()
    with contextlib.ExitStack() as stack:
        for start in ("PUT /files/local/p/r1/a.bin", "POST /files/local/p/r1/file_stream", "POST /graphql"):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            lines = (
                f"{start} HTTP/1.1",
                "Host: x",
                f"Authorization: Basic {token}",
                "Content-Length: 1000",
                "",
                "",
            )
            connection.sendall("\r\n".join(lines).encode() + b"half")
        deadline = time.monotonic() + 5
        while not list((home / "files").glob("*/*")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server.stop()
    wait_until_dead(server.pid)
    assert "Traceback" not in (home / "local.log").read_text()
    assert not list((home / "files").glob("*/*"))
    start_local_server(home)
    assert client.run("r1", "fileCount historyLineCount") == {"fileCount": 0, "historyLineCount": 0}


def test_a_folder_that_others_may_read_is_closed(home: Path) -> None:
    home.mkdir(parents=True, mode=0o755)
    home.chmod(0o755)
    start_local_server(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
