"""The scripted upstream with projects of their own and sweeps: what there is, and what servers make of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from tests.support.upstream import Node, Request, ScriptedUpstream


@dataclass
class SweepingUpstream(ScriptedUpstream):
    """A server that has projects and sweeps, too."""

    ignores_order: bool = False
    """Lists runs in the order in which they were added, whatever was asked for."""
    nan_counts: bool = False
    """Orders NaN as if it were less than every number, as databases may."""
    loses_cursors: bool = False
    """Says that there is more, and not where."""
    project_nodes: dict[str, list[Node]] = field(default_factory=dict)
    """By entity, in the server's order."""
    sweep_nodes: dict[str, list[Node]] = field(default_factory=dict)
    """By `entity/project`, in the server's order."""

    def add_project(self, entity: str, name: str, **fields: Any) -> Node:
        """Adds a project, with its fields on the wire."""
        node: Node = {
            "id": f"project-{name}",
            "name": name,
            "entityName": entity,
            "createdAt": "2026-01-01T00:00:00Z",
            "isBenchmark": False,
            "description": None,
        } | fields
        self.project_nodes.setdefault(entity, []).append(node)
        return node

    def add_sweep(self, entity: str, project: str, name: str, config: str, **fields: Any) -> Node:
        """Adds a sweep, with its fields on the wire."""
        node: Node = {
            "id": f"sweep-{name}",
            "name": name,
            "displayName": None,
            "method": "grid",
            "state": "RUNNING",
            "description": None,
            "bestLoss": None,
            "config": config,
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": "2026-01-02T00:00:00Z",
            "runCount": 0,
            "runCountExpected": None,
        } | fields
        self.sweep_nodes.setdefault(f"{entity}/{project}", []).append(node)
        self.projects.setdefault((entity, project), {})
        return node

    def _answer_project(self, request: Request) -> dict[str, Any]:
        nodes = self.project_nodes.get(request.variables["entity"], [])
        found = next((node for node in nodes if node["name"] == request.variables["project"]), None)
        return {"data": {"project": self._seen(found, "Project")}}

    def _answer_projects(self, request: Request) -> dict[str, Any]:
        nodes = self.project_nodes.get(request.variables["entity"])
        return {"data": {"models": None if nodes is None else self._connection(nodes, request, "Project")}}

    def _answer_sweep(self, request: Request) -> dict[str, Any]:
        nodes = self.sweep_nodes.get(self._of(request), [])
        found = next((node for node in nodes if node["name"] == request.variables["name"]), None)
        return {
            "data": {
                "project": {"sweep": self._seen(found, "Sweep")}
                if self._project(request) is not None
                else None
            }
        }

    def _answer_sweeps(self, request: Request) -> dict[str, Any]:
        if self._project(request) is None:
            return {"data": {"project": None}}
        nodes = self.sweep_nodes.get(self._of(request), [])
        return {"data": {"project": {"sweeps": self._connection(nodes, request, "Sweep")}}}

    def _answer_runs(self, request: Request) -> dict[str, Any]:
        wanted = json.loads(request.variables["filters"])
        project = self._project(request)
        # Both forms mean the same; the SDK sends the first.
        (condition,) = wanted.get("$and", [wanted])
        if "sweep" not in condition or project is None:
            return super()._answer_runs(request)
        found = [node for node in project.values() if node.get("sweepName") == condition["sweep"]]
        if not self.ignores_order:
            found = self._ordered(found, request.variables["order"])
        connection = self._connection(found, request, "Run")
        return {"data": {"project": {"runCount": len(found), "runs": connection}}}

    def _ordered(self, nodes: list[Node], order: str) -> list[Node]:
        sign, column = order[0], order[1:]
        if not column.startswith("summary_metrics."):
            return sorted(nodes, key=lambda node: str(node["createdAt"]), reverse=sign == "-")
        key = column.removeprefix("summary_metrics.")
        values = {node["name"]: json.loads(node["summaryMetrics"]).get(key) for node in nodes}
        if self.nan_counts:
            values = {name: -math.inf if value != value else value for name, value in values.items()}
        there = [node for node in nodes if _is_number(values[node["name"]])]
        there.sort(key=lambda node: values[node["name"]], reverse=sign == "-")
        return [*there, *(node for node in nodes if node not in there)]

    def _connection(self, nodes: list[Node], request: Request, kind: str) -> dict[str, Any]:
        start = int(request.variables.get("cursor") or 0)
        size = min(request.variables["first"], self.page_cap or 10**9)
        shown = nodes[start : start + size]
        end = start + len(shown)
        cursor = None if self.loses_cursors else str(end)
        return {
            "edges": [
                {"node": self._seen(node, kind), "cursor": str(start + i + 1)} for i, node in enumerate(shown)
            ],
            "pageInfo": {"endCursor": cursor, "hasNextPage": end < len(nodes)},
        }

    def _seen(self, node: Node | None, kind: str) -> Node | None:
        """A node without what this server lacks."""
        return node and {name: value for name, value in node.items() if (kind, name) not in self.lacks}

    @staticmethod
    def _of(request: Request) -> str:
        return f"{request.variables['entity']}/{request.variables['project']}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value == value
