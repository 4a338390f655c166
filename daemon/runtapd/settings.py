"""What can be set from outside, read once and checked; the only reader of the environment.

Owns the names of the environment variables, the defaults, and where the folders lie. Units stand in the names.
Nothing here touches the disk: `endpoint.py` makes and checks the folders.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOG_LEVELS = ("debug", "info", "warning", "error")
_MIB = 1024**2
_SMALLEST_CACHE_LIMIT = _MIB
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the message names it and says what would be right."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a daemon is told when it starts."""

    runtime_dir: Path
    """Info file, locks and socket; private to this user and this boot."""
    state_dir: Path
    """Journal, cache and log of this host; private to this user, kept across boots."""
    local_home: Path
    """Where the local server that runtap brings along keeps its data; only read here."""
    start_reason: str = ""
    """Why this daemon was started, in its starter's words; shown by GetStatus."""
    log_level: str = "info"
    idle_exit_s: float = 1800.0
    """The daemon ends after so long without use; 0 means never."""
    cache_limit_bytes: int | None = None
    """What the caches of all accounts together may take on disk; None: 5 GiB or a tenth of the disk."""
    memory_cache_bytes: int = 256 * _MIB
    fresh_running_s: float = 5.0
    """How long a running run is served without asking the server again."""
    fresh_list_s: float = 10.0
    fresh_finished_s: float = 300.0
    max_open_calls_per_client: int = 256
    max_streams_per_client: int = 128
    upstream_threads: int = 256
    """Requests to servers under way at once, of all accounts together."""
    failpoint: str = ""
    """For crash tests: the process kills itself when it passes the place of this name."""

    def __post_init__(self) -> None:
        for name in ("runtime_dir", "state_dir", "local_home"):
            path: Path = getattr(self, name)
            if not path.is_absolute():
                raise SettingsError(f"{name} is {str(path)!r}; it must be an absolute path")
        if self.log_level not in LOG_LEVELS:
            raise SettingsError(
                f"the log level is {self.log_level!r}; it must be one of {', '.join(LOG_LEVELS)}"
            )
        if not 0 <= self.idle_exit_s < float("inf"):
            raise SettingsError(
                f"idle_exit_s is {self.idle_exit_s}; it must be 0 (never) or a number of seconds"
            )
        limit = self.cache_limit_bytes
        if limit is not None and limit < _SMALLEST_CACHE_LIMIT:
            raise SettingsError(f"cache_limit_bytes is {limit}; it must be at least {_SMALLEST_CACHE_LIMIT}")
        for name in ("max_open_calls_per_client", "max_streams_per_client", "upstream_threads"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def log_path(self) -> Path:
        """The log of the daemon, one JSON object a line."""
        return self.state_dir / "daemon.log"

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, *, start_reason: str = ""
    ) -> Settings:
        """Reads the settings of this process; `SettingsError` names the variable that cannot be used."""
        env = os.environ if environ is None else environ
        runtime_dir, state_dir, local_home = folders(env)
        return cls(
            runtime_dir=runtime_dir,
            state_dir=state_dir,
            local_home=local_home,
            start_reason=start_reason,
            log_level=(env.get("RUNTAP_LOG_LEVEL") or "info").lower(),
            idle_exit_s=_seconds(env, "RUNTAP_IDLE_EXIT_S", cls.idle_exit_s),
            cache_limit_bytes=_bytes(env, "RUNTAP_CACHE_LIMIT", _SMALLEST_CACHE_LIMIT),
            max_open_calls_per_client=_count(env, "RUNTAP_MAX_OPEN_CALLS", cls.max_open_calls_per_client),
            max_streams_per_client=_count(env, "RUNTAP_MAX_STREAMS", cls.max_streams_per_client),
            failpoint=env.get("RUNTAP_FAILPOINT", ""),
        )


def host_id(hostname: str | None = None) -> str:
    """This host as a folder name, so that hosts that share a home keep apart."""
    name = socket.gethostname() if hostname is None else hostname
    return re.sub(r"[^a-z0-9-]", "-", name.lower())[:40]


def folders(env: Mapping[str, str]) -> tuple[Path, Path, Path]:
    """The runtime, the state and the local server's folder. The client reckons them the same way."""
    host = host_id()
    if home := env.get("RUNTAP_HOME"):
        if not os.path.isabs(home):
            raise SettingsError(f"RUNTAP_HOME is {home!r}; it must be an absolute path")
        base = Path(home)
        return base / "run" / host, base / "state" / host, base / "local"
    runtime = Path(xdg) / "runtap" if (xdg := _absolute(env, "XDG_RUNTIME_DIR")) else _shared_temp_folder()
    state = Path(_absolute(env, "XDG_STATE_HOME") or _user_home(env) / ".local" / "state") / "runtap"
    return runtime, state / host, state / "local"


def _shared_temp_folder() -> Path:
    # Not tempfile.gettempdir(): the place must be the same for every process of the user, whatever TMPDIR says.
    return Path(f"/tmp/runtap-{os.getuid()}")


def _user_home(env: Mapping[str, str]) -> Path:
    return Path(env.get("HOME") or os.path.expanduser("~"))


def _absolute(env: Mapping[str, str], name: str) -> str:
    # The XDG specification says that relative paths are to be ignored.
    value = env.get(name, "")
    return value if os.path.isabs(value) else ""


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise SettingsError(f"{name} is {text!r}; it must be a number of seconds, such as {default:g}, or 0")
    return value


def _count(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"{name} is {text!r}; it must be a whole number from 1, such as {default}")
    return int(text)


def _bytes(env: Mapping[str, str], name: str, smallest: int) -> int | None:
    text = env.get(name, "").strip()
    if not text:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.lower(), re.ASCII)
    value = int(float(match[1]) * _UNITS[match[2]]) if match else -1
    if not smallest <= value < 2**63:
        raise SettingsError(f"{name} is {text!r}; it must be a size of at least 1M, such as 500M or 5G")
    return value
