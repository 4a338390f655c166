"""Sweep configurations: what a YAML text asks for, checked, with a warning for all that is done otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from ..faults import BadRequest
from . import parameters
from .parameters import Parameter
from .search import Point, grid_point, grid_size, random_point
from .yamltext import load_mapping

_METHODS: Final = ("grid", "random")
_GOALS: Final = ("minimize", "maximize")


@dataclass(frozen=True, slots=True)
class Metric:
    """What makes one run better than another."""

    name: str
    maximize: bool


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """A configuration, understood. ``total`` is how many points it has; None where it never ends."""

    raw: Mapping[str, Any]
    method: str
    space: tuple[Parameter, ...]
    metric: Metric | None
    total: int | None
    warnings: tuple[str, ...] = field(default=())

    @property
    def is_grid(self) -> bool:
        """Whether the points are gone through in order, rather than drawn."""
        return self.method == "grid"

    def point(self, seed: int, number: int) -> Point:
        """The point of a number, always the same one."""
        if self.is_grid:
            return grid_point(self.space, number)
        return random_point(self.space, seed, number)

    def searches_like(self, other: "SweepConfig") -> bool:
        """Whether both have the same points, so that one can stand in for the other while a sweep runs."""
        return self.is_grid == other.is_grid and self.space == other.space


@lru_cache(maxsize=64)
def understand(text: str) -> SweepConfig:
    """Check a configuration. Raises BadRequest, whose text names the field."""
    raw = load_mapping(text)
    method = _method(raw)
    reading = parameters.read(raw.get("parameters"), grid=method == "grid")
    space = tuple(reading.parameters)
    run_cap = _run_cap(raw)
    total = grid_size(space) if method == "grid" else None
    if run_cap is not None:
        total = run_cap if total is None else min(total, run_cap)
    _check_texts(raw)
    warnings = [*_method_warnings(method), *reading.warnings, *_other_warnings(raw)]
    return SweepConfig(raw, method, space, _metric(raw), total, tuple(warnings))


def _method(raw: Mapping[str, Any]) -> str:
    method = raw.get("method")
    if not isinstance(method, str) or not method:
        raise BadRequest("method is missing: give grid, random or bayes")
    return method


def _method_warnings(method: str) -> list[str]:
    if method in _METHODS:
        return []
    return [f"method: {method[:80]!r} is not offered by this server, which searches at random instead"]


def _run_cap(raw: Mapping[str, Any]) -> int | None:
    cap = raw.get("run_cap")
    if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 1):
        raise BadRequest(f"run_cap must be a whole number of at least 1, not {cap!r}")
    return cap


def _metric(raw: Mapping[str, Any]) -> Metric | None:
    metric = raw.get("metric")
    if metric is None:
        return None
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str) or not metric["name"]:
        raise BadRequest("metric must be a mapping with a name, such as {name: loss, goal: minimize}")
    goal = metric.get("goal", "minimize")
    if goal not in _GOALS:
        raise BadRequest(f"metric.goal must be minimize or maximize, not {str(goal)[:80]!r}")
    return Metric(metric["name"], goal == "maximize")


def _check_texts(raw: Mapping[str, Any]) -> None:
    for name in ("program", "name", "description"):
        if not isinstance(raw.get(name), str | None):
            raise BadRequest(f"{name} must be a text, not {type(raw[name]).__name__}")
    if not isinstance(raw.get("command"), list | None):
        raise BadRequest(
            "command must be a list such as ['${env}', '${interpreter}', '${program}', '${args}']"
        )
    controller = raw.get("controller")
    if isinstance(controller, dict) and controller.get("type", "cloud") != "cloud":
        raise BadRequest(
            f"controller.type {str(controller['type'])[:80]!r} is not offered: this server searches by itself; "
            "leave 'controller' out"
        )


def _other_warnings(raw: Mapping[str, Any]) -> list[str]:
    found = []
    if raw.get("early_terminate") is not None:
        found.append("early_terminate is kept but not applied: no run is ended early")
    if raw.get("scheduler") is not None:
        found.append("scheduler is kept but not used: this server chooses the points by itself")
    if isinstance(raw.get("metric"), dict) and "target" in raw["metric"]:
        found.append("metric.target is kept but not applied: the sweep goes on when a run reaches it")
    return found
