"""Agents over plain HTTP: grids to their end, chance within its cap, commands in every state, agents that vanish."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.local.client import Client
from tests.local.sweeping import GRID, HEARTBEAT, create, where
from tests.support.local_server import LocalServer, local_server

AGENTS = """
query A($sweep: String!, $entity: String, $project: String) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $sweep) {
    agents { edges { node { id name host state totalRuns createdAt heartbeatAt } } } } } }"""
AGENT_RUNS = """
query GetAgentRuns($agentID: String!, $sweep: String!, $entity: String, $project: String, $after: String,
                   $before: String, $first: Int, $last: Int, $order: String) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $sweep) { agent(agentName: $agentID) {
    id totalRuns
    runs(after: $after, before: $before, first: $first, last: $last, order: $order) {
      pageInfo { endCursor hasNextPage } edges { cursor node { id name sweepName state user { name username } } }
    } } } } }"""
DELETE_RUN = "mutation D($i: ID!) { deleteRun(input: {id: $i}) { clientMutationId } }"
POINTS = [{"a": a, "b": b} for a in (1, 2) for b in "xy"]


def test_a_grid_to_its_end(client: Client) -> None:
    sweep = create(client, {**GRID, "program": "train.py"})
    agent = sweep.agent()
    found = []
    for number in range(4):
        updated = sweep.read()["updatedAt"]
        run, values = sweep.begin(agent)
        found.append(values)
        assert sweep.beat(agent, run) == []  # busy
        assert sweep.read()["updatedAt"] > updated
        sweep.end(run, exitcode=number % 2, loss=number)
    assert found == POINTS
    # With the last run ends the sweep, whether an agent asks or not.
    read = sweep.read()
    assert (read["state"], read["runCount"], read["runCountExpected"]) == ("FINISHED", 4, 4)
    assert sweep.beat(agent) == [{"type": "exit"}]
    assert sweep.beat(sweep.agent()) == [{"type": "exit"}]
    (_, listed) = (edge["node"] for edge in agents(client, sweep.name))
    assert listed["state"] == "FINISHED"


def agents(client: Client, sweep: str) -> list[Any]:
    """The agents of a sweep, as edges."""
    found = client.query(AGENTS, sweep=sweep, **where(client))["project"]["sweep"]
    edges: list[Any] = found["agents"]["edges"]
    return edges


def test_the_command_is_what_an_agent_needs(client: Client) -> None:
    nested = {"parameters": {"lr": {"value": 0.1}}}
    config = {
        "method": "grid",
        "program": "train.py",
        "parameters": {"größe": {"value": None}, "opt": nested},
    }
    sweep = create(client, config)
    (command,) = sweep.beat(sweep.agent())
    assert command.pop("run_id").isalnum()
    assert command == {
        "type": "run",
        "program": "train.py",
        "args": {"größe": {"value": None}, "opt": {"value": {"lr": 0.1}}},
    }


def test_many_agents_at_once_never_get_the_same_point(client: Client) -> None:
    sweep = create(client, {"method": "grid", "parameters": {"a": {"min": 1, "max": 24}}})
    many = [sweep.agent() for _ in range(8)]

    def work(agent: str) -> list[int]:
        done = []
        while commands := sweep.beat(agent):
            if commands[0]["type"] == "exit":
                break
            run = commands[0]["run_id"]
            client.upsert(run, sweep=sweep.name)
            done.append(commands[0]["args"]["a"]["value"])
            sweep.end(run)
        return done

    with ThreadPoolExecutor(8) as pool:
        found = [value for done in pool.map(work, many) for value in done]
    assert sorted(found) == list(range(1, 25))
    assert sweep.read()["state"] == "FINISHED"
    assert sum(edge["node"]["totalRuns"] for edge in agents(client, sweep.name)) == 24


def test_chance_ends_at_its_cap(client: Client) -> None:
    sweep = create(client, {"method": "random", "run_cap": 3, "parameters": {"x": {"min": 0.0, "max": 1.0}}})
    agent = sweep.agent()
    values = []
    for _ in range(3):
        run, point = sweep.begin(agent)
        values.append(point["x"])
        sweep.end(run)
    assert len(set(values)) == 3 and all(0 <= value <= 1 for value in values)
    assert sweep.beat(agent) == [{"type": "exit"}] and sweep.read()["state"] == "FINISHED"


def test_pause_resume_stop(client: Client) -> None:
    sweep = create(client, GRID)
    agent = sweep.agent()
    run, _ = sweep.begin(agent)
    sweep.change(state="PAUSED")
    assert sweep.beat(agent, run) == []
    sweep.end(run)
    assert sweep.beat(agent) == [] and sweep.read()["state"] == "PAUSED"
    sweep.change(state="RUNNING")
    run, values = sweep.begin(agent)
    assert values == POINTS[1]
    sweep.change(state="FINISHED")
    assert sweep.beat(agent, run) == []  # what runs may finish
    sweep.end(run)
    assert sweep.beat(agent) == [{"type": "exit"}]
    sweep.change(state="RUNNING")
    assert sweep.begin(sweep.agent())[1] == POINTS[2]


def test_cancel_ends_what_runs(client: Client) -> None:
    sweep = create(client, GRID)
    agent = sweep.agent()
    run, _ = sweep.begin(agent)
    sweep.change(state="CANCELED")
    assert sweep.beat(agent, run) == [{"type": "stop", "run_id": run}]
    assert sweep.beat(agent, run) == [{"type": "stop", "run_id": run}]
    sweep.end(run, exitcode=1)
    assert sweep.beat(agent) == [{"type": "exit"}]
    assert sweep.read()["state"] == "CANCELED"


def test_an_answer_that_got_lost_is_given_again(client: Client) -> None:
    sweep = create(client, GRID)
    agent = sweep.agent()
    (first,) = sweep.beat(agent)
    (again,) = sweep.beat(agent)
    assert again == first  # the same run, should both arrive
    other = sweep.agent()
    assert sweep.begin(other)[1] == POINTS[1]
    client.upsert(first["run_id"], sweep=sweep.name)
    sweep.end(first["run_id"])
    assert sweep.begin(agent)[1] == POINTS[2]


def test_a_program_that_never_logs_does_not_hold_up_the_sweep(client: Client) -> None:
    sweep = create(client, {"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
    agent = sweep.agent()
    for value in (1, 2):
        (command,) = sweep.beat(agent)
        assert command["args"]["a"]["value"] == value
        assert sweep.beat(agent, command["run_id"]) == []
    # Both ran, as the agent said, and told us nothing.
    assert sweep.beat(agent) == [{"type": "exit"}]
    assert (sweep.read()["state"], sweep.read()["runCount"]) == ("FINISHED", 0)


def test_a_point_whose_run_never_begins_is_given_up_in_the_end(client: Client) -> None:
    sweep = create(client, {"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
    agent = sweep.agent()
    values = [sweep.beat(agent)[0]["args"]["a"]["value"] for _ in range(6)]
    assert values == [1, 1, 1, 2, 2, 2]
    assert sweep.beat(agent) == [{"type": "exit"}]


def test_a_deleted_run_of_a_grid_is_searched_again(client: Client) -> None:
    sweep = create(client, GRID)
    agent = sweep.agent()
    for _ in range(4):
        run, _ = sweep.begin(agent)
        sweep.end(run)
    deleted = client.names({"sweep": sweep.name}, "+created_at")[1]
    client.query(DELETE_RUN, i=client.run(deleted, "id")["id"])
    read = sweep.read()
    assert (read["state"], read["runCount"]) == ("FINISHED", 3)
    sweep.change(state="RUNNING")
    run, values = sweep.begin(agent)
    assert values == POINTS[1] and run != deleted
    sweep.end(run)
    assert sweep.read()["state"] == "FINISHED"


def test_a_deleted_run_of_chance_makes_room_for_another(client: Client) -> None:
    config = {"method": "random", "run_cap": 2, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
    sweep = create(client, config)
    agent = sweep.agent()
    values = []
    for _ in range(2):
        run, point = sweep.begin(agent)
        values.append(point["x"])
        sweep.end(run)
    client.query(DELETE_RUN, i=client.run(run, "id")["id"])
    sweep.change(state="RUNNING")
    run, point = sweep.begin(agent)
    assert point["x"] not in values
    sweep.end(run)
    assert sweep.read()["state"] == "FINISHED"


def test_agents_and_their_runs_are_listed(client: Client) -> None:
    sweep = create(client, GRID)
    one, two = sweep.agent(), sweep.agent()
    runs = []
    for agent in (one, two, one):
        run, _ = sweep.begin(agent)
        runs.append(run)
        sweep.end(run)
    client.upsert("by-hand", sweep=sweep.name)
    first, second = (edge["node"] for edge in agents(client, sweep.name))
    assert (first["id"], second["id"]) == (one, two)
    assert (first["totalRuns"], second["totalRuns"]) == (2, 1)
    assert first["state"] == "RUNNING" and first["host"] == "h"
    for key in (first["id"], first["name"]):
        variables = {"agentID": key, "sweep": sweep.name, "first": 1, "order": "+created_at", **where(client)}
        page = client.query(AGENT_RUNS, **variables)["project"]["sweep"]["agent"]["runs"]
        assert [edge["node"]["name"] for edge in page["edges"]] == [runs[0]]
        after = page["edges"][0]["cursor"]
        page = client.query(AGENT_RUNS, after=after, **variables)["project"]["sweep"]["agent"]["runs"]
        assert [edge["node"]["name"] for edge in page["edges"]] == [runs[2]]
        assert not page["pageInfo"]["hasNextPage"]
    missing = client.query(AGENT_RUNS, agentID="nope", sweep=sweep.name, **where(client))
    assert missing["project"]["sweep"]["agent"] is None
    other = create(client, GRID)
    missing = client.query(AGENT_RUNS, agentID=one, sweep=other.name, **where(client))
    assert missing["project"]["sweep"]["agent"] is None


def test_a_run_that_announced_its_preemption_is_resumed(client: Client) -> None:
    sweep = create(client, GRID)
    agent = sweep.agent()
    run, _ = sweep.begin(agent)
    client.stream(run, preempting=True)
    sweep.end(run, exitcode=1)
    assert client.run(run, "state")["state"] == "preempted"
    assert sweep.begin(agent) == (run, POINTS[0])
    assert client.run(run, "state")["state"] == "running"
    client.stream(run, preempting=True)
    sweep.end(run)
    assert client.run(run, "state")["state"] == "finished"


@pytest.mark.parametrize("text", ["[]", "3", "{", json.dumps({f"r{n}": True for n in range(1001)})])
def test_reports_that_make_no_sense(client: Client, text: str) -> None:
    agent = create(client, GRID).agent()
    status, message = client.errors(HEARTBEAT, id=agent, runState=text)
    assert status == 400 and "runState" in message


# --- agents that vanish, on a server that notices soon

SILENCE = 2.0


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server to which two seconds of silence are long."""
    with local_server(tmp_path_factory.mktemp("impatient") / "home", crash_after_s=SILENCE) as running:
        yield running


def wait_for_crash(client: Client, run: str) -> None:
    deadline = time.monotonic() + 30
    while client.run(run, "state")["state"] != "crashed":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_points_of_a_vanished_agent_go_to_others(impatient: LocalServer) -> None:
    client = Client(impatient.url, impatient.entity, impatient.api_key, project="vanished")
    sweep = create(client, GRID)
    one, two = sweep.agent(), sweep.agent()
    run, _ = sweep.begin(one)
    (never_begun,) = sweep.beat(two)
    wait_for_crash(client, run)
    time.sleep(SILENCE)  # the agents have been silent for longer than their runs
    third = sweep.agent()
    again, values = sweep.begin(third)
    assert values == POINTS[0] and again != run
    sweep.end(again)
    again, values = sweep.begin(third)
    assert values == POINTS[1] and again != never_begun["run_id"]
    sweep.end(again)
    assert sweep.begin(third)[1] == POINTS[2]
    states = [edge["node"]["state"] for edge in agents(client, sweep.name)]
    assert states[:2] == ["FINISHED", "FINISHED"]


def test_a_program_that_dies_beside_a_living_agent_has_used_up_its_point(impatient: LocalServer) -> None:
    client = Client(impatient.url, impatient.entity, impatient.api_key, project="died")
    sweep = create(client, {"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
    agent = sweep.agent()
    run, _ = sweep.begin(agent)
    wait_for_crash(client, run)
    run, values = sweep.begin(agent)
    assert values == {"a": 2}
    sweep.end(run)
    assert sweep.read()["state"] == "FINISHED"


def test_a_preempted_run_is_resumed_by_whoever_asks_first(impatient: LocalServer) -> None:
    client = Client(impatient.url, impatient.entity, impatient.api_key, project="preempted")
    sweep = create(client, {"method": "grid", "parameters": {"a": {"values": [1]}}})
    one, two, three = sweep.agent(), sweep.agent(), sweep.agent()
    run, _ = sweep.begin(one)
    client.upsert(run, state="preempted")
    sweep.beat(one, run)
    assert sweep.beat(two) == []  # its agent still has it
    (command,) = sweep.beat(one)
    assert (command["type"], command["run_id"], command["args"]) == ("resume", run, {"a": {"value": 1}})
    assert sweep.beat(three) == []  # one resumes it, not two
    time.sleep(SILENCE * 1.2)
    assert sweep.beat(three)[0]["type"] == "resume"
