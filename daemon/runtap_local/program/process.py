"""Starting and stopping a detached server: at most one per folder, ready when we say so, gone when we say so."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ..settings import Settings, child_environment
from .home import Home, Info, Lock

_POLL_S: Final = 0.02
_PATIENCE_S: Final = 3600.0
_MAX_LOG: Final = 5 * 1024 * 1024


class ProcessError(Exception):
    """Starting or stopping failed; the text says why and what to do."""


def started_mark(pid: int) -> str | None:
    """When a process began, as the system counts it: with the pid, an identity that no later process has."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    values = text.rpartition(")")[2].split()
    return None if values[0] == "Z" else values[19]  # a zombie has ended; only its parent does not know yet


def start(home: Home, settings: Settings, port: int | None, say: Callable[[str], None]) -> Info:
    """Make sure that a server serves the folder and answer how to reach it; ``say`` is told of what takes long."""
    deadline = time.monotonic() + settings.start_deadline_s
    lock = home.starting_lock()
    try:
        _acquire(lock, deadline, "another start or stop of this server is still under way: try again")
        running = _running(home, deadline)
        if running is not None:
            if port is not None and port != running.port:
                raise ProcessError(
                    f"the server runs at port {running.port} already: `runtap local stop` first, "
                    f"then start it with --port {port}"
                )
            return running
        _spawn(home, settings, port, deadline, say)
        info = home.info()
        if info is None or info.pid is None:
            raise ProcessError(f"the server ended right after its start: see {home.log}")
        return info
    finally:
        lock.release()


def stop(home: Home, settings: Settings) -> bool:
    """End the server that serves the folder; False where none did."""
    deadline = time.monotonic() + settings.stop_deadline_s
    lock = home.starting_lock()
    try:
        _acquire(lock, deadline, "another start or stop of this server is still under way: try again")
        if not home.is_served():
            return False
        info = _running(home, deadline)
        if info is None or info.pid is None:
            return False
        _signal(info, signal.SIGTERM)
        # The lock is freed a moment before the process is gone; a caller may want to delete the folder next.
        while home.is_served() or _is_same(info):
            if time.monotonic() > deadline:
                _signal(info, signal.SIGKILL)
                deadline += 2.0
                if time.monotonic() > deadline:
                    raise ProcessError(f"the server (pid {info.pid}) does not end: end it by hand")
            time.sleep(_POLL_S)
        return True
    finally:
        lock.release()


def _running(home: Home, deadline: float) -> Info | None:
    """How to reach the serving process; waits for one that was begun but is not ready yet."""
    while home.is_served():
        info = home.info()
        if info is not None and info.pid is not None and _is_same(info):
            return info
        if time.monotonic() > deadline:
            raise ProcessError(f"a server holds {home.path} but does not get ready: see {home.log}")
        time.sleep(_POLL_S)
    return None


def _is_same(info: Info) -> bool:
    """Whether the process of that pid is the one that wrote the info file, and not a later one."""
    if info.pid is None:
        return False
    if info.started is not None:
        return started_mark(info.pid) == info.started
    try:
        os.kill(info.pid, 0)
    except OSError:
        return False
    return True


def _signal(info: Info, number: signal.Signals) -> None:
    if info.pid is not None and _is_same(info):
        try:
            os.kill(info.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise ProcessError(f"the server (pid {info.pid}) belongs to another user") from None


def _acquire(lock: Lock, deadline: float, message: str) -> None:
    while not lock.acquire():
        if time.monotonic() > deadline:
            raise ProcessError(message)
        time.sleep(_POLL_S)


def _spawn(
    home: Home, settings: Settings, port: int | None, deadline: float, say: Callable[[str], None]
) -> None:
    """Start a server of its own session and wait for its word. One that never gives it is ended again."""
    reader, writer = os.pipe()
    command = [
        sys.executable,
        "-m",
        "runtap_local",
        "--home",
        str(home.path),
        "serve",
        "--ready-fd",
        str(writer),
    ]
    if port is not None:
        command += ["--port", str(port)]
    _rotate(home.log)
    log = os.open(home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=child_environment(),
            start_new_session=True,
            pass_fds=(writer,),
        )
    finally:
        os.close(writer)
        os.close(log)
    try:
        answer = _await_answer(reader, deadline, say)
    finally:
        os.close(reader)
    if answer is None:
        child.kill()
        child.wait()
        raise ProcessError(f"the server did not get ready in {settings.start_deadline_s:g} s: see {home.log}")
    if not answer:
        child.wait()
        raise ProcessError(
            f"the server ended with code {child.returncode} before it was ready: see {home.log}"
        )
    if not answer["ok"]:
        child.wait()
        raise ProcessError(answer["message"])
    child.returncode = 0  # it lives on without us: nothing is left to wait for


def _await_answer(reader: int, deadline: float, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The answer; empty where the other end closed without one, None where none came in time.

    A server that says what it is doing is given the time for it.
    """
    text = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            return None
        part = os.read(reader, 65536)
        if not part:
            return {}
        *lines, text = (text + part).split(b"\n")
        for line in lines:
            told: dict[str, Any] = json.loads(line)
            if "progress" not in told:
                return told
            say(told["progress"])
            deadline = time.monotonic() + _PATIENCE_S


def _rotate(log: Path) -> None:
    """Keep one earlier log of a few megabytes, not a growing one for ever."""
    try:
        if log.stat().st_size > _MAX_LOG:
            log.replace(log.with_name(log.name + ".1"))
    except FileNotFoundError:
        pass
