"""Attributes in camelCase beside snake_case: scripts written for wandb use both."""

from __future__ import annotations

import re
from typing import Any

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def snake(name: str) -> str:
    """`createdAt` as `created_at`; other names as they are, in small letters."""
    return _CAPITAL.sub("_", name).lower()


class BothSpellings:
    """Lets attributes of a class be read in camelCase too."""

    _kind = "this object"
    """What it is called in errors."""

    def __getattr__(self, name: str) -> Any:
        spelled = snake(name)
        # Private names must fail here: unpickling asks for them before there is anything to ask.
        if spelled != name and not name.startswith("_") and hasattr(type(self), spelled):
            return getattr(self, spelled)
        raise AttributeError(f"{self._kind} has no attribute {name!r}")
