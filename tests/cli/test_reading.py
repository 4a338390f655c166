"""`runtap runs | run | sweeps | sweep | best-run`, with a real daemon and the real local server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.client import Client
from tests.local.sweeping import Sweep, create
from tests.support.client import Outcome, Place, new_place

CONFIG = {
    "method": "grid",
    "name": "tuned",
    "metric": {"name": "score", "goal": "maximize"},
    "parameters": {
        "a": {"values": [1, 2, 3]},
        "in": {"parameters": {"b": {"values": [1]}}},
        "c": {"value": 1},
    },
}


class World:
    """A project of 53 plain runs, and one of a sweep."""

    def __init__(self, place: Place) -> None:
        self.place = place
        reach = place.runtap("local", "start", "--json").json()
        place.runtap("local", "use")
        self.url = reach["url"]
        self.client = Client(reach["url"], reach["entity"], reach["api_key"], "many")
        for number in range(53):
            self.client.upsert(
                f"run{number:02}",
                displayName=f"name {number}",
                tags=["odd"] if number % 2 else [],
                config={"lr": {"value": number / 100}, "opt": {"value": {"name": "adam"}}},
                summaryMetrics={
                    "loss": 1 / (number + 1),
                    "h": {"_type": "histogram", "bins": [1]},
                    "_runtime": 12,
                }
                | ({"last": "NaN"} if number == 52 else {}),
            )
        self.client.upsert("run07", notes="a note\nin two lines", jobType="train", groupName="g")
        self.client.project = "tuning"
        self.scored = self.ran(create(self.client, CONFIG), [0.25, 0.75])
        self.empty = create(self.client, CONFIG)

    def ran(self, sweep: Sweep, values: list[float]) -> Sweep:
        agent = sweep.agent()
        for value in values:
            run, _ = sweep.begin(agent)
            self.client.upsert(run, displayName=f"with {value}")
            self.client.log(run, 0, [{"_step": 0, "score": 1 - value}, {"_step": 1, "score": value}])
            sweep.end(run, score=value)
        return sweep

    def runtap(self, *words: str) -> Outcome:
        return self.place.runtap(*words)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with new_place(Path(tmp_path_factory.mktemp("reading"))) as place:
        yield World(place)


def columns(line: str) -> list[str]:
    """The cells of a line of a table."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_a_table_of_runs_shows_the_newest_fifty_and_says_so(world: World) -> None:
    done = world.runtap("runs", "many")
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert lines[1].strip() == "runs of local/many"
    assert columns(lines[2]) == ["run", "name", "state", "created", "tags", "group"]
    assert columns(lines[3])[:3] == ["run52", "name 52", "running"]
    assert columns(lines[3])[3].endswith(" UTC")
    assert lines[53:] == ["50 shown, there are more: `--limit 0` shows all"]
    assert len(world.runtap("runs", "many", "--limit", "53").out.splitlines()) == 56
    assert len(world.runtap("runs", "local/many", "-n", "0").out.splitlines()) == 56


def test_what_filter_and_order_speak_of_is_shown(world: World) -> None:
    wanted = '{"config.lr": {"$lt": 0.03}, "tags": "odd"}'
    done = world.runtap(
        "runs", "many", "--filter", wanted, "--order", "+summary.loss", "-c", "config.opt.name"
    )
    lines = [columns(line) for line in done.out.splitlines()[2:]]
    assert lines[0][-3:] == ["config.lr", "summary.loss", "config.opt.name"]
    assert [line[-4:] for line in lines[1:]] == [["odd", "0.01", "0.5", "adam"]]


def test_runs_as_json_have_everything(world: World) -> None:
    found = world.runtap("runs", "many", "--json").json()
    assert [run["id"] for run in found] == [f"run{number:02}" for number in reversed(range(53))]
    seventh = found[45]
    assert seventh == world.runtap("run", "many/run07", "--json").json() | {
        "fetched_at": seventh["fetched_at"]
    }
    assert seventh["path"] == "local/many/run07"
    assert seventh["config"] == {"lr": 0.07, "opt": {"name": "adam"}}
    assert seventh["summary"]["loss"] == 0.125
    assert (seventh["notes"], seventh["group"], seventh["tags"]) == ("a note\nin two lines", "g", ["odd"])


def test_json_has_no_words_that_are_not_json(world: World) -> None:
    (newest,) = world.runtap("runs", "many", "--json", "-n", "1", "-c", "summary.last").json()
    assert newest["summary.last"] == "NaN"


def test_the_projects_of_an_entity(world: World) -> None:
    lines = world.runtap("projects").out.splitlines()
    assert columns(lines[2]) == ["project", "created", "page"]
    assert any(re.match(r"many +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  http", line) for line in lines)


def test_chosen_columns_as_json(world: World) -> None:
    words = ("runs", "many", "--json", "-n", "2", "-c", "summary.loss", "-c", "config.nowhere", "-c", "state")
    assert world.runtap(*words).json() == [
        {"path": f"local/many/run{number}", "summary.loss": 1 / (number + 1), "config.nowhere": None}
        | {"state": "running"}
        for number in (52, 51)
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["runs", "nowhere"], 1, "Could not find project local/nowhere at http"),
        (["runs", "many", "--filter", "{state"], 1, "the filter is not JSON"),
        (["runs", "many", "--filter", '{"stat": 1}'], 1, "did you mean 'state'?"),
        (["runs", "many", "--order", "+los"], 1, "summary_metrics.los"),
        (
            ["runs", "many", "-c", "nope"],
            2,
            "'nope' is no column: give config.<key>, summary.<key> or one of run,",
        ),
        (["runs"], 2, "no project is named: give PROJECT, or set WANDB_PROJECT (see `runtap runs --help`)"),
        (["run", "many/nope"], 1, "Could not find run local/many/nope at http"),
        (["run"], 2, "Missing argument 'PATH'"),
        (["sweeps"], 2, "no project is named"),
        (["sweep", "tuning/nope"], 1, "Could not find sweep local/tuning/nope at http"),
        (["best-run", "tuning/nope"], 1, "Could not find sweep local/tuning/nope at http"),
    ],
)
def test_what_goes_wrong_is_one_line(world: World, words: list[str], code: int, said: str) -> None:
    done = world.runtap(*words)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("runtap: ") and done.err.count("\n") == 1
    assert said in done.err


def test_no_runs_are_no_error(world: World) -> None:
    nothing = world.runtap("runs", "many", "--filter", '{"state": "killed"}')
    assert (nothing.code, nothing.out) == (0, f"no run matches the filter in many at {world.url}\n")
    assert world.runtap("runs", "many", "--filter", '{"state": "killed"}', "--json").json() == []


def test_one_run_for_people(world: World) -> None:
    shown = world.runtap("run", "many/run07").out
    assert shown.startswith("name 7 (running)\npath ")
    for line in (
        ["path", "local/many/run07"],
        ["page", f"{world.url}/local/many/runs/run07"],
        ["user", "local"],
        ["ran for", "12 s"],
        ["tags", "odd"],
        ["group", "g"],
        ["job type", "train"],
        ["notes", "a note in two lines"],
        ["opt.name", "adam"],
        ["loss", "0.125"],
        ["h", "(histogram)"],
    ):
        assert line in [columns(shown_line) for shown_line in shown.splitlines()]
    assert "_runtime" not in shown


def test_the_sweeps_of_a_project(world: World) -> None:
    lines = [columns(line) for line in world.runtap("sweeps", "tuning").out.splitlines()[2:]]
    assert lines == [
        ["sweep", "name", "state", "method", "metric", "runs", "best"],
        [world.empty.name, "tuned", world.empty.read()["state"], "grid", "score (maximize)", "0 of 3"],
        [world.scored.name, "tuned", "RUNNING", "grid", "score (maximize)", "2 of 3", "0.75"],
    ]
    assert [one["id"] for one in world.runtap("sweeps", "tuning", "--json").json()] == [
        world.empty.name,
        world.scored.name,
    ]
    none = world.runtap("sweeps", "many")
    assert (none.code, none.out) == (0, f"there are no sweeps in local/many at {world.url}\n")


def test_one_sweep(world: World) -> None:
    shown = world.runtap("sweep", f"tuning/{world.scored.name}").out
    lines = [columns(line) for line in shown.splitlines()]
    assert shown.startswith("tuned (RUNNING)\npath ")
    for line in (["metric", "score (maximize)"], ["best", "0.75"], ["runs", "2 of 3"], ["method: grid"]):
        assert line in lines
    assert lines[-3] == ["run", "name", "state", "created", "config.a", "config.in.b", "summary.score"]
    assert [(line[1], line[-1]) for line in lines[-2:]] == [("with 0.75", "0.75"), ("with 0.25", "0.25")]
    found = world.runtap("sweep", f"tuning/{world.scored.name}", "--json").json()
    assert found["config"] == CONFIG
    assert (found["order"], found["best_loss"], found["run_count"]) == ("-summary_metrics.score", 0.75, 2)
    assert world.runtap("sweep", f"tuning/{world.empty.name}").out.endswith("\nit has no runs yet\n")


def test_the_best_run(world: World) -> None:
    path = f"tuning/{world.scored.name}"
    shown = world.runtap("best-run", path)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("with 0.75 (finished)\nbest ")
    assert ["best", "0.75, the largest score"] in [columns(line) for line in shown.out.splitlines()]
    smallest = world.runtap("best-run", path, "--order", "+score", "--json").json()
    assert (smallest["value"], smallest["warning"], smallest["run"]["name"]) == (0.25, "", "with 0.25")
    ever = world.runtap("best-run", path, "--order", "+score", "--pick", "min").out
    assert ["best", "0.25, the smallest score"] in [columns(line) for line in ever.splitlines()]


@pytest.mark.parametrize("as_json", [False, True])
def test_no_best_run_is_exit_code_1_and_says_why(world: World, as_json: bool) -> None:
    done = world.runtap("best-run", f"tuning/{world.empty.name}", *(["--json"] if as_json else []))
    warning = f"sweep local/tuning/{world.empty.name} has no runs yet"
    assert (done.code, done.err) == (1, f"runtap: {warning}\n")
    told: Any = json.loads(done.out) if as_json else done.out
    path = f"local/tuning/{world.empty.name}"
    assert told == ({"sweep": path, "value": None, "warning": warning, "run": None} if as_json else "")
