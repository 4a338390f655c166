"""JSON as the SDK writes it and as its readers take it.

The SDK emits bare NaN and Infinity; texts that carry them are kept as they came, since inside a JSON *string* both of
its readers accept them. Embedded in an answer they would break the Go reader, so there they become strings.
"""

import json
import math
import re
from typing import Any, Final

import orjson

MAX_DEPTH: Final = 200
"""How deeply values may nest. Far beyond what programs log, and within what every writer of JSON here can write."""
MAX_VALUES: Final = 1_000_000
"""How many values one text may hold: each takes many times its length in memory."""
_STRING_BYTES: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STRING: Final = re.compile(_STRING_BYTES.pattern.decode(), re.DOTALL)


def parse(text: str | bytes) -> tuple[Any, bool]:
    """Parse JSON and say whether it is strict, that is free of NaN and Infinity. Raises ValueError."""
    try:
        return orjson.loads(text), True
    except orjson.JSONDecodeError:
        try:
            return json.loads(text), False
        except RecursionError:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None


def loads(text: str | bytes) -> Any:
    """Parse JSON, bare NaN and Infinity included. Raises ValueError."""
    return parse(text)[0]


def received(text: str | bytes) -> Any:
    """Parse JSON that a client sent: bounded, and with texts that can be stored. Raises ValueError."""
    _check_values(text)
    value, strict = parse(text)
    _check_depth(text, value)
    return value if strict else storable(value)


def _check_values(text: str | bytes) -> None:
    if len(text) <= MAX_VALUES:
        return
    # Texts inside of texts, as streams carry them, are one value each, whatever stands in them.
    if isinstance(text, bytes):
        many = text.count(b",") > MAX_VALUES and _STRING_BYTES.sub(b"", text).count(b",") > MAX_VALUES
    else:
        many = text.count(",") > MAX_VALUES and _STRING.sub("", text).count(",") > MAX_VALUES
    if many:
        raise ValueError(f"more than {MAX_VALUES} values")


def _check_depth(text: str | bytes, value: Any) -> None:
    opened = (
        text.count(b"[") + text.count(b"{") if isinstance(text, bytes) else text.count("[") + text.count("{")
    )
    if opened <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for outer in level for item in _items(outer) if isinstance(item, dict | list)]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _items(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


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


class Verbatim:
    """Strict JSON on its way into an answer, unparsed. No dataclass: orjson has an own idea of those."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def verbatim(text: str) -> Any:
    """Take JSON that goes into an answer as it is; only where it may hold NaN or Infinity it is looked into."""
    return embedded(text) if "NaN" in text or "Infinity" in text else Verbatim(text)


def _fragment(value: Any) -> Any:
    if isinstance(value, Verbatim):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def _parsed(value: Any) -> Any:
    if isinstance(value, Verbatim):
        return loads(value.text)
    raise TypeError(type(value).__name__)


def encode(value: Any) -> bytes:
    """Write an answer: strict JSON, with whole numbers of any size and texts of any kind."""
    try:
        return orjson.dumps(value, default=_fragment)
    except orjson.JSONEncodeError:
        # Integers beyond 64 bits and lone surrogates, which clients do log, are beyond orjson.
        return json.dumps(spelled(value), separators=(",", ":"), default=_parsed).encode()


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
