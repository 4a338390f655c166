"""Sweeps in the client, with a real daemon and the real local server, made by the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtap.best_run import order_key
from tests.local.client import Client
from tests.local.sweeping import Sweep, create
from tests.support.client import Place, new_place

CONFIG = {
    "method": "grid",
    "name": "in the config",
    "metric": {"name": "score", "goal": "maximize"},
    "parameters": {"a": {"values": [1, 2, 3]}},
}
NO_METRIC = {"method": "random", "parameters": {"a": {"values": [1, 2, 3]}}}


class World:
    """A place with a local server, and sweeps in it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        reach = place.runtap("local", "start", "--json").json()
        place.runtap("local", "use")
        self.client = Client(reach["url"], reach["entity"], reach["api_key"])
        self.client.project = "tuning"
        self.path = f"{reach['entity']}/tuning"
        self.scored = self.ran(create(self.client, CONFIG), [0.25, 0.75, 0.5], "score")
        self.logged = self.ran(create(self.client, CONFIG), [1, 2, 3], "score", [[9, 1], [0, 2], [3, 3]])
        self.unmeasured = self.ran(create(self.client, NO_METRIC, displayName="shown"), [1, 2], "loss")
        self.empty = create(self.client, CONFIG)

    def ran(
        self, sweep: Sweep, values: list[Any], key: str, histories: list[list[Any]] | None = None
    ) -> Sweep:
        """Lets an agent do as many runs, each with one value at last, and others before that."""
        agent = sweep.agent()
        for number, value in enumerate(values):
            run, _ = sweep.begin(agent)
            if histories:
                rows = [{"_step": step, key: logged} for step, logged in enumerate(histories[number])]
                self.client.log(run, 0, rows)
            summary: dict[str, Any] = {key: value}
            sweep.end(run, **summary)
        return sweep

    def out(self, script: str) -> list[str]:
        """What a script prints."""
        head = "import runtap, pickle\napi = runtap.Api({'project': 'tuning'}, base_url='local')\n"
        done = self.place.python(head + script)
        assert done.code == 0, done.err
        return done.out.splitlines()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with new_place(Path(tmp_path_factory.mktemp("sweeps"))) as place:
        yield World(place)


def test_a_sweep_and_its_attributes(world: World) -> None:
    name = world.scored.name
    assert world.out(
        f"""
sweep = api.sweep("{world.path}/{name}")
print(sweep.id, sweep.entity, sweep.project, list(sweep.path), sweep.path)
print(sweep.url == f"{{api.client.base_url}}/{world.path}/sweeps/{name}", sweep.createdAt == sweep.created_at != "")
print(sweep.config == {CONFIG!r}, sweep.method, sweep.name, sweep.display_name, sweep.order)
print(sweep.best_loss, sweep.bestLoss, sweep.run_count, sweep.expected_run_count, sweep.state)
print(sweep == api.sweep("{name}") == api.sweep(sweep.path) == pickle.loads(pickle.dumps(sweep)))
print(len({{sweep, sweep.load()}}))
print(sweep.load(force=True).freshness.source, sweep)
try:
    sweep.nonsense
except AttributeError as error:
    print(error)
"""
    ) == [
        f"{name} {world.client.entity} tuning {[world.client.entity, 'tuning', name]!r} {world.path}/{name}",
        "True True",
        "True grid in the config None -summary_metrics.score",
        f"0.75 0.75 3 3 {world.scored.read()['state']}",
        "True",
        "1",
        f"upstream <Sweep {world.path}/{name} ({world.scored.read()['state']})>",
        "a sweep has no attribute 'nonsense'",
    ]


def test_a_sweep_without_metric_name_or_runs(world: World) -> None:
    assert world.out(
        f"""
sweep = api.sweep("{world.unmeasured.name}")
print(sweep.name, sweep.display_name, sweep.order, sweep.best_loss, sweep.expected_run_count)
print(api.sweep("{world.empty.name}").best_loss, api.sweep("{world.empty.name}").run_count)
"""
    ) == ["shown shown None None None", "None 0"]


def test_the_sweeps_of_a_project(world: World) -> None:
    made = [world.scored, world.logged, world.unmeasured, world.empty]
    newest_first = [sweep.name for sweep in reversed(made)]
    assert world.out(
        """
sweeps = api.project("tuning").sweeps(per_page=2)
print([sweep.id for sweep in sweeps], sweeps[-1].best_loss, sweeps)
print(len(api.project("tuning").sweeps(per_page=3)), [sweep.id for sweep in sorted(sweeps, key=lambda s: s.id)])
try:
    api.project("tuning").sweeps(filters={"state": "RUNNING"})
except runtap.errors.UnsupportedError as error:
    print(isinstance(error, ValueError), error)
"""
    ) == [
        f"{newest_first!r} 0.75 <Sweeps {world.path}>",
        f"4 {sorted(newest_first)!r}",
        "True sweeps are not filtered: choose in Python, as in "
        "[sweep for sweep in project.sweeps() if sweep.state == 'RUNNING']",
    ]


def test_the_sweep_of_a_run_is_read_once(world: World) -> None:
    name = world.scored.name
    world.client.upsert("alone")
    world.client.upsert("left", sweep="deleted1")
    assert world.out(
        f"""
from runtap.v1 import daemon_pb2
def asked():
    return api.client.call("daemon.GetStatus", daemon_pb2.GetStatusRequest()).calls_total
run = api.sweep("{name}").runs[0]
before = asked()
print(run.sweep_name, run.sweep, run.sweep.best_loss, run.sweep is run.sweep)
print(asked() - before, "calls", run.sweep == pickle.loads(pickle.dumps(run)).sweep == api.sweep("{name}"))
kept = run.sweep
print(run.load().sweep is kept, run.sweep == kept, run in run.sweep.runs)
alone, left = api.run("alone"), api.run("left")
print(alone.sweep_name, alone.sweep, left.sweep_name, left.sweep)
"""
    ) == [
        f"{name} <Sweep {world.path}/{name} ({world.scored.read()['state']})> 0.75 True",
        "2 calls True",
        "False True True",
        "None None deleted1 None",
    ]


def test_the_runs_of_a_sweep_are_a_sequence(world: World) -> None:
    assert world.out(
        f"""
sweep = api.sweep("{world.scored.name}")
runs = sweep.runs
print(len(runs), [run.summary["score"] for run in runs], runs[-1].summary["score"], bool(runs), runs.complete)
print([run.summary["score"] for run in sorted(runs, key=lambda run: run.summary.get("score", 0), reverse=True)])
print({{run.sweep_name for run in runs}} == {{sweep.id}}, runs is sweep.runs, sweep.load().runs is runs, runs)
print(runs.explain().filter_json)
print(len(api.sweep("{world.empty.name}").runs), pickle.loads(pickle.dumps(sweep)).runs[0] == runs[0])
"""
    ) == [
        "3 [0.5, 0.75, 0.25] 0.25 True True",
        "[0.75, 0.5, 0.25]",
        f"True True False <Runs {world.path}/{world.scored.name} (3 runs)>",
        f'{{"sweep":"{world.scored.name}"}}',
        "0 True",
    ]


def test_the_best_run(world: World) -> None:
    assert world.out(
        f"""
sweep = api.sweep("{world.scored.name}")
print(sweep.best_run().summary["score"], sweep.best_run().id in [run.id for run in sweep.runs])
print([sweep.best_run(order).summary["score"] for order in
    ("+score", "score", "-summary.score", "+summary_metrics.score", "+createdAt", "-created_at", "+config.a")])
"""
    ) == ["0.75 True", "[0.25, 0.75, 0.75, 0.25, 0.25, 0.5, 0.25]"]


def test_the_best_run_over_whole_histories(world: World) -> None:
    assert world.out(
        f"""
sweep = api.sweep("{world.logged.name}")
print([sweep.best_run(order, pick=pick).summary["score"] for order, pick in
    ((None, "last"), (None, "max"), ("+score", "min"), ("+score", "last"))])
try:
    sweep.best_run(pick="first")
except ValueError as error:
    print(error)
"""
    ) == ["[3, 1, 2, 1]", 'pick is "last", "min" or "max", not \'first\'']


def test_no_best_run_is_none_and_a_warning(world: World) -> None:
    assert world.out(
        f"""
import warnings
for name, order in (("{world.empty.name}", None), ("{world.scored.name}", "nowhere"),
                    ("{world.unmeasured.name}", None)):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        best = api.sweep(name).best_run(order)
    print(best and best.summary["loss"], "|", caught[0].message, "|", caught[0].filename)
try:
    api.sweep("{world.scored.name}").best_run("+")
except ValueError as error:
    print(type(error).__name__)
"""
    ) == [
        f"None | sweep {world.path}/{world.empty.name} has no runs yet | <string>",
        f"None | none of the 3 runs of sweep {world.path}/{world.scored.name} has a number for summary_metrics.nowhere"
        " | <string>",
        f"2 | sweep {world.path}/{world.unmeasured.name} has no metric in its configuration; this is its newest run"
        " | <string>",
        "InvalidRequestError",
    ]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("loss", "-summary_metrics.loss"),
        ("-loss", "-summary_metrics.loss"),
        ("+loss", "+summary_metrics.loss"),
        ("a.b", "-summary_metrics.a.b"),
        ("summary.loss", "-summary.loss"),
        ("+summary_metrics.x", "+summary_metrics.x"),
        ("config.lr", "-config.lr"),
        ("tags.x", "-tags.x"),
        ("createdAt", "-created_at"),
        ("+created_at", "+created_at"),
    ],
)
def test_orders_as_sweeps_have_them(written: str, sent: str) -> None:
    assert order_key(written) == sent


def test_what_goes_wrong_is_a_comm_error(world: World) -> None:
    missing, wrong, empty = world.out(
        """
for path in ("nope", "a/b/c/d/e", ""):
    try:
        api.sweep(path)
    except runtap.CommError as error:
        print(type(error).__name__, isinstance(error, ValueError), error)
"""
    )
    assert missing.startswith(f"NotFoundError True Could not find sweep {world.path}/nope at http")
    assert wrong.startswith("InvalidRequestError True 'a/b/c/d/e' is not the path of a sweep")
    assert empty == "InvalidRequestError True no sweep is named: give api.sweep(path)"


def test_whatever_a_path_names(world: World) -> None:
    sweep, run = world.scored.name, "named"
    world.client.upsert(run)
    assert world.out(
        f"""
site = api.client.base_url
for path in ("tuning", "{world.path}", f"{{site}}/{world.path}/workspace?nw=1", "{world.path}/{run}",
             "{world.path}/runs/{run}", "/{world.path}/run/{run}/", f"{{site}}/{world.path}/runs/{run}/overview",
             "{world.path}/sweeps/{sweep}", ["{world.client.entity}", "tuning", "sweep", "{sweep}"],
             f"{{site}}/{world.path}/sweeps/{sweep}"):
    found = api.from_path(path)
    print(type(found).__name__, found.path)
for path in ("", "a/b/reports/Title--abc", "a/b/c/d/e"):
    try:
        api.from_path(path)
    except ValueError as error:
        print(type(error).__name__, error)
"""
    ) == [
        *[f"Project {world.path}"] * 3,
        *[f"Run {world.path}/{run}"] * 4,
        *[f"Sweep {world.path}/{sweep}"] * 3,
        *[
            f"InvalidRequestError {path!r} names no project, run or sweep: entity/project, "
            "entity/project/runs/run_id, entity/project/sweeps/sweep_id, or the URL of such a page"
            for path in ("", "a/b/reports/Title--abc", "a/b/c/d/e")
        ],
    ]


def test_what_wandb_completes_is_complete_here(world: World) -> None:
    assert world.out(
        f"""
runs = api.sweep("{world.scored.name}").runs
runs.upgrade_to_full()
run = runs[0]
print(run.load_full_data() is run, run.load_full_data(force=True).freshness.source)
"""
    ) == ["True upstream"]


def test_attributes_ask_nobody_but_those_that_the_page_lists(world: World) -> None:
    assert world.out(
        f"""
from runtap.v1 import daemon_pb2
def asked():
    return api.client.call("daemon.GetStatus", daemon_pb2.GetStatusRequest()).calls_total
sweep, project = api.sweep("{world.scored.name}"), api.project("tuning")
run = sweep.runs[0]
for thing in (api, project, sweep, run, sweep.runs, api.runs("tuning"), project.sweeps(), api.projects()):
    kind, asking = type(thing), []
    names = [name for name in dir(kind) if isinstance(getattr(kind, name), property)]
    for name in names:
        before = asked()
        getattr(thing, name)
        if asked() > before + 1:
            asking.append(name)
    print(kind.__name__, len(names) > 3, asking)
"""
    ) == [
        *[f"{kind} True []" for kind in ("Api", "Project", "Sweep")],
        "Run True ['sweep']",
        *[f"{kind} True []" for kind in ("Runs", "Runs")],
        *[f"{kind} False []" for kind in ("Sweeps", "Projects")],
    ]
