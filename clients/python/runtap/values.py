"""Values as people write them, made into values JSON can carry: numpy, histograms, dates, NaN. No I/O.

`plain` makes built-in values out of anything sensible and leaves NaN alone; `json_text` writes them with the contract's
spelling of NaN and infinities (the strings "NaN", "Infinity" and "-Infinity"). numpy, torch and the wandb SDK are
recognised by what their objects can do, so nothing of them is imported here.
"""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from runtap.errors import InvalidRequestError

DEEPEST = 200
"""How deep lists and dicts may be nested; as in the daemon."""

LARGEST_ARRAY = 32
"""Arrays with more elements than this are not stored as lists; as in the wandb SDK."""

SPELLED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How the contract spells the numbers JSON lacks."""


def plain(value: Any, place: str = "value", depth: int = 0) -> Any:
    """Returns `value` made of None, bool, int, float, str, list and dict; `place` names it in errors."""
    if depth > DEEPEST:
        raise _refused(f"{place[:60]}... is nested deeper than {DEEPEST} levels, or contains itself")
    if value is None or isinstance(value, bool | int | float | str):
        return _builtin(value)
    if isinstance(value, Mapping):
        return {_key(key, place): plain(item, f"{place}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
    # pandas.NaT passes for a date and is no date; like NaN, it is not even itself.
    if isinstance(value, datetime.date | datetime.time) and value == value:
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if _is_histogram(value):
        return histogram_json(value)
    if callable(getattr(value, "tolist", None)):
        return _array(value, place, depth)
    raise _refused(
        f"{place} is of type {type(value).__name__}, which JSON cannot hold; "
        "use None, numbers, strings, lists, dicts or runtap.Histogram"
    )


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, ValueError(message), reason="INVALID_FIELD")


def encodable(text: str) -> bool:
    """False for a text with half a surrogate pair, such as os.listdir gives for names that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(text: str, place: str) -> None:
    """Refuses what is no text, and a text that no message can carry."""
    if not isinstance(text, str):
        raise _refused(f"{place} must be a text, not {type(text).__name__}")
    if not encodable(text):
        raise _refused(
            f"{place} has half a surrogate pair, which UTF-8 cannot hold; "
            'text.encode("utf-8", "replace").decode() makes it a question mark'
        )


def _builtin(value: Any) -> Any:
    """Frees a scalar from its subclass (numpy's float64 is a float, an IntEnum an int)."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    return value


def _key(key: Any, place: str) -> str:
    if isinstance(key, str):
        return str(key)
    if isinstance(key, bool | int | float) or key is None:
        return json.dumps(key)
    raise _refused(f"{place} has a key of type {type(key).__name__}; keys are strings")


def _is_histogram(value: Any) -> bool:
    """True for our Histogram and for the wandb SDK's."""
    return hasattr(value, "histogram") and hasattr(value, "bins")


def histogram_json(value: Any) -> dict[str, Any]:
    """The typed dict servers draw as a histogram."""
    counts, edges = _listed(value.histogram), _listed(value.bins)
    return {"_type": "histogram", "values": counts, "bins": edges}


def _listed(values: Any) -> list[Any]:
    as_list = getattr(values, "tolist", None)
    return list(as_list() if callable(as_list) else values)


def _array(value: Any, place: str, depth: int) -> Any:
    size = math.prod(getattr(value, "shape", ()))
    if size > LARGEST_ARRAY:
        raise _refused(
            f"{place} is an array of {size:,} elements; store runtap.Histogram(array) or array.tolist()"
        )
    return plain(value.tolist(), place, depth + 1)


def spelled(value: Any) -> Any:
    """A copy of a plain value in which numbers that JSON lacks are strings."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [spelled(item) for item in value]
    return value


def json_text(value: Any) -> str:
    """JSON text of a plain value."""
    return json.dumps(spelled(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def unspelled(value: Any) -> Any:
    """The plain value with floats where a text is exactly one of the three spellings, all the way down."""
    if isinstance(value, str):
        return SPELLED.get(value, value)
    if isinstance(value, dict):
        return {key: unspelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unspelled(item) for item in value]
    return value


def as_it_is(value: Any) -> Any:
    """Reads nothing into a value."""
    return value


def parsed(text: str, read: Callable[[Any], Any] = as_it_is) -> Any:
    """What `read` makes of the value of a JSON text in the contract's spelling; integers of any size stay exact."""
    try:
        value = _decoded(text, read)
        # Most texts spell none, and single letters are what is found fastest.
        if ("N" in text and '"NaN"' in text) or ("I" in text and 'Infinity"' in text):
            return unspelled(value)
        return value
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _decoded(text: str, read: Callable[[Any], Any]) -> Any:
    try:
        value = read(orjson.loads(text))
    except ValueError:
        return read(json.loads(text))  # half a surrogate pair, 1e999; and errors in words that people know
    # Integers beyond 64 bits come as floats, and nothing else tells of them.
    if _has_huge(value.values() if type(value) is dict else (value,)):
        return read(json.loads(text))
    return value


def _has_huge(values: Iterable[Any]) -> bool:
    """Whether a float as large as integers beyond 64 bits is anywhere in these."""
    most, least = _HUGE, -_HUGE
    for value in values:
        kind = type(value)
        if kind is float:
            if value >= most or value <= least:
                return True
        elif (kind is dict and _has_huge(value.values())) or (kind is list and _has_huge(value)):
            return True
    return False


_HUGE = 2.0**63


def same(one: Any, other: Any) -> bool:
    """True when two plain values are one value in JSON: NaN equals NaN and its spelling, True is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(spelled(one) == spelled(other))
