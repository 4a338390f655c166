"""Warnings that point at the caller's line, however deep inside this package they arise, and that come once a line.

Python itself shows a text once a line. But it forgets that whenever anybody touches the filters of warnings, which
pandas does all the time, and a text with another number in it is another text to it. So what texts were about is
remembered here.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Hashable

_MOST_TOLD = 10_000
_told: set[int] = set()
"""What was said about in which line, as hashes."""


def caution(text: str, category: type[Warning] = UserWarning, *, about: Hashable = None) -> None:
    """Warns as if the first line outside of runtap did it, so that Python shows that line, and once per line.

    With `about`, it is said once per line and `about`, whatever else the text names: a loop over runs warns once. Where
    filters of warnings want every one (`always`, `error`), every one comes.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("runtap."):
        level, frame = level + 1, frame.f_back
    module, line = str(frame.f_globals.get("__name__", "")), frame.f_lineno
    once = about is not None and _action(text, category, module, line) in ("default", "module", "once")
    if not (once and _is_told(hash((frame.f_code.co_filename, line, category, about)))):
        warnings.warn(text, category, stacklevel=level)


def _is_told(place: int) -> bool:
    """Whether this was said before; from now on it was."""
    if place in _told:
        return True
    if len(_told) >= _MOST_TOLD:
        _told.clear()
    _told.add(place)
    return False


def _action(text: str, category: type[Warning], module: str, line: int) -> str:
    """What Python's filters say about a warning: the first that matches counts."""
    for action, message, kind, where, number in warnings.filters:
        if (
            issubclass(category, kind)
            and number in (0, line)
            and _matches(message, text)
            and _matches(where, module)
        ):
            return action
    return "default"


def _matches(pattern: re.Pattern[str] | str | None, text: str) -> bool:
    if pattern is None or isinstance(pattern, str):
        return pattern in (None, text)
    return pattern.match(text) is not None
