"""Patterns of ``$regex`` in RE2, the syntax of the real servers: a search takes time as its text is long, never more.

Owns what a pattern may cost. A search is unanchored, ``$`` is the very end of the text, ``\\d \\w \\s`` are ASCII.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import re2

from .limits import MAX_PATTERN, MAX_PATTERN_MEMORY, MAX_PATTERN_STEPS

OPTIONS: Final = {
    "i": "upper and lower case are the same",
    "m": "^ and $ are the ends of lines",
    "s": ". is also the end of a line",
}


class PatternError(ValueError):
    """The pattern is not one, or too much; the text says which, to stand behind a colon."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as the client wrote it, ready to search. Equal patterns are equal."""

    text: str
    options: str
    _compiled: Any = field(repr=False, compare=False)

    def search(self, text: str) -> bool:
        """Whether the pattern is found anywhere in the text."""
        return self._compiled.search(_bytes(text)) is not None


def compile_pattern(text: str, options: str = "") -> Pattern:
    """Compile a pattern. Raises PatternError."""
    if len(text) > MAX_PATTERN:
        raise PatternError(f"it is longer than {MAX_PATTERN} characters")
    letters = "".join(sorted(set(options)))
    for letter in letters:
        if letter not in OPTIONS:
            known = ", ".join(f"{one} ({meaning})" for one, meaning in OPTIONS.items())
            raise PatternError(f"unknown letter {letter!r} in $options; there are {known}")
    how = re2.Options()
    how.log_errors = False  # the client is told; nobody reads it on our standard error
    how.never_capture = True
    how.max_mem = MAX_PATTERN_MEMORY
    try:
        compiled = re2.compile(_bytes(f"(?{letters}){text}" if letters else text), how)
    except re2.error as error:
        raise PatternError(_complaint(error)) from None
    if compiled.programsize > MAX_PATTERN_STEPS:
        raise PatternError("it is too large; use fewer or smaller repetitions")
    return Pattern(text, letters, compiled)


def _bytes(text: str) -> bytes:
    # A lone surrogate, which JSON can spell, is a character like any other to RE2.
    return text.encode("utf-8", "surrogatepass")


def _complaint(error: Exception) -> str:
    told = error.args[0] if error.args else b""
    text = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    hint = "; RE2 has no look-around and no back-references" if "(?" in text or "\\" in text else ""
    return text[:120] + hint
