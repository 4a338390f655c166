"""Sweeps over plain HTTP, in the documents of the SDK: for tests that look at the wire."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from tests.local.client import Client

UPSERT_SWEEP = """
mutation UpsertSweep(
    $id: ID, $config: String, $description: String, $entityName: String, $projectName: String,
    $controller: JSONString, $launchScheduler: JSONString, $templateVariableValues: JSONString,
    $scheduler: JSONString, $state: String, $priorRunsFilters: JSONString, $displayName: String,
) {
    upsertSweep(input: {
        id: $id, config: $config, description: $description, entityName: $entityName, projectName: $projectName,
        controller: $controller, launchScheduler: $launchScheduler,
        templateVariableValues: $templateVariableValues, scheduler: $scheduler, state: $state,
        priorRunsFilters: $priorRunsFilters, displayName: $displayName,
    }) {
        sweep { name project { id name entity { id name } } }
        configValidationWarnings
    }
}"""
CREATE_AGENT = """
mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
    createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) {
        agent { id }
    }
}"""
HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
    agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands }
}"""
SWEEP_FIELDS = """
    __typename id name displayName method state description bestLoss config createdAt updatedAt runCount
    runCountExpected heartbeatAt
"""
GET_SWEEP = (
    """
query GetSweep($name: String!, $project: String, $entity: String) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) { ...SweepFragment } }
}
fragment SweepFragment on Sweep {"""
    + SWEEP_FIELDS
    + "}"
)
SWEEP_WITH_RUNS = """
query SweepWithRuns($entity: String, $project: String, $sweep: String!, $specs: [JSONString!]!) {
    project(name: $project, entityName: $entity) {
        sweep(sweepName: $sweep) {
            id name method state description config createdAt heartbeatAt updatedAt earlyStopJobRunning bestLoss
            controller scheduler
            runs { edges { node {
                name state config exitcode heartbeatAt shouldStop failed stopped running summaryMetrics
                sampledHistory(specs: $specs)
            } } }
        }
    }
}"""
GRID = {"method": "grid", "parameters": {"a": {"values": [1, 2]}, "b": {"values": ["x", "y"]}}}


@dataclass
class Sweep:
    """A sweep of a user, made by ``create``."""

    client: Client
    name: str
    warnings: list[str]

    def read(self) -> Any:
        """All fields of the sweep."""
        document = self.client.query(GET_SWEEP, name=self.name, **where(self.client))
        return document["project"]["sweep"]

    def change(self, **fields: Any) -> None:
        """Change it by its id, with nothing but what is given."""
        self.client.query(UPSERT_SWEEP, id=self.read()["id"], **fields)

    def refused(self, **fields: Any) -> str:
        """The text with which a change is refused."""
        status, text = self.client.errors(UPSERT_SWEEP, id=self.read()["id"], **fields)
        assert status == 400
        return text

    def agent(self) -> str:
        """The id of a new agent."""
        made = self.client.query(
            CREATE_AGENT,
            host="h",
            sweep=self.name,
            projectName=self.client.project,
            entityName=self.client.entity,
        )
        return str(made["createAgent"]["agent"]["id"])

    def beat(self, agent: str, *has: str) -> list[Any]:
        """The commands that an agent gets."""
        state = json.dumps(dict.fromkeys(has, True))
        done = self.client.query(HEARTBEAT, id=agent, metrics="{}", runState=state)
        commands: list[Any] = json.loads(done["agentHeartbeat"]["commands"])
        return commands

    def begin(self, agent: str) -> tuple[str, dict[str, Any]]:
        """Let an agent begin its next point; returns the run and its values."""
        (command,) = self.beat(agent)
        assert command["type"] in ("run", "resume"), command
        config = command["args"]
        self.client.upsert(command["run_id"], sweep=self.name, config=config)
        return command["run_id"], {name: item["value"] for name, item in config.items()}

    def end(self, run: str, exitcode: int = 0, **summary: Any) -> None:
        """End a run as the SDK does."""
        files = {"wandb-summary.json": {"offset": 0, "content": [json.dumps(summary)]}}
        self.client.stream(run, files=files, complete=True, exitcode=exitcode)


def where(client: Client) -> dict[str, str]:
    """The variables that name the project."""
    return {"project": client.project, "entity": client.entity}


def create(client: Client, config: Any, **fields: Any) -> Sweep:
    """Make a sweep; a dictionary becomes YAML."""
    text = config if isinstance(config, str) else yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    names = {"entityName": client.entity, "projectName": client.project, "templateVariableValues": "null"}
    made = client.query(UPSERT_SWEEP, config=text, **names, **fields)["upsertSweep"]
    assert made["sweep"]["project"]["entity"]["name"] == client.entity
    return Sweep(client, made["sweep"]["name"], made["configValidationWarnings"])
