"""The one error of this package, and how its texts name what is wrong and what would be near."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

_SHOWN: Final = 60
_PATH: Final = 200


class QueryError(ValueError):
    """A filter or an order that cannot be understood: its text says what is wrong, where, and what is nearest.

    ``path`` is the place inside the filter, such as ``$and[1].config.lr.$gt``; empty at its outermost level.
    """

    def __init__(self, message: str, path: str = "") -> None:
        # A column at the outermost level is named by the message itself.
        place = path if len(path) <= _PATH else path[:_PATH] + "..."
        super().__init__(f"{message} (at {place})" if path.startswith("$") else message)
        self.path = path


def shown(value: object) -> str:
    """Show a value in an error as JSON has it, however long, deep or strange it is."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN else repr(value[:_SHOWN]) + "..."
    if isinstance(value, int) and value.bit_length() > 200:  # Python refuses to write out the longest
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, Mapping):
        return "an object" if value else "{}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "[]"
    return repr(value)[:_SHOWN]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one; None when nothing is."""
    # Comparing takes the square of the length: nobody misspells a hundred letters.
    close = get_close_matches(name[:100], list(known), n=1, cutoff=0.6)
    return close[0] if close else None
