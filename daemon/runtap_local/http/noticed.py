"""What goes into the log of what came over HTTP: bounded, and one line each, whatever was sent."""

import logging
import re
from threading import Lock
from typing import Final

from ..faults import Fault, Unauthorized

_LOG = logging.getLogger(__name__)
_LONGEST: Final = 1000
_BREAKS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def one_line(text: str) -> str:
    """Text of others as part of one line of the log."""
    return _BREAKS.sub(" ", text[:_LONGEST])


class Refused:
    """Notes each refusal once: a program that logs a run never says why what it sends was refused."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._noted: set[str] = set()
        self._lock = Lock()

    def note(self, kind: str, fault: Fault) -> None:
        """Write a refusal into the log, unless it stands there; of strangers, nothing."""
        line = f"{kind} refused: {one_line(fault.message)}"
        with self._lock:
            if isinstance(fault, Unauthorized) or line in self._noted or len(self._noted) >= self._most:
                return
            self._noted.add(line)
        _LOG.warning("%s", line)
