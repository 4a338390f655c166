"""JSON texts: reading what servers write, and the one spelling of non-finite numbers in the contract."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

_SURROGATE = re.compile("[\ud800-\udfff]")
_STRING_OR_BARE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?Infinity|NaN', re.DOTALL)
_DIGITS_TO_ZERO = bytes(0x30 if 0x30 <= i <= 0x39 else i for i in range(256))
_LONG_INTEGER = b"0" * 19
_FRACTION = b"." + b"0" * 10
_HUGE = 2.0**63


def loads(text: str | bytes) -> Any:
    """Parses JSON as servers write it: bare NaN and Infinity allowed, integers exact. Raises ValueError."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    # orjson turns integers beyond 64 bits into floats without a word, so texts with long digit runs go the slow way.
    # (Looking for a run of zeros in a translated copy is thirty times faster than a regular expression.)
    if _has_long_integer(raw):
        return _loads(text)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _loads(text)  # NaN tokens and lone surrogates are for the standard library


def _has_long_integer(raw: bytes) -> bool:
    zeros = raw.translate(_DIGITS_TO_ZERO)
    # Small numbers have as many digits behind their point: 0.001 and something. Those are not meant.
    return _LONG_INTEGER in zeros and _LONG_INTEGER in zeros.replace(_FRACTION, b" ")


def loads_envelope(raw: bytes) -> Any:
    """The same for JSON around documents that are texts in it: faster, since those texts are not searched."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _loads(raw)
    return _loads(raw) if _has_huge_float(parsed) else parsed


def _has_huge_float(parsed: Any) -> bool:
    """Whether there is a float that may have been an integer beyond 64 bits."""
    rest = [parsed]
    while rest:
        value = rest.pop()
        if isinstance(value, float):
            if not -_HUGE < value < _HUGE:
                return True
        elif isinstance(value, dict):
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
    return False


def _loads(text: str | bytes) -> Any:
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8", "replace"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def dumps(value: Any) -> str:
    """Writes compact JSON with bare NaN tokens, as the SDK sends them to servers."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def spelled_out(value: Any) -> Any:
    """Returns the value with NaN, Infinity and -Infinity as strings of that name, all the way down."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: spelled_out(item) for key, item in value.items()}
    if isinstance(value, list):
        return [spelled_out(item) for item in value]
    return value


def strict(text: str) -> str:
    """Returns the text in the contract's spelling; the same object when it already is, which is the usual case.

    Only bare tokens change, so that everything else stays as the server wrote it: number formats, order, escapes.
    """
    if "NaN" not in text and "Infinity" not in text:
        return text
    quoted = text.count('"NaN"') + text.count('"Infinity"') + text.count('"-Infinity"')
    if text.count("NaN") + text.count("Infinity") == quoted:
        return text  # the contract's spelling already; servers use it too
    rewritten = _STRING_OR_BARE.sub(_quoted, text)
    return text if rewritten == text else rewritten


def _quoted(found: re.Match[str]) -> str:
    token = found[0]
    return token if token[0] == '"' else f'"{token}"'


def number(value: Any) -> float | None:
    """A value as a number; NaN is none, nor is what is beyond all doubles."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def encodable(text: str) -> str:
    """Returns the text with lone surrogates, which have no UTF-8, replaced; nearly always the same object."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
