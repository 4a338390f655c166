"""A real local server for tests: started as users start it, in a home of its own, and the real SDK logging to it.

with local_server(tmp_path / "home", crash_after_s=2) as server:
    done = log_run(server, tmp_path, "import wandb ...")
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHONPATH = os.pathsep.join((str(REPOSITORY / "daemon"), str(REPOSITORY / "clients" / "python")))


def base_env(home: Path) -> dict[str, str]:
    """The environment of a child that knows nothing of the developer's: no WANDB_*, no RUNTAP_*, its own HOME."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), "PYTHONPATH": PYTHONPATH}


@dataclass
class LocalServer:
    """A running server. ``entity`` is its first user's."""

    url: str
    api_key: str
    entity: str
    pid: int
    home: Path
    settings: dict[str, Any] = field(default_factory=dict, repr=False)

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``python -m runtap_local`` on this server's home."""
        return run_command(self.home, *arguments, check=check, **self.settings)

    def add_user(self, name: str) -> str:
        """Make another user and return their key."""
        key: str = json.loads(self.command("user", "add", name, "--json").stdout)["api_key"]
        return key

    def stop(self) -> None:
        """End the server; one that has ended already is fine."""
        self.command("stop")


def run_command(
    home: Path, *arguments: str, check: bool = True, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m runtap_local --home HOME ...`` with settings such as ``crash_after_s=2`` in its environment."""
    env = base_env(home.parent)
    env.update({f"RUNTAP_LOCAL_{name.upper()}": str(value) for name, value in settings.items()})
    command = [sys.executable, "-m", "runtap_local", "--home", str(home), *arguments]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=40, stdin=subprocess.DEVNULL
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{arguments} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done


def start_local_server(home: Path, **settings: Any) -> LocalServer:
    """Start a server on ``home`` (or find the one that runs there). ``settings``: fields of its ``Settings``."""
    told = json.loads(run_command(home, "start", "--json", **settings).stdout)
    return LocalServer(home=home, settings=settings, **told)


@contextmanager
def local_server(home: Path, **settings: Any) -> Iterator[LocalServer]:
    """A server for the length of a block; it must not have met anything that it did not expect."""
    server = start_local_server(home, **settings)
    try:
        yield server
    finally:
        server.stop()
    assert "Traceback" not in (home / "local.log").read_text()


def sdk_env(server: LocalServer, tmp_path: Path) -> dict[str, str]:
    """The environment for a child that uses the real SDK: it reads and writes nothing outside ``tmp_path``."""
    folder = tmp_path / "sdk"
    folder.mkdir(parents=True, exist_ok=True)
    env = base_env(folder)
    env.update(
        WANDB_BASE_URL=server.url,
        WANDB_API_KEY=server.api_key,
        WANDB_ERROR_REPORTING="false",
        WANDB_SILENT="true",
        NETRC=str(folder / "netrc"),
    )
    for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR", "ARTIFACT_DIR"):
        path = folder / name.lower()
        path.mkdir(exist_ok=True)
        env[f"WANDB_{name}"] = str(path)
    return env


def log_run(
    server: LocalServer, tmp_path: Path, script: str, *, timeout: float = 50, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a script that uses the real SDK in a process of its own; the caller judges its exit code."""
    environment = {**sdk_env(server, tmp_path), **env}
    return subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
