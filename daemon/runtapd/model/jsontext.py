"""JSON texts: reading what servers write, and the one spelling of non-finite numbers in the contract."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

# orjson turns integers beyond 64 bits into floats without a word, so texts with long digit runs go the slow way.
_LONG_INTEGER = re.compile(r"[0-9]{19,}")


def loads(text: str | bytes) -> Any:
    """Parses JSON as servers write it: bare NaN and Infinity allowed, integers exact. Raises ValueError."""
    plain = text if isinstance(text, str) else text.decode("utf-8", "replace")
    if not _LONG_INTEGER.search(plain):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass  # NaN tokens and lone surrogates are for the standard library
    return json.loads(plain)


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
    """Returns the text in the contract's spelling; the same object when it already is, which is the usual case."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return dumps(spelled_out(json.loads(text)))
    return text
