"""The points of a sweep: the n-th of a grid, or the n-th at random. Pure and repeatable: the same number gives the same
point for ever, so that a point that got lost can be handed out again.
"""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from .distributions import DISTRIBUTIONS, nth
from .parameters import Parameter

Point = dict[str, Any]


def grid_size(parameters: Sequence[Parameter]) -> int:
    """How many points a grid has."""
    return math.prod(parameter.count or 0 for parameter in parameters)


def grid_point(parameters: Sequence[Parameter], number: int) -> Point:
    """A point of a grid. The last parameter changes with every point, the first one least often."""
    places: dict[tuple[str, ...], int] = {}
    for parameter in reversed(parameters):
        number, places[parameter.path] = divmod(number, parameter.count or 1)
    return _point(parameters, lambda p: nth(p.kind, p.values, places[p.path]))


def random_point(parameters: Sequence[Parameter], seed: int, number: int) -> Point:
    """A point at random. Each parameter has a chance of its own, which no other parameter shifts."""
    return _point(
        parameters,
        lambda p: DISTRIBUTIONS[p.kind].draw(p.values, Random(f"{seed}:{number}:{'/'.join(p.path)}")),
    )


def arguments(point: Point) -> dict[str, dict[str, Any]]:
    """A point as agents take it: each value wrapped as in a run's config."""
    return {name: {"value": value} for name, value in point.items()}


def _point(parameters: Sequence[Parameter], value_of: Callable[[Parameter], Any]) -> Point:
    point: Point = {}
    for parameter in parameters:
        group = point
        for name in parameter.path[:-1]:
            group = group.setdefault(name, {})
        group[parameter.path[-1]] = value_of(parameter)
    return point
