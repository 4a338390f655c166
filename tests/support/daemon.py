"""A real daemon for a test: `python -m runtapd` as an own process, started through the readiness pipe.

`start_daemon` returns once calls are answered. `Daemon.close` (or leaving its `with` block) ends the process and then
looks for what it must not leave behind: other processes of this home, and secrets in its files and output.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import psutil

from runtap.v1 import daemon_pb2, daemon_pb2_grpc

START_DEADLINE_S = 20.0
STOP_DEADLINE_S = 15.0
CLIENT = "test/1/0"
ODD_DAEMON = (str(Path(__file__).with_name("odd_daemon.py")),)
"""The program of a daemon whose RunService misbehaves."""
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")


class DaemonRefused(Exception):
    """The daemon did not start; holds what it told its starter and how it ended."""

    def __init__(self, told: Mapping[str, Any], exit_code: int, output: str) -> None:
        super().__init__(f"exit code {exit_code}, told {dict(told)}\n{output}")
        self.told = told
        self.exit_code = exit_code
        self.output = output


@dataclass
class Daemon:
    """A daemon process of one home."""

    home: Path
    process: subprocess.Popen[bytes]
    output_path: Path
    info: dict[str, Any]
    secrets: list[str] = field(default_factory=list)
    """Words that must not appear in any file or output of this daemon."""
    _channels: list[grpc.Channel] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def endpoint(self) -> str:
        return str(self.info["endpoint"])

    @property
    def token(self) -> str:
        return str(self.info["token"])

    @property
    def info_path(self) -> Path:
        return info_path(self.home)

    @property
    def socket_path(self) -> Path:
        return Path(self.endpoint.removeprefix("unix:"))

    @property
    def log_path(self) -> Path:
        return Path(str(self.info["log_path"]))

    @property
    def output(self) -> str:
        """What it wrote to stdout and stderr."""
        return self.output_path.read_text(errors="replace") if self.output_path.exists() else ""

    def log(self) -> list[dict[str, Any]]:
        """The log's lines so far."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def metadata(self, client: str = CLIENT, **more: str) -> tuple[tuple[str, str], ...]:
        """What a call must bring along; `account="..."` names an account."""
        extra = ((f"runtap-{key}", value) for key, value in more.items())
        return (("runtap-token", self.token), ("runtap-client", client), *extra)

    def channel(self, client: str = CLIENT, **more: str) -> grpc.Channel:
        """A channel whose calls carry the token; closed with the daemon."""
        return grpc.intercept_channel(self.bare_channel(), _Metadata(self.metadata(client, **more)))

    def bare_channel(self) -> grpc.Channel:
        """A channel whose calls carry nothing."""
        options = [
            ("grpc.default_authority", "localhost"),
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", 16 * 1024**2),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        channel = grpc.insecure_channel(self.endpoint, options)
        self._channels.append(channel)
        return channel

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = STOP_DEADLINE_S) -> int:
        """Waits for the process to end by itself; returns its exit code."""
        return self.process.wait(timeout_s)

    def stop(self, timeout_s: float = STOP_DEADLINE_S) -> int:
        """Asks it to end in good order; returns its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def open_calls(self) -> int:
        """How many calls it has not done with, besides this question."""
        request = daemon_pb2.GetStatusRequest()
        return self._looking_on.GetStatus(request, timeout=STOP_DEADLINE_S).open_calls - 1

    @cached_property
    def _looking_on(self) -> daemon_pb2_grpc.DaemonServiceStub:
        return daemon_pb2_grpc.DaemonServiceStub(self.channel("looking-on/1/0"))

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(STOP_DEADLINE_S)

    def end(self) -> None:
        """Ends it, in good order if it can."""
        for channel in self._channels:
            channel.close()
        self._channels.clear()
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def close(self) -> None:
        """Ends it and checks what it leaves behind."""
        self.end()
        self.check_clean()

    def check_clean(self) -> None:
        """Fails if processes of its home still run, a secret lies about, or it left a socket or wrote a traceback."""
        check_clean(self.home, self.secrets)
        if self.process.returncode == -signal.SIGKILL:
            self._remove_socket_elsewhere()
        assert not self.socket_path.exists() or self.home in self.socket_path.parents, "a socket left behind"
        assert "Traceback" not in self.output, self.output

    def _remove_socket_elsewhere(self) -> None:
        # What the next daemon of the home would do; there is none, and the folder lies outside the test's own.
        if self.home not in self.socket_path.parents:
            shutil.rmtree(self.socket_path.parent, ignore_errors=True)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start_daemon(
    home: Path,
    env: Mapping[str, str] | None = None,
    *,
    program: Sequence[str] = ("-m", "runtapd"),
    python: str = sys.executable,
    secrets: Sequence[str] = (),
    preexec: Callable[[], None] | None = None,
) -> Daemon:
    """Starts a daemon of that home and waits until it answers; DaemonRefused says why it does not."""
    home.mkdir(parents=True, exist_ok=True)
    output_path = home / "runtapd.out"
    reader, writer = os.pipe()
    with open(output_path, "ab") as output:
        process = subprocess.Popen(
            [python, *program, "--ready-fd", str(writer), "--start-reason", "test"],
            env=_environment(home, env or {}),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[writer],
            start_new_session=True,
            preexec_fn=preexec,
        )
    os.close(writer)
    told = _read_line(reader)
    if not told.get("ok"):
        exit_code = _ended(process)
        raise DaemonRefused(told, exit_code, output_path.read_text(errors="replace"))
    info = json.loads(info_path(home).read_text())
    return Daemon(home, process, output_path, info, list(secrets))


@contextmanager
def running_daemon(home: Path, env: Mapping[str, str] | None = None) -> Iterator[Daemon]:
    """A daemon for the length of a block."""
    with start_daemon(home, env) as daemon:
        yield daemon


def info_path(home: Path) -> Path:
    """Where the daemon of that home says how to reach it."""
    return runtime_dir(home) / "daemon.json"


def runtime_dir(home: Path) -> Path:
    """The runtime folder of that home on this host."""
    from runtapd.settings import folders

    return folders({"RUNTAP_HOME": str(home)})[0]


def check_clean(home: Path, secrets: Sequence[str] = ()) -> None:
    """Fails if processes of that home still run, or if one of the secrets lies in a file under it."""
    left = processes_of(home)
    assert not left, f"processes left behind: {left}"
    for path in home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in secrets:
                assert secret.encode() not in content, f"a secret lies in {path}"


def processes_of(home: Path) -> list[str]:
    """The daemons and local servers that run with that home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("RUNTAP_HOME") == str(home):
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        except (psutil.Error, OSError):
            continue
    return found


def eventually(condition: Callable[[], object], what: str, timeout_s: float = 10.0) -> None:
    """Waits until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


class _Metadata(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds metadata to every call of a channel."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(_Details(client_call_details, self._metadata), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(_Details(client_call_details, self._metadata), request)

    def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(_Details(client_call_details, self._metadata), request_iterator)

    def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(_Details(client_call_details, self._metadata), request_iterator)


class _Details(grpc.ClientCallDetails):
    """The details of a call with more metadata."""

    def __init__(self, details: Any, metadata: tuple[tuple[str, str], ...]) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = (*(details.metadata or ()), *metadata)
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression


def _environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # A daemon whose test was killed still goes away by itself.
    return passed_on | {"RUNTAP_HOME": str(home), "RUNTAP_IDLE_EXIT_S": "120"} | dict(more)


def _read_line(fd: int) -> dict[str, Any]:
    """What the daemon tells; empty if it ended without a word."""
    deadline = time.monotonic() + START_DEADLINE_S
    data = b""
    try:
        while not data.endswith(b"\n"):
            ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(fd, 4096) if ready else b""
            if not chunk:
                break
            data += chunk
    finally:
        os.close(fd)
    told: dict[str, Any] = json.loads(data) if data else {}
    return told


def _ended(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(STOP_DEADLINE_S)
