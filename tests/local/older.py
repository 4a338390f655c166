"""Older SDKs, each in a virtual environment of its own below ``.venv/older``, made once."""

import fcntl
import subprocess
import sys
from pathlib import Path

from tests.support.local_server import REPOSITORY

FOLDER = REPOSITORY / ".venv" / "older"
# What the scripts use beside it; pinned with it, so that it installs tomorrow as it does today.
BESIDE = ("numpy==1.26.4", "pillow==11.3.0", "setuptools==75.8.0")
_MINUTES = 10


def older_sdk(version: str) -> Path:
    """The Python that has this version of the SDK. Raises AssertionError with pip's words where it cannot be had."""
    place = FOLDER / version
    python, ready = place / "bin" / "python", place / "ready"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            _call(sys.executable, "-m", "venv", "--clear", str(place))
            _call(str(python), "-m", "pip", "install", "--quiet", f"wandb=={version}", *BESIDE)
            ready.touch()
    return python


def _call(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_MINUTES * 60, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, (
        f"the older SDK cannot be installed: {' '.join(command)}\n{done.stderr[-3000:]}"
    )
