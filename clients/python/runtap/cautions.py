"""Warnings that point at the caller's line, however deep inside this package they arise."""

from __future__ import annotations

import sys
import warnings


def caution(text: str, category: type[Warning] = UserWarning) -> None:
    """Warns as if the first line outside of runtap did it, so that Python shows that line, and once per line."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("runtap."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)
