"""Small files of the state folder that are nobody else's business: born private, replaced as a whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replaces the file's text, or leaves it as it was and raises OSError."""
    fresh = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    # Never readable by others, not even for a moment.
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)


def read(path: Path) -> str:
    """Returns the file's text and makes it private again, which a restored backup may not be; raises OSError."""
    path.chmod(0o600)
    return path.read_text("utf-8")
