"""Where a daemon lies and how it is reached: the folders, their safety, and the info file. Starts nothing.

The info file is a documented, stable format (clients/README.md): other languages read it as this module does.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from dataclasses import dataclass, field

from runtap.environment import Surroundings, surroundings
from runtap.errors import DaemonError

INFO_NAME = "daemon.json"
FORMAT = 1


@dataclass(frozen=True)
class Folders:
    """The folders of one user on one host."""

    runtime: str
    """Socket, info file and locks; private."""
    state: str
    """Journal, cache, keys and logs; private."""
    local: str
    """Home of the local server."""

    @property
    def info_path(self) -> str:
        """The info file, which is also the token file."""
        return os.path.join(self.runtime, INFO_NAME)

    @property
    def daemon_lock(self) -> str:
        """Held by the daemon for its whole life."""
        return os.path.join(self.runtime, "daemon.lock")

    @property
    def start_lock(self) -> str:
        """Held by a client while it starts or stops a daemon."""
        return os.path.join(self.runtime, "start.lock")

    @property
    def error_log(self) -> str:
        """What a daemon says outside its own log, such as why it could not start."""
        return os.path.join(self.state, "daemon.log.err")


@dataclass(frozen=True)
class Info:
    """What the info file says about a running daemon."""

    instance_id: str
    pid: int
    pid_started: float
    """Field 22 of /proc/<pid>/stat; 0 where unknown."""
    endpoint: str
    token: str = field(repr=False)
    api_revision: int = 0
    version: str = ""
    log_path: str = ""
    state_directory: str = ""
    executable: str = ""


def host_id(name: str | None = None) -> str:
    """This host as a folder name, so that a shared home serves several hosts at once."""
    return re.sub(r"[^a-z0-9-]", "-", (name or socket.gethostname()).lower())[:40]


def folders(around: Surroundings | None = None) -> Folders:
    """Names the folders; makes none."""
    around = around or surroundings()
    host = host_id()
    if around.runtap_home:
        home = around.runtap_home
        return Folders(
            runtime=os.path.join(home, "run", host),
            state=os.path.join(home, "state", host),
            local=os.path.join(home, "local"),
        )
    base = os.path.join(around.state_home, "runtap")
    runtime = (
        os.path.join(around.runtime_home, "runtap") if around.runtime_home else f"/tmp/runtap-{os.getuid()}"
    )
    return Folders(runtime=runtime, state=os.path.join(base, host), local=os.path.join(base, "local"))


def make_private(folder: str) -> None:
    """Makes a folder for us alone, or refuses the one that is there."""
    try:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        os.mkdir(folder, 0o700)
        os.chmod(folder, 0o700)  # the umask may have taken bits away
    except FileExistsError:
        pass
    except OSError as error:
        raise DaemonError(
            f"cannot make the folder {folder}: {error.strerror}; set RUNTAP_HOME to a folder you may write to"
        ) from error
    check_private(folder)


def check_private(folder: str) -> bool:
    """True when the folder is there and ours alone, False when it is not there; fails closed on anything else."""
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DaemonError(
            f"cannot look at {folder}: {error.strerror}; set RUNTAP_HOME to another folder"
        ) from error
    if stat.S_ISLNK(found.st_mode):
        trouble = "is a symbolic link"
    elif not stat.S_ISDIR(found.st_mode):
        trouble = "is not a folder"
    elif found.st_uid != os.geteuid():
        trouble = f"belongs to user {found.st_uid}, not to you ({os.geteuid()})"
    elif stat.S_IMODE(found.st_mode) != 0o700:
        trouble = f"has mode {stat.S_IMODE(found.st_mode):04o} instead of 0700"
    else:
        return True
    raise DaemonError(
        f"refusing {folder}: it {trouble}; remove it or mend it (`chmod 700`), or set RUNTAP_HOME to another folder"
    )


def read_info(where: Folders) -> Info | None:
    """Reads the info file. None when there is none worth trying: missing, garbage, or not private."""
    if not check_private(where.runtime):
        return None
    try:
        handle = os.open(where.info_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            return None
        return parse_info(file.read(65536))


def parse_info(text: bytes) -> Info | None:
    """Understands an info file, whatever else it may hold; None when it is none."""
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict) or raw["format"] != FORMAT:
            return None
        info = Info(
            instance_id=str(raw["instance_id"]),
            pid=int(raw["pid"]),
            pid_started=float(raw.get("pid_started", 0)),
            endpoint=str(raw["endpoint"]),
            token=str(raw["token"]),
            api_revision=int(raw.get("api_revision", 0)),
            version=str(raw.get("version", "")),
            log_path=str(raw.get("log_path", "")),
            state_directory=str(raw.get("state_directory", "")),
            executable=str(raw.get("executable", "")),
        )
    except (ValueError, KeyError, TypeError):
        return None
    return info if info.endpoint and info.token.isascii() else None


def is_same_process(info: Info) -> bool:
    """True when the process of the info file still runs, and is not another one with its number."""
    if not info.pid_started:  # a system without /proc; the number alone must do
        try:
            os.kill(info.pid, 0)
        except OSError:
            return False
        return True
    try:
        with open(f"/proc/{info.pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return fields[0] != b"Z" and float(fields[19]) == info.pid_started
