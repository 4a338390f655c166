"""What the configuration of a sweep says of its search, whoever wrote it."""

from __future__ import annotations

import pytest

from runtapd.model.paths import SweepPath, sweep_path
from runtapd.model.sweep import Search, search


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("method: grid\nmetric: {name: loss}", Search("grid", "loss")),
        ("method: bayes\nmetric: {name: loss, goal: minimize}", Search("bayes", "loss")),
        ("metric:\n  name: val/acc\n  goal: maximize", Search("", "val/acc", True)),
        ('{"method": "random", "metric": {"name": "a.b"}}', Search("random", "a.b")),
        ("method: grid\nm: &m {name: x}\nmetric: *m", Search("grid", "x")),
        ("method: grid", Search("grid")),
        ("method: 5\nmetric: loss", Search()),
        ("metric: {name: 5}", Search()),
        ("", Search()),
        ("- a", Search()),
        ("a: [", Search()),
        ("a: 2026-13-45", Search()),
        ("!!python/object/apply:os.getcwd []", Search()),
        ("[" * 200_000, Search()),
        ("- " * 100_000, Search()),
        ("{a: " * 100_000, Search()),
        ("method: grid\na: &a [*a]", Search("grid")),
        ("method: grid #" + "x" * 2**20, Search()),
    ],
)
def test_the_search_of_a_configuration(text: str, found: Search) -> None:
    assert search(text) == found


def test_the_order_in_which_the_best_comes_first() -> None:
    assert Search("grid", "loss").order == "+summary_metrics.loss"
    assert Search("grid", "a.b", True).order == "-summary_metrics.a.b"
    assert Search("grid").order == ""


@pytest.mark.parametrize(
    "text",
    ["e/p/s", "e/p/sweeps/s", "/e/p/s/", "p/s", "s", "p:s", "https://x.test/e/p/sweeps/s?a=b", " e/p/s "],
)
def test_every_form_of_a_path(text: str) -> None:
    assert sweep_path(text, "e", "p") == SweepPath("e", "p", "s")
