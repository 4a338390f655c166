"""Where clients find this daemon, and that there is only one of it.

Owns the private folders, `daemon.lock`, the socket's path, the token, the info file, and the record of how the last
daemon ended. Does not listen: `server.py` binds the path given here. Order on the way up: folders, lock, what a dead
daemon left behind, and, once the socket answers, the info file. On the way down: the info file first, the lock last.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import runtapd
from runtapd.settings import Settings
from runtapd.starting import StartFailure, disk_failure

INFO_FORMAT = 1
API_REVISION = 1
# sockaddr_un holds 107 bytes on Linux and 103 on macOS; gRPC adds a few of its own.
MAX_SOCKET_PATH_BYTES = 90
_SOCKET_FOLDER_PREFIX = "runtap-socket-"
_SOCKET_NAME = re.compile(r"d-\d+-[0-9a-f]+\.sock")
_NO_MEANS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Why a file cannot be opened although nothing is wrong with it: clients hold more connections than there is room."""


@dataclass
class Endpoint:
    """This daemon's place in the runtime folder, held by the lock."""

    settings: Settings
    instance_id: str
    token: str = field(repr=False)
    socket_path: Path
    last_exit_reason: str
    _lock_fd: int
    _published: bool = False

    @classmethod
    def acquire(cls, settings: Settings) -> Endpoint:
        """Takes the lock and clears what a dead daemon left; StartFailure says why it cannot."""
        private_folder(settings.runtime_dir)
        private_folder(settings.state_dir)
        lock_fd = _lock(settings.runtime_dir / "daemon.lock")
        try:
            _remove_leftovers(settings.runtime_dir, lock_fd)
            socket_path = _socket_path(settings.runtime_dir)
            _note_socket(lock_fd, socket_path)
            if socket_path.parent != settings.runtime_dir:
                socket_path.parent.mkdir(mode=0o700)  # fails if it exists: it must be ours alone
            return cls(
                settings=settings,
                instance_id=secrets.token_hex(8),
                token=secrets.token_hex(32),
                socket_path=socket_path,
                last_exit_reason=_read_last_exit(settings.state_dir),
                _lock_fd=lock_fd,
            )
        except OSError as error:
            os.close(lock_fd)
            raise disk_failure(error, settings.runtime_dir) from error

    @property
    def address(self) -> str:
        """The socket as gRPC clients name it."""
        return f"unix:{self.socket_path}"

    @property
    def info_path(self) -> Path:
        return self.settings.runtime_dir / "daemon.json"

    def publish(self) -> None:
        """Writes the info file, in one step, once the socket answers."""
        info = {
            "format": INFO_FORMAT,
            "instance_id": self.instance_id,
            "pid": os.getpid(),
            "pid_started": process_start(os.getpid()),
            "endpoint": self.address,
            "token": self.token,
            "api_revision": API_REVISION,
            "version": runtapd.__version__,
            "log_path": str(self.settings.log_path),
            "state_directory": str(self.settings.state_dir),
            "executable": sys.executable,
        }
        try:
            write_private(_life_path(self.settings.state_dir), {"instance_id": self.instance_id, "ended": ""})
            self._published = True
            write_private(self.info_path, info)
        except OSError as error:
            raise disk_failure(error, self.info_path) from error

    def is_ours(self) -> bool:
        """True while the info file names this daemon. Having no means to look is no sign that it does not."""
        try:
            with open(self.info_path, "rb"):
                pass
        except OSError as error:
            if error.errno in _NO_MEANS:
                return True
        return self._is_named()

    def _is_named(self) -> bool:
        return _instance_in(self.info_path) == self.instance_id

    def withdraw(self) -> None:
        """Removes the info file, unless a successor's has taken its place."""
        if self._is_named():
            self.info_path.unlink(missing_ok=True)

    def release(self, ended: str) -> None:
        """Leaves nothing behind but the record of how it ended; nothing on the way may stop the rest."""
        self.withdraw()
        _remove_socket(self.socket_path)
        if self._published:
            with suppress(OSError):  # the folder may be gone or the disk full; the record is a courtesy
                write_private(
                    _life_path(self.settings.state_dir), {"instance_id": self.instance_id, "ended": ended}
                )
        os.close(self._lock_fd)


def environment_is_gone() -> bool:
    """True when the interpreter or the package this process runs from was deleted or moved."""
    return not (os.path.exists(sys.executable) and os.path.exists(runtapd.__file__))


def private_folder(path: Path) -> None:
    """Makes the folder, or checks that nobody else can use the one that is there."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            path.mkdir(mode=0o700)
            path.chmod(0o700)  # the umask may have taken bits away
        except FileExistsError:
            pass
        found = path.lstat()
    except OSError as error:
        raise disk_failure(error, path) from error
    if problem := folder_problem(found):
        raise StartFailure(
            "folder",
            f"{path} {problem}; it holds the daemon's token, so the daemon does not start. "
            f"Remove it or put it right, or point RUNTAP_HOME at another folder",
        )


def folder_problem(found: os.stat_result) -> str:
    """Why a folder is not private to us; empty when it is."""
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if not stat.S_ISDIR(found.st_mode):
        return "is not a folder"
    if found.st_uid != os.getuid():
        return f"belongs to user {found.st_uid}, not to us ({os.getuid()})"
    mode = stat.S_IMODE(found.st_mode)
    if mode != 0o700:
        return f"has mode {mode:04o} instead of 0700 (chmod 700 makes it right)"
    return ""


def process_start(pid: int) -> float:
    """When a process started, in the kernel's ticks since boot, to tell it from a later one; 0 where unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    # The second field is the program's name in parentheses and may hold anything, so count from its end.
    return float(text.rpartition(")")[2].split()[19])


def write_private(path: Path, content: dict[str, object]) -> None:
    """Puts a JSON file in place in one step, readable by us alone."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.write("\n")
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _lock(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise disk_failure(error, path) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StartFailure(
            "locked", f"another daemon holds {path}; it is running, starting or ending right now"
        ) from None
    except OSError as error:
        os.close(fd)
        raise disk_failure(error, path) from error
    return fd


def _socket_path(runtime_dir: Path) -> Path:
    name = f"d-{os.getpid()}-{secrets.token_hex(4)}.sock"
    path = runtime_dir / name
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    # Not TMPDIR, which may be long too.
    return Path("/tmp") / f"{_SOCKET_FOLDER_PREFIX}{secrets.token_hex(8)}" / name


def _note_socket(lock_fd: int, socket_path: Path) -> None:
    # In the lock file, which is there before the socket and stays: so a socket elsewhere never outlives its daemon
    # for longer than until the next start, at whatever moment the daemon is killed.
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, os.fsencode(socket_path), 0)


def _remove_leftovers(runtime_dir: Path, lock_fd: int) -> None:
    # We hold the lock, so whatever lies here belongs to a daemon that is dead.
    info_path = runtime_dir / "daemon.json"
    _remove_socket(Path(os.fsdecode(os.pread(lock_fd, 4096, 0))))
    for path in runtime_dir.glob("d-*.sock"):
        _remove_socket(path)
    for path in runtime_dir.glob(".daemon.json.*"):
        path.unlink(missing_ok=True)
    info_path.unlink(missing_ok=True)


def _remove_socket(path: Path) -> None:
    # The path may come from a file: touch only what bears our names and is ours.
    if not _SOCKET_NAME.fullmatch(path.name):
        return
    try:
        path.unlink(missing_ok=True)
        folder = path.parent
        if folder.name.startswith(_SOCKET_FOLDER_PREFIX) and not folder_problem(folder.lstat()):
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # already gone, or not ours to remove; the successor's socket has another name anyway


def _life_path(state_dir: Path) -> Path:
    return state_dir / "last-life.json"


def _read_last_exit(state_dir: Path) -> str:
    record = _read_json(_life_path(state_dir))
    if not record:
        return ""
    return str(record.get("ended") or "crash")


def _instance_in(info_path: Path) -> str:
    return str(_read_json(info_path).get("instance_id", ""))


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
