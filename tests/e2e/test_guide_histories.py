"""The guide's recipes that read histories (4, 5, 10, 11, 12) give the same with `import wandb` and with
`import runtap as wandb`, for runs of several shapes that the real SDK logged.

Where the clients differ on purpose, `DIFFERENCES` says why, and what of the two answers must agree all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import SCRIPTS, World

PROJECT = "histories"
RUNS = ("plain", "apart", "long", "late", "none")
NON_FINITE = {"NaN": {"float": "nan"}, "Infinity": {"float": "inf"}, "-Infinity": {"float": "-inf"}}
NAN = {"float": "nan"}
SAMPLED = ("4 long", "5 long", "5 long, metric", "5 long, two", "sampled")
"""The run is longer than the answer: the clients choose other rows of it."""
RECIPES = [
    *(f"{number} {run}" for number in ("11", "12") for run in RUNS),
    *(f"4 {run}" for run in RUNS if run != "long"),
    *(f"history {run}" for run in RUNS if run != "apart"),
    *(f"{number} {run}, rows" for number in ("11", "history") for run in RUNS),
    *(f"12 {run}, one" for run in RUNS),
    *(f"5 {run}, metric" for run in ("plain", "apart", "late")),
    "5 none", "10", "12 plain, validation", "range", "histories", "histories, rows",
]  # fmt: skip
"""What is the same, to the last digit."""
TIMESTAMP = (
    "the guide reads `_timestamp` of rows chosen by other keys; the real client ends with a KeyError there"
)
OUTER = "rows that have one of the keys, and `_timestamp`; the real client gives rows that have all"
EXACT = "integers beyond 2^53 stay what they are in columns with gaps; the real client rounds them to floats"
COLUMNS = "a frame without rows has the columns that were asked for"


def _inner(frame: Any) -> Any:
    """A frame of ours as the real client would have given it."""
    names, rows = frame
    kept = [place for place, name in enumerate(names) if name != "_timestamp"]
    rows = [[row[place] for place in kept] for row in rows if NAN not in row]
    return [[names[place] for place in kept] if rows else [], rows]


def _rounded(frame: Any) -> Any:
    """A frame of ours with floats where it has large integers, and NaN where nothing was logged beside them."""
    names, rows = frame
    return [names, [[_as_float(cell) for cell in row] for row in rows]]


def _as_float(cell: Any) -> Any:
    if cell is None:
        return NAN
    return float(cell) if type(cell) is int and cell > 2**53 else cell


DIFFERENCES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **{f"5 {run}": (TIMESTAMP, lambda ours: "KeyError" if ours else None) for run in ("plain", "apart", "late")},
    **{f"5 {run}, two": (OUTER, _inner) for run in ("plain", "apart", "late", "none")},
    "x_axis": (OUTER, _inner),
    "history apart": (EXACT, _rounded),
    "histories, one": (TIMESTAMP, lambda ours: [{k: v for k, v in row.items() if k != "_timestamp"} for row in ours]),
    "5 none, metric": (COLUMNS, lambda ours: "KeyError" if ours == [] else ours),
}  # fmt: skip


@pytest.fixture(scope="module")
def told(world: World) -> dict[str, Any]:
    """What the recipes gave, by the module that was imported as `wandb`."""
    logged = json.dumps(world.read("log_histories.py", PROJECT))
    guide = (SCRIPTS / "guide_histories.py").read_text()
    # That history() has given a part, or a key is nowhere, is said by warnings, which tests take for errors.
    ours = guide.replace(
        "import wandb\n", "import warnings\nimport runtap as wandb\nwarnings.simplefilter('ignore')\n"
    )
    assert ours != guide
    arguments = (world.path(PROJECT), logged)
    return {"wandb": world.read(guide, *arguments), "runtap": world.read(ours, *arguments)}


def numbers(value: Any) -> Any:
    """Returns the value with the texts that servers write for non-finite numbers as numbers, which they are here."""
    if isinstance(value, str):
        return NON_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    return [numbers(item) for item in value] if isinstance(value, list) else value


@pytest.mark.timeout(120)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_gives_the_same(told: dict[str, Any], recipe: str) -> None:
    assert told["runtap"][recipe] == numbers(told["wandb"][recipe])
    assert told["runtap"][recipe] or "none" in recipe or recipe == "12 apart"


@pytest.mark.parametrize("recipe", DIFFERENCES)
def test_a_recipe_differs_only_so(told: dict[str, Any], recipe: str) -> None:
    why, theirs = DIFFERENCES[recipe]
    assert told["runtap"][recipe] != told["wandb"][recipe], "no difference any more"
    assert theirs(told["runtap"][recipe]) == numbers(told["wandb"][recipe]), why


def test_every_recipe_is_compared(told: dict[str, Any]) -> None:
    assert set(told["wandb"]) == set(told["runtap"]) == {*RECIPES, *DIFFERENCES, *SAMPLED}


@pytest.mark.parametrize("client", ["wandb", "runtap"])
def test_a_sample_holds_rows_of_the_run_from_the_first_to_the_last(told: dict[str, Any], client: str) -> None:
    rows = {row["_step"]: row for row in told[client]["11 long, rows"]}
    sample = told[client]["sampled"]
    assert len(rows) == 1200 and 50 <= len(sample) <= 100
    assert (sample[0], sample[-1]) == (rows[0], rows[1199])
    assert all(row == rows[row["_step"]] for row in sample)
    accuracies = told[client]["5 long, metric"]
    assert 250 <= len(accuracies) <= 500 and accuracies == sorted(accuracies)
    assert {*accuracies} <= {row["accuracy"] for row in rows.values()}


def test_rows_of_many_runs_are_in_the_order_of_the_runs(told: dict[str, Any]) -> None:
    ids = list(dict.fromkeys(row["run_id"] for row in told["runtap"]["histories, rows"]))
    assert len(ids) == 4 and len(told["runtap"]["histories"][1]) == 40 + 3


def test_what_was_logged_is_what_is_read(told: dict[str, Any]) -> None:
    ours = told["runtap"]
    assert [accuracy for _, accuracy in ours["4 plain"]] == [epoch / 40 for epoch in range(40)]
    assert ours["4 plain"] == ours["5 plain"] and ours["4 plain"][0][0] > 1.7e9
    assert ours["11 plain"] == [1 - epoch / 40 for epoch in range(40)]
    assert ours["11 apart"] == "KeyError", "not every row has a loss"
    assert [row["_step"] for row in ours["12 plain, validation"]] == list(range(0, 40, 4))
    apart = {row["_step"]: row for row in ours["11 apart, rows"]}
    assert sorted(apart) == [*range(0, 1200, 100), 2000, 2001]
    assert (apart[400]["loss"], apart[600]["loss"]) == ({"float": "nan"}, {"float": "inf"})
    assert apart[2001]["loss"] == {"float": "-inf"} and apart[2001]["a.b/c"] == 1
    assert apart[2000]["nested"] == {"a": {"b": 1}, "list": [1, 2.5, "x"]}
    assert (apart[2000]["text"], apart[2000]["flag"]) == ("tränen\n🎈", True)
    assert apart[2001]["dist"]["_type"] == "histogram"
    assert [apart[step]["count"] for step in (100, 300)] == [2**53 + 1, 2**53 + 3]
    names, rows = ours["10"]
    assert (
        {"_timestamp", "_runtime"} < set(names) and any(name.startswith("system.") for name in names) and rows
    )
