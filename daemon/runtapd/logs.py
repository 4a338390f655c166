"""The daemon's log: JSON lines in one rotating private file, without secrets.

Owns the format, the redaction and the thread that writes, so that a slow disk never holds up the loop. Redaction
runs over the finished line: nothing that a record carries, tracebacks included, gets around it.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import queue
import re
import time
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

_MAX_BYTES = 8 * 1024**2
_BACKUPS = 3
_REDACTED = "[redacted]"
_LONGEST_TEXT = 4000
# Fields that every LogRecord has; whatever else it carries came in as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LOOKS_SECRET = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9A-Za-z]{40,}"  # API keys of 40 hex digits, our own token of 64, and their like
    r"|wandb_v\d+_[0-9A-Za-z_\-]{16,})"  # newer API keys
    r"|(?i:(?<=basic )|(?<=bearer ))[0-9A-Za-z+/=._~\-]{8,}"
    r"|(?i:(?<=signature=)|(?<=sig=)|(?<=x-amz-credential=)|(?<=x-amz-security-token=))[^&\s\"]+"
)


class RedactedJson(logging.Formatter):
    """Writes a record as one line of JSON and takes the secrets out: declared ones, and what looks like one."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[str] = set()

    def learn(self, secret: str) -> None:
        """Declares a secret; short words are refused, since they would black out ordinary text."""
        if len(secret) >= 8:
            self._known.add(secret)

    def redact(self, text: str) -> str:
        """The text without secrets."""
        for secret in tuple(self._known):
            text = text.replace(secret, _REDACTED)
        return _LOOKS_SECRET.sub(_REDACTED, text)

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_LONGEST_TEXT],
        }
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)[-_LONGEST_TEXT:]
        return self.redact(json.dumps(line, default=str, ensure_ascii=False))


class _QuietFile(logging.handlers.RotatingFileHandler):
    """Goes on without the log when the disk is full: the daemon's work matters more."""

    def handleError(self, record: logging.LogRecord) -> None:
        return

    def _open(self) -> TextIOWrapper:
        fd = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return open(fd, "a", encoding="utf-8")


class Logs:
    """The log while it is open. Everything logged under `runtapd` goes there; other libraries from warning on."""

    def __init__(self, path: Path, level: str) -> None:
        self.text = RedactedJson()
        self._level = level
        self._ours = logging.getLogger("runtapd")
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._handler = logging.handlers.QueueHandler(records)
        self._handler.setFormatter(self.text)
        self._file = _QuietFile(path, maxBytes=_MAX_BYTES, backupCount=_BACKUPS, encoding="utf-8")
        self._writer = logging.handlers.QueueListener(records, self._file)
        self._writer.start()
        logging.getLogger().addHandler(self._handler)
        logging.captureWarnings(True)
        self._ours.setLevel(level.upper())

    @property
    def level(self) -> str:
        return self._level

    def set_level(self, level: str) -> str:
        """Changes the level of our own log; returns the one before."""
        before, self._level = self._level, level
        self._ours.setLevel(level.upper())
        return before

    def close(self) -> None:
        """Writes what is left and lets go of the file. A second call does nothing."""
        if self._handler not in logging.getLogger().handlers:
            return
        logging.getLogger().removeHandler(self._handler)
        logging.captureWarnings(False)
        self._writer.stop()
        with suppress(OSError):  # the disk may be full
            self._file.close()


def _timestamp(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
