"""Shapes of answers: what is there, of which kind, and where null may stand instead.

check(answer, {"id": str, "notes": Null(str), "tags": [str]})

With ``full=True`` a Null must hold its shape, so that a run with everything is seen to have everything.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Shape = Any
"""A type, a predicate, a dict of exactly these keys, a list of one shape for all items, or one of those below."""

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?")


@dataclass(frozen=True)
class Null:
    """The shape, or null; ``rare`` where even a run with everything has none."""

    shape: Shape
    rare: bool = False


@dataclass(frozen=True)
class Filled:
    """A list with at least one item, all of the shape."""

    item: Shape


@dataclass(frozen=True)
class Json:
    """A text that holds JSON of the shape."""

    shape: Shape


def moment(value: Any) -> bool:
    """A date and time."""
    return isinstance(value, str) and _MOMENT.fullmatch(value) is not None


def whole(value: Any) -> bool:
    """A whole number, as such or in digits, which is what clients pass to ``int``."""
    return isinstance(value, int | str) and not isinstance(value, bool) and int(value) >= 0


def said(wanted: Any) -> Callable[[Any], bool]:
    """Exactly this value."""
    return lambda value: bool(value == wanted)


def page_of(node: Shape, *, cursor: bool = True) -> dict[str, Any]:
    """A page of a list that has something in it."""
    edge = {"node": node, **({"cursor": str} if cursor else {})}
    return {"edges": Filled(edge), "pageInfo": {"endCursor": str, "hasNextPage": bool}}


def check(value: Any, shape: Shape, full: bool = False, place: str = "answer") -> None:
    """Hold a value against a shape; the error names the place that differs."""
    if isinstance(shape, Null):
        if value is not None or (full and not shape.rare):
            check(value, shape.shape, full, place)
    elif isinstance(shape, Json):
        assert isinstance(value, str), f"{place} is no text: {value!r}"
        check(json.loads(value), shape.shape, full, f"{place} (JSON)")
    elif isinstance(shape, Filled | list):
        assert isinstance(value, list), f"{place} is no list: {value!r}"
        assert value or (isinstance(shape, list) and not full), f"{place} is empty"
        for index, item in enumerate(value):
            check(item, shape.item if isinstance(shape, Filled) else shape[0], full, f"{place}[{index}]")
    elif isinstance(shape, dict):
        assert isinstance(value, dict), f"{place} is no object: {value!r}"
        assert value.keys() == shape.keys(), f"{place} has {sorted(value)}, expected {sorted(shape)}"
        for key, below in shape.items():
            check(value[key], below, full, f"{place}.{key}")
    elif isinstance(shape, type):
        right = isinstance(value, shape) and (shape in (bool, object) or not isinstance(value, bool))
        assert right, f"{place} is no {shape.__name__}: {value!r}"
    elif shape is None:
        assert value is None, f"{place} is not null: {value!r}"
    else:
        assert shape(value), f"{place} does not fit: {value!r}"
