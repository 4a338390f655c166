"""The ways a single parameter takes its values: what each needs, how it is drawn, and its values in order where it has
a last one. Pure: chance comes in as a ``Random``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any, Final

Values = Mapping[str, Any]
_LARGEST_EXPONENT: Final = 709.0
"""exp() of more than this is no longer a number."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """One way of drawing. ``needs`` must be given, ``defaults`` may be; ``positive`` must lie above 0."""

    draw: Callable[[Values, Random], Any]
    needs: tuple[str, ...] = ()
    defaults: tuple[tuple[str, float], ...] = ()
    positive: tuple[str, ...] = ()
    whole: bool = False
    exponents: bool = False
    """The bounds are exponents of e, not values."""


def _between(low: float, high: float, chance: Random) -> float:
    # low + (high - low) * share would overflow for bounds that are far apart.
    share = chance.random()
    return min(max(low * (1 - share) + high * share, low), high)


def _uniform(v: Values, chance: Random) -> float:
    return _between(v["min"], v["max"], chance)


def _int_uniform(v: Values, chance: Random) -> int:
    return chance.randint(v["min"], v["max"])


def _log_uniform(v: Values, chance: Random) -> float:
    return math.exp(_between(v["min"], v["max"], chance))


def _log_uniform_values(v: Values, chance: Random) -> float:
    drawn = math.exp(_between(math.log(v["min"]), math.log(v["max"]), chance))
    return min(max(drawn, float(v["min"])), float(v["max"]))


def _inv_log_uniform(v: Values, chance: Random) -> float:
    return math.exp(-_between(v["min"], v["max"], chance))


def _normal(v: Values, chance: Random) -> float:
    return chance.gauss(v["mu"], v["sigma"])


def _log_normal(v: Values, chance: Random) -> float:
    return math.exp(min(_normal(v, chance), _LARGEST_EXPONENT))


def _beta(v: Values, chance: Random) -> float:
    return chance.betavariate(v["a"], v["b"])


def _categorical(v: Values, chance: Random) -> Any:
    if v.get("probabilities"):
        return chance.choices(v["values"], v["probabilities"])[0]
    return chance.choice(v["values"])


def _quantized(draw: Callable[[Values, Random], float]) -> Callable[[Values, Random], Any]:
    """Draw and round to a multiple of q, which stays whole where q is."""

    def rounded(v: Values, chance: Random) -> Any:
        return multiple(v["q"], steps_of(draw(v, chance), v["q"]))

    return rounded


def _q_uniform(v: Values, chance: Random) -> Any:
    steps = steps_of(_uniform(v, chance), v["q"])
    # Rounding must not lead out of the bounds where a multiple lies within them.
    low, high = _exact(v["min"]) / _exact(v["q"]), _exact(v["max"]) / _exact(v["q"])
    first, last = math.ceil(low), math.floor(high)
    return multiple(v["q"], min(max(steps, first), last) if first <= last else steps)


def steps_of(value: float, q: float) -> int:
    """How many times q the value is, to the nearest."""
    return round(_exact(value) / _exact(q))


def multiple(q: float, steps: int) -> int | float:
    """``steps`` times q without the noise of binary fractions: 3 times 0.1 is 0.3."""
    return q * steps if isinstance(q, int) else float(_exact(q) * steps)


def _exact(number: float) -> Fraction:
    """The number as it is written: 0.1 is a tenth, not the nearest binary fraction."""
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


_BOUNDS: Final = ("min", "max")
_Q: Final = (("q", 1),)
_GAUSS: Final = (("mu", 0.0), ("sigma", 1.0))
_SHAPE: Final = (("a", 1.0), ("b", 1.0))

DISTRIBUTIONS: Final[dict[str, Distribution]] = {
    "constant": Distribution(lambda v, chance: v["value"], ("value",)),
    "categorical": Distribution(_categorical, ("values",)),
    "categorical_w_probabilities": Distribution(_categorical, ("values", "probabilities")),
    "int_uniform": Distribution(_int_uniform, _BOUNDS, whole=True),
    "uniform": Distribution(_uniform, _BOUNDS),
    "q_uniform": Distribution(_q_uniform, _BOUNDS, _Q, ("q",)),
    "log_uniform": Distribution(_log_uniform, _BOUNDS, exponents=True),
    "log_uniform_values": Distribution(_log_uniform_values, _BOUNDS, positive=_BOUNDS),
    "q_log_uniform": Distribution(_quantized(_log_uniform), _BOUNDS, _Q, ("q",), exponents=True),
    "q_log_uniform_values": Distribution(_quantized(_log_uniform_values), _BOUNDS, _Q, ("q", *_BOUNDS)),
    "inv_log_uniform": Distribution(_inv_log_uniform, _BOUNDS, exponents=True),
    # The logarithm of 1/x is as even as that of x: both names mean the same values.
    "inv_log_uniform_values": Distribution(_log_uniform_values, _BOUNDS, positive=_BOUNDS),
    "normal": Distribution(_normal, (), _GAUSS, ("sigma",)),
    "q_normal": Distribution(_quantized(_normal), (), _GAUSS + _Q, ("sigma", "q")),
    "log_normal": Distribution(_log_normal, (), _GAUSS, ("sigma",)),
    "q_log_normal": Distribution(_quantized(_log_normal), (), _GAUSS + _Q, ("sigma", "q")),
    "beta": Distribution(_beta, (), _SHAPE, ("a", "b")),
    "q_beta": Distribution(_quantized(_beta), (), _SHAPE + _Q, ("a", "b", "q")),
}

FIELDS: Final = frozenset({"value", "values", "probabilities", "min", "max", "q", "mu", "sigma", "a", "b"})
"""What a parameter can be given beside its distribution."""


def count(kind: str, v: Values) -> int | None:
    """How many values there are; None where there is no counting them."""
    if kind == "constant":
        return 1
    if kind.startswith("categorical"):
        return len(v["values"])
    if kind == "int_uniform":
        return int(v["max"]) - int(v["min"]) + 1
    if kind == "q_uniform":
        return int((_exact(v["max"]) - _exact(v["min"])) // _exact(v["q"])) + 1
    return None


def nth(kind: str, v: Values, index: int) -> Any:
    """The value at a place in the order of a parameter that can be counted."""
    if kind == "constant":
        return v["value"]
    if kind.startswith("categorical"):
        return v["values"][index]
    if kind == "int_uniform":
        return v["min"] + index
    if isinstance(v["min"], int) and isinstance(v["q"], int):
        return v["min"] + index * v["q"]
    return float(_exact(v["min"]) + index * _exact(v["q"]))
