"""The ``parameters`` of a sweep configuration: understood, with every complaint naming the field it is about."""

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..faults import BadRequest
from . import distributions
from .distributions import DISTRIBUTIONS, FIELDS, Distribution

MAX_LEAVES: Final = 1000
_LARGEST_EXPONENT: Final = 700
_LARGEST_NUMBER: Final = 1e300
"""Leaves room to add and to round without leaving the range of floats."""
_LARGEST: Final = {"a": 1e9, "b": 1e9}
_EXPONENTS: Final = "YAML takes 1e-4 and 1e4 for texts: write 1.0e-4 and 1.0e+4"
_NUMBER_AS_TEXT: Final = re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+")
_KNOWN: Final = FIELDS | {"distribution", "parameters"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: where it stands in the run's config, how it is distributed, and the numbers of that."""

    path: tuple[str, ...]
    kind: str
    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The path as complaints spell it."""
        return spelled(self.path)

    @property
    def count(self) -> int | None:
        """How many values it has; None where there is no counting them."""
        return distributions.count(self.kind, self.values)


@dataclass(slots=True)
class Reading:
    """What has been read so far: the parameters, and what is done otherwise than the configuration says."""

    parameters: list[Parameter] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read(raw: Any, grid: bool) -> Reading:
    """Read the ``parameters`` of a configuration. Raises BadRequest."""
    reading = Reading()
    _read_group(raw, (), reading, grid)
    return reading


def spelled(path: tuple[str, ...]) -> str:
    """The place of a parameter in the configuration: ``parameters.optimizer.parameters.lr``."""
    return "".join(f".parameters.{name}" for name in path)[1:] or "parameters"


def _read_group(raw: Any, path: tuple[str, ...], reading: Reading, grid: bool) -> None:
    where = spelled(path) + (".parameters" if path else "")
    if not isinstance(raw, dict) or not raw:
        raise BadRequest(f"{where} must name at least one parameter, such as {{lr: {{values: [0.1, 0.01]}}}}")
    for name, item in raw.items():
        below = (*path, name)
        if not name:
            raise BadRequest(f"{where} has a parameter without a name")
        if not isinstance(item, dict):
            raise BadRequest(
                f"{spelled(below)} must be a mapping such as {{value: ...}} or {{values: [...]}}"
            )
        if "parameters" in item:
            _refuse_beside_nested(item, below)
            _read_group(item["parameters"], below, reading, grid)
            continue
        parameter = _read_one(item, below, reading.warnings, grid)
        reading.parameters.append(parameter)
        if len(reading.parameters) > MAX_LEAVES:
            raise BadRequest(f"parameters has more than {MAX_LEAVES} parameters")


def _refuse_beside_nested(item: dict[str, Any], path: tuple[str, ...]) -> None:
    others = sorted((set(item) & _KNOWN) - {"parameters"})
    if others:
        raise BadRequest(
            f"{spelled(path)} has nested 'parameters', beside which {others[0]!r} has no meaning"
        )


def _read_one(item: dict[str, Any], path: tuple[str, ...], warnings: list[str], grid: bool) -> Parameter:
    where = spelled(path)
    for name in item:
        if name not in _KNOWN:
            warnings.append(f"{where}.{name} is not known and has no effect{_nearest(name, _KNOWN)}")
    kind = _kind(item, where)
    distribution = DISTRIBUTIONS[kind]
    values: dict[str, Any] = {}
    for name in distribution.needs:
        if name not in item:
            raise BadRequest(f"{where}.{name} is missing: the distribution {kind!r} needs it")
        values[name] = item[name]
    for name, default in distribution.defaults:
        values[name] = item.get(name, default)
    _warn_of_texts(item, where, warnings)
    if kind.startswith("categorical"):
        _check_values(item, values, where, warnings, grid)
    elif kind != "constant":
        _check_numbers(values, distribution, where)
        _warn_of_exponents(kind, distribution, values, where, warnings)
    parameter = Parameter(path, kind, values)
    if grid and parameter.count is None:
        raise BadRequest(
            f"{where}: a grid cannot go through the distribution {kind!r}, which has no last value; "
            "give 'values', whole numbers as 'min' and 'max', or use method: random"
        )
    return parameter


def _kind(item: dict[str, Any], where: str) -> str:
    kind = item.get("distribution")
    if kind is not None:
        if not isinstance(kind, str) or kind not in DISTRIBUTIONS:
            near = _nearest(str(kind), DISTRIBUTIONS) or "; known are " + ", ".join(sorted(DISTRIBUTIONS))
            raise BadRequest(f"{where}.distribution: {str(kind)[:80]!r} is not known{near}")
        return kind
    if "value" in item and "values" in item:
        raise BadRequest(f"{where} has both 'value' and 'values': give one of them")
    if "value" in item:
        return "constant"
    if "values" in item:
        return "categorical"
    if "min" in item or "max" in item:
        whole = all(_is_whole(item.get(name, 0)) for name in ("min", "max"))
        return "int_uniform" if whole else "uniform"
    raise BadRequest(f"{where} has no values: give 'value', 'values', 'min' and 'max', or a 'distribution'")


def _check_values(
    item: dict[str, Any], values: dict[str, Any], where: str, warnings: list[str], grid: bool
) -> None:
    found = values["values"]
    if not isinstance(found, list) or not found:
        raise BadRequest(f"{where}.values must be a list of at least one value")
    shares = item.get("probabilities")
    if shares is not None:
        _check_probabilities(shares, len(found), where)
        values["probabilities"] = shares
        if grid:
            warnings.append(f"{where}.probabilities has no effect: a grid goes through every value once")
    if grid:
        values["values"] = _distinct(found)
        if len(values["values"]) < len(found):
            warnings.append(f"{where}.values holds a value twice: the grid visits it once")


def _check_probabilities(shares: Any, wanted: int, where: str) -> None:
    where += ".probabilities"
    if not isinstance(shares, list) or len(shares) != wanted:
        raise BadRequest(f"{where} must be a list of {wanted} numbers, one for each value")
    if not all(_is_number(share) and share >= 0 for share in shares):
        raise BadRequest(f"{where} must hold numbers of at least 0")
    if not math.isclose(math.fsum(shares), 1, abs_tol=1e-3):
        raise BadRequest(f"{where} must add up to 1, not {math.fsum(shares):g}")


def _distinct(values: list[Any]) -> list[Any]:
    """Each value once: 1, 1.0 and true are different ones, as they are in JSON."""
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault(json.dumps(value, sort_keys=True), value)
    return list(found.values())


def _check_numbers(values: dict[str, Any], distribution: Distribution, where: str) -> None:
    for name, value in values.items():
        if not _is_number(value):
            raise BadRequest(f"{where}.{name} must be a number, not {_shown(value)}")
        if distribution.whole and not _is_whole(value):
            raise BadRequest(f"{where}.{name} must be a whole number, not {value}")
        if abs(value) > _LARGEST.get(name, _LARGEST_NUMBER):
            limit = _LARGEST.get(name, _LARGEST_NUMBER)
            raise BadRequest(f"{where}.{name} must lie within {limit:g} of 0, not {value:.6g}")
    for name in distribution.positive:
        if values[name] <= 0:
            raise BadRequest(f"{where}.{name} must be more than 0, not {values[name]}")
    if "min" in values and values["min"] > values["max"]:
        raise BadRequest(f"{where}.min ({values['min']}) is more than its max ({values['max']})")
    exponents = ("min", "max") if distribution.exponents else ()
    for name in exponents:
        if abs(values[name]) > _LARGEST_EXPONENT:
            raise BadRequest(
                f"{where}.{name} is an exponent of e and must lie within {_LARGEST_EXPONENT} of 0, not {values[name]}; "
                "log_uniform_values takes the values themselves"
            )


def _warn_of_exponents(
    kind: str, distribution: Distribution, values: dict[str, Any], where: str, warnings: list[str]
) -> None:
    if distribution.exponents and values["min"] > 0 and values["max"] <= 1:
        low, high = math.exp(values["min"]), math.exp(values["max"])
        if kind.startswith("inv_"):
            low, high = 1 / high, 1 / low
        warnings.append(
            f"{where}: min and max of {kind} are exponents of e, so that its values lie between {low:g} and "
            f"{high:g}; {kind}_values takes the values themselves"
        )


def _warn_of_texts(item: dict[str, Any], where: str, warnings: list[str]) -> None:
    values = item.get("values")
    for name, found in (
        ("value", [item.get("value")]),
        ("values", values if isinstance(values, list) else []),
    ):
        texts = [value for value in found if isinstance(value, str) and _NUMBER_AS_TEXT.fullmatch(value)]
        if texts:
            warnings.append(f"{where}.{name} holds the text {texts[0][:80]!r}, not a number: {_EXPONENTS}")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else True


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)[:80]
    try:
        float(value)
    except ValueError:
        return f"the text {value[:80]!r}"
    return f"the text {value[:80]!r} ({_EXPONENTS})"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    return f"; is {near[0]!r} meant?" if near else ""
