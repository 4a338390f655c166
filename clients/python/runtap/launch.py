"""Finds the daemon, starts it when there is none, and stops it. Knows processes and locks, but no gRPC: whether a
daemon answers is asked through a `probe` that the caller brings.

Finding or starting, in the order that makes any number of clients end with one daemon:

1. Read the info file and probe: the usual case ends here, without a lock.
2. Take start.lock; while waiting for it, probe whatever a luckier client has started meanwhile.
3. Probe again: somebody may have won before us.
4. Wait until daemon.lock is free: a predecessor may still be finishing its calls.
5. Spawn, and read the readiness pipe: one line of JSON that says ready, or why not.

One deadline covers all steps. Whatever was left behind (dead socket, garbage, files of a killed daemon) is a normal
start. Lock files are never deleted: two clients would end up holding two files of one name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from runtap import discovery
from runtap.discovery import Folders, Info
from runtap.environment import for_daemon, surroundings
from runtap.errors import DaemonError, NotRunningError

START_DEADLINE_S = 15.0
PROBE_S = 2.0
SECOND_PROBE_S = 5.0  # holding the lock there is no hurry: a busy machine must not look like a dead daemon
STOP_GRACE_S = 5.0
SIGNAL_S = 3.0
TAIL_LINES = 20

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Unreachable(Exception):
    """A probe found nobody, or somebody else."""


class Probe(Protocol[T_co]):
    """Asks the daemon of an info file whether it is there; raises Unreachable when not."""

    def __call__(self, info: Info, timeout: float, /) -> T_co: ...


class Deadline:
    """A moment, and how much of it a step may use."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, at_most: float = float("inf")) -> float:
        """Seconds left, never negative."""
        return max(0.0, min(at_most, self._end - time.monotonic()))

    def ticks(self, first: float = 0.005, longest: float = 0.05) -> Iterator[None]:
        """Yields at once and then after growing pauses, until the moment has come."""
        pause = first
        yield
        while self.left():
            time.sleep(self.left(pause))
            pause = min(longest, pause * 1.5)
            yield


def find(where: Folders, probe: Probe[T], timeout: float = PROBE_S) -> T | None:
    """Returns what the probe makes of a running daemon; None when none runs. Starts nothing."""
    info = discovery.read_info(where)
    if info is None:
        return None
    try:
        return probe(info, timeout)
    except Unreachable:
        return None


def find_or_start(
    where: Folders,
    probe: Probe[T],
    *,
    reason: str = "call",
    may_start: bool | None = None,
    while_starting: Callable[[], None] = lambda: None,
) -> T:
    """Returns what the probe makes of the daemon, starting one when needed; raises DaemonError with the cure.

    `may_start=None` leaves it to RUNTAP_AUTOSTART; `while_starting` is run beside a daemon that boots.
    """
    found = find(where, probe)
    if found is not None:
        return found
    if may_start is False or (may_start is None and not surroundings().autostart):
        raise NotRunningError(
            "no runtap daemon is running, and RUNTAP_AUTOSTART=0 forbids to start one: run `runtap start`"
        )
    discovery.make_private(where.runtime)
    discovery.make_private(where.state)
    deadline = Deadline(START_DEADLINE_S)
    with contextlib.ExitStack() as stack:
        found = _lock_or(_newcomers(where, probe, deadline), stack, where, deadline)
        while found is None:
            found = _find_until_free(where, probe, deadline)
            if found is None and _spawn(where, deadline, reason, while_starting):
                found = find(where, probe, deadline.left())
            if found is None and not deadline.left():
                raise DaemonError(_nobody_answers(where))
    return found


def stop(where: Folders, shut_down: Probe[object], *, grace: float = STOP_GRACE_S) -> str:
    """Ends the daemon and waits until its lock is free. Returns `stopped`, `killed`, or `absent` when none ran.

    `shut_down` asks it nicely. When that fails, the process of the info file gets SIGTERM and at last SIGKILL, but
    only after its start time has shown that the number is still its own.
    """
    if not discovery.check_private(where.runtime):
        return "absent"
    with contextlib.ExitStack() as stack:
        _lock_or(lambda: None, stack, where, Deadline(START_DEADLINE_S))
        info = discovery.read_info(where)
        if _is_free(where.daemon_lock):
            return "absent"
        # Without an info file it is already on its way out.
        is_ending = info is None or _agrees(info, shut_down, PROBE_S + grace)
        if is_ending and _becomes_free(where.daemon_lock, grace + SIGNAL_S):
            return "stopped"
        for number in (signal.SIGTERM, signal.SIGKILL):
            if info is not None and discovery.is_same_process(info):
                os.kill(info.pid, number)
            if _becomes_free(where.daemon_lock, SIGNAL_S):
                return "killed"
    raise DaemonError(
        f"cannot stop the daemon that holds {where.daemon_lock}: find its process and end it by hand"
    )


def _agrees(info: Info, shut_down: Probe[object], timeout: float) -> bool:
    try:
        shut_down(info, timeout)
    except Unreachable:
        return False
    return True


def log_tail(where: Folders, since: int = 0) -> str:
    """The last lines a daemon wrote outside its own log, from byte `since` on."""
    try:
        with open(where.error_log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since, size - 65536))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-TAIL_LINES:])


# -- locks


def _open_lock(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise DaemonError(f"cannot open the lock file {path}: {error.strerror}") from error


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise DaemonError(
            f"this file system cannot lock files ({error.strerror}): set RUNTAP_HOME to a folder on a local disk"
        ) from error
    return True


def _is_free(path: str) -> bool:
    """Whether nobody holds a lock. Only under start.lock: for a moment we hold it ourselves, and a daemon that
    starts in that moment would believe in another one."""
    handle = _open_lock(path)
    try:
        return _try_lock(handle)
    finally:
        os.close(handle)


def _becomes_free(path: str, seconds: float) -> bool:
    return any(_is_free(path) for _ in Deadline(seconds).ticks())


def _lock_or(
    otherwise: Callable[[], T | None], stack: contextlib.ExitStack, where: Folders, deadline: Deadline
) -> T | None:
    """Takes start.lock until `stack` ends; or returns what `otherwise` finds while somebody else holds it."""
    handle = _open_lock(where.start_lock)
    stack.callback(os.close, handle)
    for _ in deadline.ticks():
        if _try_lock(handle):
            return None
        found = otherwise()
        if found is not None:
            return found
    raise DaemonError(
        f"another program has been starting or stopping the daemon for {START_DEADLINE_S:g} s "
        f"(it holds {where.start_lock}): try again, or see `runtap status`"
    )


def _newcomers(where: Folders, probe: Probe[T], deadline: Deadline) -> Callable[[], T | None]:
    """Makes a function that probes each info file that was not there before, once."""
    tried = discovery.read_info(where)

    def look() -> T | None:
        nonlocal tried
        info = discovery.read_info(where)
        if info is None or info == tried:
            return None
        tried = info
        try:
            return probe(info, deadline.left(PROBE_S))
        except Unreachable:
            return None

    return look


def _find_until_free(where: Folders, probe: Probe[T], deadline: Deadline) -> T | None:
    """Returns the daemon that holds daemon.lock once it answers; None when the lock is free."""
    for _ in deadline.ticks():
        found = find(where, probe, deadline.left(SECOND_PROBE_S))
        if found is not None or _is_free(where.daemon_lock):
            return found
    raise DaemonError(_nobody_answers(where))


def _nobody_answers(where: Folders) -> str:
    info = discovery.read_info(where)
    who = f"process {info.pid}" if info else "a process without an info file"
    return (
        f"a runtap daemon ({who}) holds {where.daemon_lock} but does not answer: "
        "run `runtap stop` (it ends a daemon that hangs), then try again"
    )


# -- the process


def _spawn(where: Folders, deadline: Deadline, reason: str, while_starting: Callable[[], None]) -> bool:
    """Starts a daemon and waits for its word. False: another one has the lock; raises DaemonError with the reason."""
    log = _open_error_log(where)
    since = os.fstat(log).st_size
    ready, ready_end = os.pipe()
    try:
        try:
            _exec_daemon(log, ready_end, reason)
        finally:
            os.close(ready_end)
            os.close(log)
        while_starting()
        line = _read_line(ready, deadline)
    finally:
        os.close(ready)
    trouble = explain(line, in_time=bool(deadline.left()))
    if trouble is None:
        return True
    if trouble == "":
        return False
    tail = log_tail(where, since)
    if tail and not trouble.endswith(tail.removeprefix("runtapd: ")):  # it may say there what it told us
        trouble += f"\nThe end of {where.error_log}:\n{tail}"
    raise DaemonError(trouble)


def _open_error_log(where: Folders) -> int:
    try:
        return os.open(where.error_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DaemonError(f"cannot write {where.error_log}: {error.strerror}") from error


def _exec_daemon(log: int, ready_end: int, reason: str) -> None:
    """Runs `python -m runtapd` in a session of its own, as nobody's child.

    The shell in between ends at once: the daemon has no parent that would have to collect it, however long the
    program lives that happened to start it. Folder `/` keeps no disk busy, and keeps modules lying in the caller's
    folder from being imported.
    """
    import subprocess

    daemon = [sys.executable, "-m", "runtapd", "--ready-fd", str(ready_end), "--start-reason", reason]
    try:
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", *daemon],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(ready_end,),
            env=for_daemon(),
            cwd="/",
            start_new_session=True,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DaemonError(f"cannot start a process for the daemon: {error}") from error


def _read_line(ready: int, deadline: Deadline) -> bytes:
    """Reads the readiness pipe up to its first newline, its end, or the deadline."""
    import select

    line = b""
    while not line.endswith(b"\n"):
        if not select.select([ready], [], [], deadline.left())[0]:
            return b""
        chunk = os.read(ready, 4096)
        if not chunk:
            break
        line += chunk
    return line


def explain(line: bytes, *, in_time: bool = True) -> str | None:
    """Understands the readiness line. None: ready. Empty: another daemon has the lock. Else the trouble in words."""
    if not line:
        if in_time:
            return "the runtap daemon ended before it was ready"
        return (
            f"the runtap daemon was not ready within {START_DEADLINE_S:g} s: try again, or see `runtap logs`"
        )
    try:
        word = json.loads(line)
    except ValueError:
        return f"the runtap daemon said something strange when it started: {line[:200]!r}"
    if word.get("ok") is True:
        return None
    reason = str(word.get("reason", "internal"))
    if reason == "locked":
        return ""
    message = word.get("message") or "it did not say why"
    return f"the runtap daemon could not start ({reason}): {message}"
