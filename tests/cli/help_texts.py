"""The help texts as users see them, kept in `golden/`. `python -m tests.cli.help_texts` accepts the texts of now."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = (
    "",
    "start",
    "stop",
    "restart",
    "status",
    "logs",
    "flush",
    "cache",
    "cache prune",
    "login",
    "logout",
    "whoami",
    "projects",
    "runs",
    "run",
    "sweeps",
    "sweep",
    "best-run",
    "local",
    "local start",
    "local stop",
    "local status",
    "local use",
    "local user",
    "local user add",
    "local user remove",
    "local user list",
    "local team",
    "local team add",
    "local team list",
    "local member",
    "local member add",
    "local member remove",
    "local member list",
)


def golden_path(command: str) -> Path:
    """The file that holds a command's help."""
    return GOLDEN / f"{'-'.join(['runtap', *command.split()])}.txt"


def help_text(command: str) -> str:
    """What `--help` prints, whatever terminal this runs in."""
    environment = {**os.environ, "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
    words = [sys.executable, "-m", "runtap", *command.split(), "--help"]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout


def accept() -> None:
    """Writes all files anew."""
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.glob("*.txt"):
        old.unlink()
    for command in COMMANDS:
        golden_path(command).write_text(help_text(command))


if __name__ == "__main__":
    accept()
