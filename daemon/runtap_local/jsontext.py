"""JSON as the SDK writes it and as its readers take it.

The SDK emits bare NaN and Infinity; texts that carry them are kept as they came, since inside a JSON *string* both of
its readers accept them. Embedded in an answer they would break the Go reader, so there they become strings.
"""

import json
import math
from typing import Any

import orjson


def parse(text: str | bytes) -> tuple[Any, bool]:
    """Parse JSON and say whether it is strict, that is free of NaN and Infinity. Raises ValueError."""
    try:
        return orjson.loads(text), True
    except orjson.JSONDecodeError:
        try:
            return json.loads(text), False
        except RecursionError:
            raise ValueError("nested too deeply") from None


def loads(text: str | bytes) -> Any:
    """Parse JSON, bare NaN and Infinity included. Raises ValueError."""
    return parse(text)[0]


def dumps(value: Any) -> str:
    """Write JSON that is to be read as a text of its own: NaN and Infinity stay bare."""
    return json.dumps(value, separators=(",", ":"))


def embedded(text: str) -> Any:
    """Parse JSON that goes into an answer as it is: NaN and Infinity become the strings of these names."""
    value, strict = parse(text)
    return value if strict else spelled(value)


def spelled(value: Any) -> Any:
    """Replace the numbers that strict JSON does not have by their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [spelled(item) for item in value]
    return value


def encode(value: Any) -> bytes:
    """Write an answer: strict JSON, with whole numbers of any size and texts of any kind."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        # Integers beyond 64 bits and lone surrogates, which clients do log, are beyond orjson.
        return json.dumps(spelled(value), separators=(",", ":")).encode()


def storable(value: Any) -> Any:
    """Make every text in a value fit for UTF-8: a lone surrogate, which JSON can spell and no database can keep,
    becomes U+FFFD.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        return value
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    return value
