"""Sweeps under the real SDK: its agents search them to their end, its command line steers them, its Api reads them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.local.client import Client
from tests.local.sweeping import Sweep, create
from tests.support.local_server import LocalServer, log_run, sdk_env, start_local_server

# Agents ask every five seconds; the SDK's own tests shorten that in the same way.
QUICK = """
import json, os, sys, threading, time
import wandb
from wandb.agents import pyagent
pyagent.Agent.HEARTBEAT_SLEEP_SECONDS = 0.2
quick = wandb.Settings(x_file_stream_transmit_interval=1.0, x_disable_stats=True)
def told(value):
    print("OUT" + json.dumps(value, default=str), flush=True)
"""
SEARCH = (
    QUICK
    + """
grid = wandb.sweep({
    "method": "grid", "name": "of two", "metric": {"name": "loss", "goal": "maximize"},
    "parameters": {"größe": {"values": [0.1, 0.25]}, "opt": {"parameters": {"name": {"values": ["adam", "sgd"]}}}},
}, project="searched")
seen = []
def train(fails=False):
    with wandb.init(settings=quick) as run:
        config = {key: value for key, value in run.config.items()}
        seen.append([run.id, run.sweep_id, run.project, config])
        if config.get("opt", {}).get("name") == "sgd":
            return  # a run without the metric
        run.log({"loss": config.get("größe", 0)})
        if fails:
            raise ValueError("this one fails")
wandb.agent(grid, function=train, project="searched", count=4)
chance = wandb.sweep({
    "method": "bayes", "run_cap": 10, "early_terminate": {"type": "hyperband", "min_iter": 3},
    "parameters": {
        "n": {"min": 1, "max": 4}, "x": {"min": 0.0, "max": 1.0}, "q": {"distribution": "q_uniform", "min": 0, "max": 1,
        "q": 0.25}, "log": {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1}},
}, project="searched")
wandb.agent(chance, function=train, project="searched", count=2)
wandb.agent(chance, function=lambda: train(fails=True), project="searched", count=1)
api = wandb.Api()
def read(sweep):
    best = sweep.best_run()
    return {
        "state": sweep.state, "expected": sweep.expected_run_count, "count": sweep.run_count, "name": sweep.name,
        "best_loss": sweep.best_loss, "best": best and best.id, "order": sweep.order, "config": sweep.config,
        "method": sweep.method, "url": sweep.url,
        "runs": [[run.id, run.sweep_name, run.project, dict(run.config)] for run in sweep.runs],
        "states": [run.state for run in sweep.runs],
        "agents": [[one.id for one in agent.runs()] for agent in sweep.agents()],
    }
told({
    "grid": grid, "chance": chance, "seen": seen,
    "read": {sweep.id: read(sweep) for sweep in (api.sweep(f"local/searched/{grid}"),
                                                 api.sweep(f"local/searched/{chance}"))},
    "listed": [sweep.id for sweep in api.project("searched", entity="local").sweeps()],
    "of_run": api.run(f"local/searched/{seen[0][0]}").sweep.id,
    "included": [run.sweep.id for run in api.runs("local/searched", include_sweeps=True)],
})
try:
    api.sweep("local/searched/nothere1")
except wandb.errors.CommError as error:
    print("missing:", error)
"""
)


def out(done: subprocess.CompletedProcess[str]) -> Any:
    """What a script told, or a failure that shows its output."""
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return json.loads(done.stdout.split("OUT", 1)[1].splitlines()[0])


def test_a_grid_and_chance_under_the_agents_of_the_sdk(server: LocalServer, tmp_path: Path) -> None:
    done = log_run(server, tmp_path, SEARCH, WANDB_SILENT="false")
    told = out(done)
    grid, chance = told["read"][told["grid"]], told["read"][told["chance"]]
    assert (grid["state"], grid["expected"], grid["count"], grid["method"]) == ("FINISHED", 4, 4, "grid")
    assert (grid["name"], grid["order"]) == ("of two", "-summary_metrics.loss")
    points = [run[3] for run in told["seen"][:4]]
    assert points == [
        {"größe": size, "opt": {"name": name}} for size in (0.1, 0.25) for name in ("adam", "sgd")
    ]
    assert grid["runs"] == told["seen"][:4] and set(grid["states"]) == {"finished"}
    assert (grid["best"], grid["best_loss"]) == (told["seen"][2][0], 0.25)
    assert grid["agents"] == [[run[0] for run in told["seen"][:4]]]
    assert grid["config"]["parameters"]["größe"] == {"values": [0.1, 0.25]}
    assert grid["url"].endswith(f"/local/searched/sweeps/{told['grid']}")

    assert (chance["state"], chance["expected"], chance["count"]) == ("RUNNING", 10, 3)
    assert chance["runs"] == told["seen"][4:] and chance["states"] == ["finished", "finished", "failed"]
    for _, _, _, config in chance["runs"]:
        assert config["n"] in (1, 2, 3, 4) and 0 <= config["x"] <= 1 and 1e-5 <= config["log"] <= 0.1
        assert config["q"] in (0, 0.25, 0.5, 0.75, 1)
    assert len({json.dumps(run[3]) for run in chance["runs"]}) == 3
    assert [len(runs) for runs in chance["agents"]] == [2, 1]
    assert told["listed"] == [told["chance"], told["grid"]]
    assert told["of_run"] == told["grid"] and len(told["included"]) == 7
    assert "'bayes' is not offered by this server" in done.stderr
    assert "early_terminate is kept but not applied" in done.stderr
    assert "missing: Could not find sweep" in done.stdout


WRONG = (
    QUICK
    + """
try:
    wandb.sweep({"method": "grid", "parameters": {"lr": {"min": 0.1, "max": 0.2}}}, project="wrong")
except wandb.errors.CommError as error:
    told(str(error))
"""
)


def test_what_is_wrong_with_a_sweep_reaches_the_user(server: LocalServer, tmp_path: Path) -> None:
    text = out(log_run(server, tmp_path, WRONG))
    assert "parameters.lr: a grid cannot go through the distribution 'uniform'" in text


# --- agents beside each other, the command line, and what happens to those that are stopped

AGENT = (
    QUICK
    + """
sweep, length = sys.argv[1], float(sys.argv[2])
def train():
    with wandb.init(settings=quick) as run:
        print("BEGUN", run.id, flush=True)
        deadline = time.monotonic() + length
        while time.monotonic() < deadline:
            run.log({"loss": 1})
            time.sleep(0.1)
wandb.agent(sweep, function=train)
print("AGENT ENDED", flush=True)
"""
)


class Agents:
    """Agents of the real SDK, each in a process of its own; none outlives the test."""

    def __init__(self, server: LocalServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, module: bool = False) -> subprocess.Popen[str]:
        """Start one; ``module`` is the command line of the SDK, otherwise an agent with a function."""
        folder = self.folder / str(len(self._started))
        env = sdk_env(self.server, folder)
        command = [sys.executable, "-m", "wandb"] if module else [sys.executable, "-c", AGENT]
        with (folder / "out").open("w") as out_file:
            process = subprocess.Popen(
                [*command, *arguments],
                env=env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self._started.append(process)
        return process

    def text(self, number: int) -> str:
        """What an agent has printed so far."""
        return (self.folder / str(number) / "out").read_text()

    def kill(self, process: subprocess.Popen[str]) -> None:
        """End an agent and everything it started, as a machine that goes down does."""
        try:
            family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        except psutil.NoSuchProcess:
            family = []
        for one in family:
            if one.is_running():
                one.kill()
        process.wait(10)

    def command(self, *arguments: str) -> str:
        """Run a command of the SDK to its end."""
        process = self.start(*arguments, module=True)
        text = ""
        try:
            code = process.wait(40)
        finally:
            text = self.text(len(self._started) - 1)
            self.kill(process)
        assert code == 0, text
        return text

    def close(self) -> None:
        """Leave no process behind."""
        for process in self._started:
            self.kill(process)


@pytest.fixture
def agents(server: LocalServer, tmp_path: Path) -> Iterator[Agents]:
    running = Agents(server, tmp_path)
    yield running
    running.close()


@pytest.fixture
def owner(server: LocalServer) -> Client:
    """The user whose key the agents have."""
    return Client(server.url, server.entity, server.api_key, project=f"steered-{time.time_ns()}")


def wait_until(condition: Any, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def path(sweep: Sweep) -> str:
    return f"{sweep.client.entity}/{sweep.client.project}/{sweep.name}"


def points(sweep: Sweep, state: str | None = None) -> list[Any]:
    """The values of ``a`` of the sweep's runs, in order."""
    filters = {"sweep": sweep.name, **({"state": state} if state else {})}
    found = sweep.client.runs(filters=json.dumps(filters), perPage=100)["runs"]["edges"]
    return sorted(json.loads(edge["node"]["config"])["a"]["value"] for edge in found)


def settled(sweep: Sweep, quiet: float = 4, seconds: float = 40) -> int:
    """How many runs there are once none goes on and none has come for a while: one more may have been handed out."""
    deadline = time.monotonic() + seconds
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < quiet:
        assert time.monotonic() < deadline, "it goes on and on"
        found = -1 if points(sweep, "running") else len(points(sweep))
        if found < 0 or found != seen:
            seen, since = found, time.monotonic()
        time.sleep(0.1)
    return seen


@pytest.mark.slow
def test_two_agents_share_a_grid_to_its_end(owner: Client, agents: Agents) -> None:
    sweep = create(owner, {"method": "grid", "parameters": {"a": {"min": 1, "max": 12}}})
    both = [agents.start(path(sweep), "0.3") for _ in range(2)]
    for process in both:
        assert process.wait(55) == 0
    assert points(sweep, "finished") == list(range(1, 13))
    assert sweep.read()["state"] == "FINISHED"
    assert all(agents.text(number).count("BEGUN") >= 2 for number in range(2))
    assert all("AGENT ENDED" in agents.text(number) for number in range(2))


@pytest.mark.slow
def test_pause_resume_and_stop_by_the_command_line(owner: Client, agents: Agents) -> None:
    sweep = create(owner, {"method": "grid", "parameters": {"a": {"min": 1, "max": 50}}})
    agent = agents.start(path(sweep), "0.5")
    wait_until(lambda: len(points(sweep)) >= 1)
    agents.command("sweep", "--pause", path(sweep))
    paused = settled(sweep)
    assert 1 <= paused < 50 and sweep.read()["state"] == "PAUSED"
    agents.command("sweep", "--resume", path(sweep))
    wait_until(lambda: len(points(sweep)) > paused)
    agents.command("sweep", "--stop", path(sweep))
    assert agent.wait(40) == 0
    found = points(sweep)
    assert found == list(range(1, len(found) + 1)) and points(sweep, "finished") == found
    assert sweep.read()["state"] == "FINISHED" and len(found) < 50


@pytest.mark.slow
def test_cancel_ends_the_run_under_way(owner: Client, agents: Agents) -> None:
    sweep = create(owner, {"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
    agent = agents.start(path(sweep), "600")
    wait_until(lambda: points(sweep, "running") == [1])
    agents.command("sweep", "--cancel", path(sweep))
    assert agent.wait(40) == 0
    assert points(sweep, "failed") == [1] == points(sweep)
    assert sweep.read()["state"] == "CANCELED"


@pytest.mark.slow
def test_a_sweep_deleted_under_its_agent(owner: Client, agents: Agents) -> None:
    sweep = create(owner, {"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
    agent = agents.start(path(sweep), "3")
    wait_until(lambda: points(sweep, "running") == [1])
    document = "mutation D($i: ID!) { deleteSweep(input: {id: $i}) { success } }"
    owner.query(document, i=sweep.read()["id"])
    assert agent.wait(50) == 0
    (edge,) = owner.runs()["runs"]["edges"]
    # The run under way was allowed to finish, and no other began.
    assert edge["node"]["state"] == "finished"


PROGRAM = """
import sys
import wandb
with wandb.init(settings=wandb.Settings(x_file_stream_transmit_interval=1.0, x_disable_stats=True)) as run:
    run.log({"loss": run.config["a"]})
    print("ARGUMENTS", sys.argv[1:], dict(run.config))
"""
YAML = """
program: program.py
command: ["${env}", PYTHON, "${program}", "--fixed", "${args}"]
method: grid
name: from a file
metric: {name: loss, goal: maximize}
parameters:
  a: &values {values: [1, 2]}
  größe: {value: "ä b"}
"""


@pytest.mark.slow
def test_the_command_line_makes_a_sweep_and_runs_a_program(owner: Client, agents: Agents) -> None:
    (agents.folder / "program.py").write_text(PROGRAM)
    (agents.folder / "sweep.yaml").write_text(YAML.replace("PYTHON", json.dumps(sys.executable)))
    text = agents.command("sweep", "-p", owner.project, "sweep.yaml")
    name = text.partition("ID: ")[2].split()[0] if "ID: " in text else ""
    if not name:  # silent, as the tests are
        document = "query S($p: String!) { project(name: $p) { sweeps { edges { node { name } } } } }"
        found = owner.query(document, p=owner.project)["project"]["sweeps"]["edges"]
        name = found[0]["node"]["name"]
    sweep = Sweep(owner, name, [])
    text = agents.command("agent", path(sweep))
    assert text.count("'--fixed', '--a=") == 2 and "--größe=ä b" in text and "'größe': 'ä b'" in text
    assert points(sweep, "finished") == [1, 2]
    read = sweep.read()
    assert (read["state"], read["bestLoss"], read["runCount"]) == ("FINISHED", 2, 2)


@pytest.mark.slow
def test_an_agent_that_goes_down_leaves_its_point_to_the_next(tmp_path: Path) -> None:
    server = start_local_server(tmp_path / "home", crash_after_s=4)
    agents = Agents(server, tmp_path)
    owner = Client(server.url, server.entity, server.api_key, project="down")
    try:
        sweep = create(owner, {"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
        agent = agents.start(path(sweep), "600")
        wait_until(lambda: points(sweep, "running") == [1])
        agents.kill(agent)
        wait_until(lambda: points(sweep, "crashed") == [1])
        time.sleep(4)
        assert agents.start(path(sweep), "0.2").wait(50) == 0
        assert points(sweep, "finished") == [1, 2] and points(sweep) == [1, 1, 2]
        assert sweep.read()["state"] == "FINISHED"
    finally:
        agents.close()
        server.stop()
