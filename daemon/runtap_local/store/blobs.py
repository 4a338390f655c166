"""The bytes of files: a small interface, and its form on a local disk.

A blob is named by a random word and never changes, so that a reader of the old content of a file is not disturbed by a
writer of the new one, and no name chosen by a client ever reaches the file system.
"""

import os
import secrets
from collections import Counter
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Protocol


class BlobStore(Protocol):
    """Where the bytes of files are kept."""

    def create(self) -> tuple[str, BinaryIO]:
        """Begin a blob: its name and a file to write to."""
        ...

    def path(self, name: str) -> Path:
        """Where the blob can be read."""
        ...

    def hold(self, name: str) -> bool:
        """Keep the blob until it is released, whoever deletes it meanwhile; False where it is gone already."""
        ...

    def release(self, name: str) -> None:
        """End what ``hold`` began."""
        ...

    def delete(self, name: str) -> None:
        """Forget the blob; one that is not there is no error."""
        ...


class DiskBlobs:
    """Blobs as files below one folder, spread over 256 others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._held: Counter[str] = Counter()
        self._doomed: set[str] = set()
        folder.mkdir(mode=0o700, exist_ok=True)

    def create(self) -> tuple[str, BinaryIO]:
        """Begin a blob: its name and a file to write to, readable by the owner only."""
        name = secrets.token_hex(16)
        path = self.path(name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        return name, os.fdopen(descriptor, "wb")

    def path(self, name: str) -> Path:
        """Where the blob can be read."""
        return self._folder / name[:2] / name

    def hold(self, name: str) -> bool:
        """Keep the blob until it is released, whoever deletes it meanwhile; False where it is gone already."""
        with self._lock:
            if name in self._doomed or not self.path(name).exists():
                return False
            self._held[name] += 1
            return True

    def release(self, name: str) -> None:
        """End what ``hold`` began; the last one to do so deletes what was deleted meanwhile."""
        with self._lock:
            self._held[name] -= 1
            if self._held[name] == 0:
                del self._held[name]
                if name in self._doomed:
                    self._doomed.remove(name)
                    self.path(name).unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Forget the blob; one that is not there is no error, one that is being read goes when that is over."""
        with self._lock:
            if name in self._held:
                self._doomed.add(name)
            else:
                self.path(name).unlink(missing_ok=True)

    def sweep(self, used: set[str]) -> int:
        """Delete what no file points to, left behind by an interrupted upload; only while nobody writes."""
        unused = [path for path in self._folder.glob("??/*") if path.name not in used]
        for path in unused:
            path.unlink(missing_ok=True)
        return len(unused)
