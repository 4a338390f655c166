"""Places at which a crash test can end the process, as a power cut would.

Owns the one armed name. Without `RUNTAP_FAILPOINT` a failpoint is a comparison of two strings and does nothing.
"""

from __future__ import annotations

import os
import signal

_armed = ""


def arm(name: str) -> None:
    """Makes `failpoint(name)` deadly. Called once, by `app.py`, with what the settings name."""
    global _armed
    _armed = name


def failpoint(name: str) -> None:
    """Kills this process here if the settings name this place; nothing is flushed and no handler runs."""
    if _armed and name == _armed:
        os.kill(os.getpid(), signal.SIGKILL)
