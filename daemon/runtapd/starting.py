"""How a start that fails is told: to whoever waits at the readiness pipe, and as an exit code.

Owns the reasons and their exit codes, and the one line written to the pipe. Lowest floor: imports nothing of ours.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

EXIT_CODES = {"internal": 1, "usage": 2, "locked": 3, "folder": 4, "disk": 5, "socket": 6}
# EFBIG is what a limit on file sizes gives, which has the same cure.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StartFailure(Exception):
    """The daemon cannot start; the reason is one of `EXIT_CODES`, the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.reason]


def disk_failure(error: OSError, path: Path) -> StartFailure:
    """What a failing file operation means for a start."""
    if error.errno in _FULL:
        return StartFailure(
            "disk",
            f"the disk or quota under {path} is full ({error.strerror}); free some space, then start again",
        )
    return StartFailure("folder", f"cannot use {path}: {error.strerror or error}")


@dataclass
class Readiness:
    """The pipe at whose other end a starter waits. Without one (in the foreground) nothing is told."""

    fd: int | None = None

    def started(self, instance_id: str, endpoint: str) -> None:
        """Says that calls are answered now."""
        self._tell({"ok": True, "instance_id": instance_id, "endpoint": endpoint})

    def failed(self, failure: StartFailure) -> None:
        """Says why there will be no daemon."""
        self._tell({"ok": False, "reason": failure.reason, "message": failure.message})

    def _tell(self, line: dict[str, object]) -> None:
        fd, self.fd = self.fd, None
        if fd is None:
            return
        try:
            os.write(fd, (json.dumps(line) + "\n").encode())
        except BrokenPipeError:
            pass  # the starter gave up; the daemon is there for the next one
        finally:
            os.close(fd)
