"""How a script tells what it did: seconds of its job, what it found, and the memory it took, as one line of JSON.

Light, so that importing it costs the script next to nothing.
"""

from __future__ import annotations

import json
import time
from pathlib import Path


class Job:
    """A job under way, from its making to `end`. What comes behind is checking, and is not counted."""

    def __init__(self) -> None:
        self._before_mib = own_peak_mib()
        self._began = time.perf_counter()
        self._ended = 0.0
        self._peak_mib = 0.0

    def end(self) -> None:
        """The job is done."""
        self._ended = time.perf_counter()
        self._peak_mib = own_peak_mib()

    def tell(self, found: str) -> None:
        """Prints what is known of it."""
        told = {
            "seconds": self._ended - self._began,
            "found": found,
            "peak_mib": self._peak_mib,
            "grown_mib": self._peak_mib - self._before_mib,
            "checking_s": time.perf_counter() - self._ended,
        }
        print(json.dumps(told))


def own_peak_mib() -> float:
    """The most memory this process had so far; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
