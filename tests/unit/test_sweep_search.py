"""The points of a sweep: grids complete and without repeats, chance repeatable and distributed as documented."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
import yaml

from runtap_local.sweeps.config import SweepConfig, understand
from runtap_local.sweeps.search import arguments

SEED = 20260101
DRAWS = 4000


def config_of(method: str, **parameters: Any) -> SweepConfig:
    return understand(yaml.safe_dump({"method": method, "parameters": parameters}, sort_keys=False))


def draws(**parameter: Any) -> list[Any]:
    """Many values of one parameter."""
    config = config_of("random", x=parameter)
    return [config.point(SEED, number)["x"] for number in range(DRAWS)]


def grid(**parameters: Any) -> list[dict[str, Any]]:
    config = config_of("grid", **parameters)
    assert config.total is not None
    return [config.point(SEED, number) for number in range(config.total)]


def test_a_grid_goes_through_the_product_the_last_parameter_fastest() -> None:
    points = grid(a={"values": ["x", "y"]}, b={"value": 7}, c={"min": 1, "max": 3})
    assert points == [{"a": a, "b": 7, "c": c} for a in "xy" for c in (1, 2, 3)]


def test_a_grid_has_every_value_once_and_tells_like_ones_apart() -> None:
    assert [p["a"] for p in grid(a={"values": [1, True, 1.0, "1", 1, None, [1], [1], {"b": 1}]})] == [
        1, True, 1.0, "1", None, [1], {"b": 1},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bounds", "values"),
    [
        ({"min": 0, "max": 1, "q": 0.25}, [0, 0.25, 0.5, 0.75, 1]),
        ({"min": 0.1, "max": 0.4, "q": 0.1}, [0.1, 0.2, 0.3, 0.4]),
        ({"min": 2, "max": 9, "q": 3}, [2, 5, 8]),
        ({"min": 2, "max": 4}, [2, 3, 4]),
        ({"min": 5, "max": 5, "q": 10}, [5]),
    ],
)
def test_a_grid_goes_through_quantized_ranges(bounds: dict[str, Any], values: list[float]) -> None:
    assert [p["a"] for p in grid(a={"distribution": "q_uniform", **bounds})] == values


def test_nested_parameters_are_nested_values() -> None:
    points = grid(
        optimizer={
            "parameters": {"name": {"values": ["adam", "sgd"]}, "deep": {"parameters": {"lr": {"value": 1}}}}
        },
        top={"values": [1, 2]},
    )
    assert len(points) == 4
    assert points[1] == {"optimizer": {"name": "adam", "deep": {"lr": 1}}, "top": 2}
    assert arguments(points[0])["optimizer"] == {"value": {"name": "adam", "deep": {"lr": 1}}}


def test_grids_too_large_to_write_out() -> None:
    config = config_of("grid", **{f"p{i}": {"min": 0, "max": 10**18} for i in range(50)})
    assert config.total == (10**18 + 1) ** 50
    assert config.point(SEED, config.total - 1) == {f"p{i}": 10**18 for i in range(50)}


def test_chance_is_repeatable_and_each_parameter_has_its_own() -> None:
    one = config_of("random", a={"min": 0.0, "max": 1.0})
    two = config_of("random", a={"min": 0.0, "max": 1.0}, b={"min": 0.0, "max": 1.0})
    points = [two.point(SEED, number) for number in range(50)]
    assert points == [two.point(SEED, number) for number in range(50)]
    assert [p["a"] for p in points] == [one.point(SEED, number)["a"] for number in range(50)]
    assert len({p["a"] for p in points} | {p["b"] for p in points}) == 100
    assert two.point(SEED + 1, 0) != points[0]


def test_every_kind_of_integer_bounds() -> None:
    assert set(draws(min=-2, max=2)) == {-2, -1, 0, 1, 2}
    assert set(draws(min=3, max=3)) == {3}
    assert all(isinstance(value, int) and 0 <= value <= 10**30 for value in draws(min=0, max=10**30))


def test_constants_and_choices() -> None:
    assert set(draws(value="c")) == {"c"}
    found = draws(values=["a", "b", "c"], probabilities=[0.7, 0.3, 0.0])
    assert set(found) == {"a", "b"} and 0.65 < found.count("a") / DRAWS < 0.75
    assert set(draws(distribution="categorical_w_probabilities", values=[1, 2], probabilities=[1, 0])) == {1}


def spread_over(values: list[float], low: float, high: float) -> None:
    """The values lie within the bounds, evenly."""
    assert all(low <= value <= high for value in values)
    shares = [(value - low) / (high - low) for value in values]
    assert abs(statistics.fmean(shares) - 0.5) < 0.02
    assert abs(statistics.pstdev(shares) - 1 / math.sqrt(12)) < 0.02


def test_uniform_distributions() -> None:
    spread_over(draws(min=-3.0, max=7.0), -3, 7)
    spread_over([value / 1e300 for value in draws(min=-1e300, max=1e300)], -1, 1)
    spread_over([math.log(value) for value in draws(distribution="log_uniform", min=-5, max=2)], -5, 2)
    spread_over([-math.log(value) for value in draws(distribution="inv_log_uniform", min=-5, max=2)], -5, 2)
    for kind in ("log_uniform_values", "inv_log_uniform_values"):
        found = draws(distribution=kind, min=1e-5, max=0.1)
        assert all(1e-5 <= value <= 0.1 for value in found)
        spread_over([math.log(value) for value in found], math.log(1e-5) - 1e-9, math.log(0.1) + 1e-9)


def test_bell_shaped_distributions() -> None:
    found = draws(distribution="normal", mu=5, sigma=2)
    assert abs(statistics.fmean(found) - 5) < 0.15 and abs(statistics.pstdev(found) - 2) < 0.1
    logs = [math.log(value) for value in draws(distribution="log_normal", mu=1, sigma=0.5)]
    assert abs(statistics.fmean(logs) - 1) < 0.05 and abs(statistics.pstdev(logs) - 0.5) < 0.03
    standard = draws(distribution="normal")
    assert abs(statistics.fmean(standard)) < 0.06 and abs(statistics.pstdev(standard) - 1) < 0.05
    beta = draws(distribution="beta", a=2, b=6)
    assert all(0 <= value <= 1 for value in beta) and abs(statistics.fmean(beta) - 0.25) < 0.02


@pytest.mark.parametrize(
    ("parameter", "q"),
    [
        ({"distribution": "q_uniform", "min": 0, "max": 100, "q": 5}, 5),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1}, 0.1),
        ({"distribution": "q_log_uniform", "min": 0, "max": 5, "q": 2}, 2),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 1000, "q": 0.5}, 0.5),
        ({"distribution": "q_normal", "mu": 10, "sigma": 5, "q": 0.3}, 0.3),
        ({"distribution": "q_log_normal", "mu": 1, "sigma": 1, "q": 1}, 1),
        ({"distribution": "q_beta", "a": 1, "b": 1, "q": 0.1}, 0.1),
        ({"distribution": "q_normal", "sigma": 3}, 1),
    ],
)
def test_quantized_distributions_give_multiples(parameter: dict[str, Any], q: float) -> None:
    found = draws(**parameter)
    assert len(set(found)) > 5
    assert all(isinstance(value, type(q)) for value in found)
    # As written: 0.3, not 0.30000000000000004.
    assert all(value == float(f"{round(value / q) * q:.6f}") for value in found)


def test_quantized_values_stay_within_the_bounds() -> None:
    found = set(draws(distribution="q_uniform", min=0.4, max=2.6, q=1))
    assert found == {1, 2}
    assert set(draws(distribution="q_uniform", min=0.2, max=0.4, q=1)) == {0}


def test_extremes_draw_without_failing() -> None:
    for parameter in (
        {"distribution": "log_normal", "mu": 0, "sigma": 1e300},
        {"distribution": "q_log_normal", "mu": 700, "sigma": 10, "q": 1e-300},
        {"distribution": "q_uniform", "min": -1e300, "max": 1e300, "q": 1e-300},
        {"distribution": "q_uniform", "min": 0, "max": 1, "q": 1e300},
        {"distribution": "beta", "a": 1e-300, "b": 1e9},
        {"distribution": "q_normal", "mu": 1e300, "sigma": 1e300, "q": 1e300},
        {"distribution": "log_uniform", "min": -700, "max": 700},
    ):
        config = config_of("random", x=parameter)
        for number in range(50):
            assert math.isfinite(config.point(SEED, number)["x"])
