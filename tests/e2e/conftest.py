"""A real local server, runs logged to it by the real SDK, and scripts that read them with one client or the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.local_server import LocalServer, sdk_env, start_local_server

SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True)
class World:
    """A server, and the environment in which scripts find it, a daemon included."""

    server: LocalServer
    folder: Path
    env: dict[str, str]

    def python(self, script: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs one of `scripts/` (or, with a newline in it, the text itself) as a user would."""
        source = ["-c", script] if "\n" in script else [str(SCRIPTS / script)]
        done = subprocess.run(
            [sys.executable, "-W", "error::UserWarning:runtap", *source, *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=100,
        )
        if check and done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return done

    def read(self, script: str, *arguments: str) -> Any:
        """Runs a script that prints JSON as its last line."""
        return json.loads(self.python(script, *arguments).stdout.splitlines()[-1])

    def path(self, project: str) -> str:
        return f"{self.server.entity}/{project}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    server = start_local_server(folder / "local")
    home = folder / "runtap"
    env = sdk_env(server, folder) | {"RUNTAP_HOME": str(home)}
    yield World(server, folder, env)
    subprocess.run([sys.executable, "-m", "runtap", "stop"], env=env, capture_output=True, timeout=60)
    server.stop()
    check_clean(home, server.api_key)


def check_clean(home: Path, canary: str) -> None:
    """Nothing is left running, and the key is in no file: it came with a call and was never to be stored."""
    left = [p for p in psutil.process_iter(["environ"]) if _of(p, str(home))]
    assert left == []
    for path in home.rglob("*"):
        if path.is_file():
            assert canary.encode() not in path.read_bytes(), path


def _of(process: psutil.Process, home: str) -> bool:
    environment = process.info["environ"] or {}
    return (
        environment.get("RUNTAP_HOME") == home
        and process.pid != os.getpid()
        and process.status() != psutil.STATUS_ZOMBIE
    )
