"""The data folder: that it is ours alone, who serves it (``local.lock``), and how to reach it (``local.json``).

The lock is a flock held by the serving process for its whole life and never deleted; the info file is replaced
atomically, holds the first user's key, and names a process only while that process serves.
"""

import errno
import fcntl
import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

_INFO: Final = "local.json"


class HomeError(Exception):
    """The data folder cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What ``local.json`` holds. The port, once chosen, is kept; pid and instance are there while serving."""

    url: str
    api_key: str
    entity: str
    port: int
    pid: int | None = None
    instance: str | None = None
    started: str | None = None
    version: str | None = None

    def __repr__(self) -> str:
        return f"Info(url={self.url!r}, entity={self.entity!r}, pid={self.pid})"

    def at_rest(self) -> "Info":
        """The same with nobody serving."""
        return replace(self, pid=None, instance=None, started=None)


class Lock:
    """A flock on a file that stays; freed by the system when its holder ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def acquire(self) -> bool:
        """Take the lock; False where another process has it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise
        return True

    def is_held(self) -> bool:
        """Whether somebody has the lock. Asking is shared, so that those who ask do not take each other for holders."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return True
            raise
        return False

    def release(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class Home:
    """A data folder that was checked."""

    path: Path

    @property
    def database(self) -> Path:
        """The database file."""
        return self.path / "local.db"

    @property
    def log(self) -> Path:
        """Where a detached server writes."""
        return self.path / "local.log"

    def serving_lock(self) -> Lock:
        """Held by the one process that serves this folder."""
        return Lock(self.path / "local.lock")

    def starting_lock(self) -> Lock:
        """Held by whoever is starting or stopping a server, so that two of them end in one server."""
        return Lock(self.path / "local.start.lock")

    def is_served(self) -> bool:
        """Whether a process serves this folder now."""
        lock = self.serving_lock()
        try:
            return lock.is_held()
        finally:
            lock.release()

    def info(self) -> Info | None:
        """What the info file says; None where there is none, or none that makes sense."""
        try:
            values = json.loads((self.path / _INFO).read_text(encoding="utf-8"))
            known = {name: values.get(name) for name in Info.__dataclass_fields__}
            return Info(**known) if isinstance(known["port"], int) and known["api_key"] else None
        except (FileNotFoundError, ValueError, AttributeError, TypeError):
            return None

    def write_info(self, info: Info) -> None:
        """Replace the info file, so that readers find the old or the new one, and only its owner any."""
        temporary = self.path / f".{_INFO}.{secrets.token_hex(4)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            values = {key: value for key, value in asdict(info).items() if value is not None}
            file.write(json.dumps(values, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path / _INFO)


def open_home(path: Path) -> Home:
    """Make the data folder where there is none, and refuse one that others could read or have prepared."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise HomeError(
            f"cannot use the data folder {path}: {error.strerror}; choose another with --home"
        ) from None
    if stat.S_ISLNK(found.st_mode):
        raise HomeError(f"the data folder {path} is a symbolic link: name the folder itself with --home")
    if not stat.S_ISDIR(found.st_mode):
        raise HomeError(f"{path} is not a folder: choose another with --home")
    if found.st_uid != os.geteuid():
        raise HomeError(f"the data folder {path} belongs to another user: choose another with --home")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)
    return Home(path)
