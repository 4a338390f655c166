"""Sweep configurations: YAML within bounds, complaints that name the field, warnings for what is done otherwise."""

from __future__ import annotations

import json

import pytest

from runtap_local.faults import BadRequest
from runtap_local.sweeps import yamltext
from runtap_local.sweeps.config import Metric, understand


def refusal(text: str) -> str:
    """The text with which a configuration is refused."""
    with pytest.raises(BadRequest) as caught:
        understand(text)
    return caught.value.message


def one(parameter: str, method: str = "random") -> str:
    return f"method: {method}\nparameters:\n  lr: {parameter}\n"


def test_yaml_with_anchors_merges_and_comments() -> None:
    text = """
# a comment
method: grid
metric: {name: val/loss, goal: maximize}
parameters:
  lr: &rates
    values: &list [0.1, 0.01]
  momentum:
    <<: *rates
  größe: {values: *list}
  emoji 🙂: {value: "ü"}
"""
    config = understand(text)
    assert [parameter.path for parameter in config.space] == [
        ("lr",),
        ("momentum",),
        ("größe",),
        ("emoji 🙂",),
    ]
    assert config.total == 8
    assert config.metric == Metric("val/loss", maximize=True)
    assert config.warnings == ()
    assert config.point(0, 7) == {"lr": 0.01, "momentum": 0.01, "größe": 0.01, "emoji 🙂": "ü"}


def test_json_is_yaml() -> None:
    config = understand(json.dumps({"method": "random", "parameters": {"a": {"min": 1, "max": 3}}}))
    assert config.space[0].kind == "int_uniform" and config.total is None


@pytest.mark.parametrize(
    ("parameter", "kind"),
    [
        ("{value: 3}", "constant"),
        ("{value: null}", "constant"),
        ("{values: [1, a, null, [1, 2], {b: c}]}", "categorical"),
        ("{min: 1, max: 2}", "int_uniform"),
        ("{min: 1.0, max: 2.0}", "uniform"),
        ("{min: 1, max: 2.5}", "uniform"),
        ("{distribution: normal}", "normal"),
        ("{distribution: q_uniform, min: 0, max: 1, q: 0.1}", "q_uniform"),
        ("{distribution: beta, a: 2, b: 5}", "beta"),
    ],
)
def test_distributions_are_inferred(parameter: str, kind: str) -> None:
    assert understand(one(parameter)).space[0].kind == kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must be a mapping"),
        ("[1, 2]", "must be a mapping"),
        ("just a text", "must be a mapping"),
        ("a: [1", "not valid YAML"),
        ("a: *nowhere", "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("--- {a: 1}\n--- {b: 2}", "not valid YAML"),
        ("parameters: {lr: {value: 1}}", "method is missing"),
        ("method: [grid]\nparameters: {lr: {value: 1}}", "method is missing"),
        ("method: grid", "parameters must name at least one"),
        ("method: grid\nparameters: {}", "parameters must name at least one"),
        ("method: grid\nparameters: [a]", "parameters must name at least one"),
        ("method: grid\nparameters: {on: {value: 1}}", "parameters has the name True"),
        ("method: grid\nparameters: {lr: {value: 2020-01-01}}", "parameters.lr.value is a date"),
        ("method: grid\nrun_cap: 0\nparameters: {lr: {value: 1}}", "run_cap must be"),
        ("method: grid\nrun_cap: true\nparameters: {lr: {value: 1}}", "run_cap must be"),
        ("method: grid\nmetric: loss\nparameters: {lr: {value: 1}}", "metric must be a mapping"),
        ("method: grid\nmetric: {name: l, goal: min}\nparameters: {lr: {value: 1}}", "metric.goal must be"),
        ("method: grid\nprogram: 3\nparameters: {lr: {value: 1}}", "program must be a text"),
        ("method: grid\ncommand: python\nparameters: {lr: {value: 1}}", "command must be a list"),
        ("method: grid\ncontroller: {type: local}\nparameters: {lr: {value: 1}}", "controller.type 'local'"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said(text: str, expected: str) -> None:
    assert expected in refusal(text)


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("3", "parameters.lr must be a mapping"),
        ("{}", "parameters.lr has no values"),
        ("{vlaues: [1]}", "parameters.lr has no values"),
        ("{value: 1, values: [1]}", "parameters.lr has both"),
        ("{values: []}", "parameters.lr.values must be a list of at least one"),
        ("{values: 1}", "parameters.lr.values must be a list of at least one"),
        ("{min: 1}", "parameters.lr.max is missing"),
        ("{max: 1.5}", "parameters.lr.min is missing"),
        ("{min: 2, max: 1}", "parameters.lr.min (2) is more than its max (1)"),
        ("{min: 1e-4, max: 0.1}", "parameters.lr.min must be a number, not the text '1e-4' (YAML takes"),
        ("{min: .nan, max: 1}", "parameters.lr.min must be a number, not NaN"),
        ("{min: false, max: 1}", "parameters.lr.min must be a number, not false"),
        ("{min: 0, max: 1.0e+308}", "parameters.lr.max must lie within 1e+300 of 0"),
        ("{distribution: uniformly, min: 0, max: 1}", "'uniformly' is not known; is 'uniform' meant?"),
        (
            "{distribution: [7], min: 0, max: 1}",
            "parameters.lr.distribution: '[7]' is not known; known are beta",
        ),
        ("{distribution: int_uniform, min: 0.5, max: 1}", "parameters.lr.min must be a whole number"),
        ("{distribution: log_uniform_values, min: 0, max: 1}", "parameters.lr.min must be more than 0"),
        ("{distribution: log_uniform, min: 0, max: 1000}", "log_uniform_values takes the values themselves"),
        ("{distribution: q_uniform, min: 0, max: 1, q: 0}", "parameters.lr.q must be more than 0"),
        ("{distribution: normal, sigma: 0}", "parameters.lr.sigma must be more than 0"),
        ("{distribution: beta, a: 1.0e+12}", "parameters.lr.a must lie within 1e+09"),
        ("{distribution: categorical}", "parameters.lr.values is missing"),
        ("{distribution: constant, values: [1]}", "parameters.lr.value is missing"),
        (
            "{values: [1, 2], probabilities: [1]}",
            "parameters.lr.probabilities must be a list of 2 numbers",
        ),
        ("{values: [1, 2], probabilities: [0.5, 0.6]}", "parameters.lr.probabilities must add up to 1"),
        ("{values: [1, 2], probabilities: [-1, 2]}", "parameters.lr.probabilities must hold numbers"),
        ("{parameters: {}}", "parameters.lr.parameters must name at least one"),
        ("{parameters: {a: {min: 1}}}", "parameters.lr.parameters.a.max is missing"),
        ("{value: 1, parameters: {a: {value: 1}}}", "parameters.lr has nested 'parameters'"),
    ],
)
def test_what_is_wrong_with_a_parameter_is_said(parameter: str, expected: str) -> None:
    assert expected in refusal(one(parameter))


@pytest.mark.parametrize(
    "parameter",
    ["{min: 0.0, max: 1.0}", "{distribution: normal}", "{distribution: log_uniform, min: 0, max: 1}"],
)
def test_a_grid_needs_an_end(parameter: str) -> None:
    assert "parameters.lr: a grid cannot go through" in refusal(one(parameter, "grid"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method: bayes\nparameters: {lr: {value: 1}}", "'bayes' is not offered"),
        ("method: custom\nparameters: {lr: {value: 1}}", "'custom' is not offered"),
        (
            "method: random\nearly_terminate: {type: hyperband}\nparameters: {lr: {value: 1}}",
            "early_terminate",
        ),
        ("method: random\nmetric: {name: l, target: 1}\nparameters: {lr: {value: 1}}", "metric.target"),
        ("method: random\nscheduler: {engine: optuna}\nparameters: {lr: {value: 1}}", "scheduler is kept"),
        (
            one("{value: 1, vlaue: 2}"),
            "parameters.lr.vlaue is not known and has no effect; is 'value' meant?",
        ),
        (one("{values: [1, 1, 2]}", "grid"), "parameters.lr.values holds a value twice"),
        (one("{values: [1, 2], probabilities: [0.5, 0.5]}", "grid"), "parameters.lr.probabilities"),
        (one("{values: [1e-4, 1.0e-3]}"), "parameters.lr.values holds the text '1e-4', not a number"),
        (one("{value: 1e-4}"), "parameters.lr.value holds the text '1e-4', not a number"),
        (one("{distribution: log_uniform, min: 0.001, max: 0.1}"), "between 1.001 and 1.10517"),
    ],
)
def test_what_is_done_otherwise_is_warned_of(text: str, expected: str) -> None:
    warnings = understand(text).warnings
    assert len(warnings) == 1 and expected in warnings[0]


def test_run_cap_bounds_every_search() -> None:
    assert understand("method: random\nrun_cap: 3\nparameters: {a: {min: 0.0, max: 1.0}}").total == 3
    assert understand("method: grid\nrun_cap: 3\nparameters: {a: {values: [1, 2]}}").total == 2
    assert understand("method: grid\nrun_cap: 3\nparameters: {a: {min: 1, max: 9}}").total == 3


BOMB = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghijk", "bcdefghijkl", strict=True)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOMB, "aliases (*name) written out"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: *a}", "contains itself"),
        ("[" * 100_000, "nests deeper"),
        ("- " * 50_000, "nests deeper"),
        ("{a: " * 1000, "nests deeper"),
        ("a: '" + "x" * yamltext.MAX_BYTES + "'", "longer than"),
        ("a: [" + "1," * 120_000 + "]", "more than"),
        ("a: " + "9" * 10_000, "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("a: \ud800", "not valid YAML"),
        ("a: 0x", "must name"),
    ],
)
def test_yaml_is_bounded(text: str, expected: str) -> None:
    assert expected in refusal(text + "\nmethod: grid" if expected == "must name" else text)
