"""The GraphQL texts, named; there is no other GraphQL text anywhere in the daemon."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

OPTIONAL_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Run": ("updatedAt", "projectId"),
    "Project": ("description",),
    "Sweep": ("displayName", "method", "createdAt", "runCount", "runCountExpected"),
}
"""Fields that not every server has, by the type they belong to; a server that refuses them is asked without."""

# What servers have had since the SDK 0.12.
_LIGHT_FIELDS = """
  id name displayName state tags historyLineCount sweepName group jobType commit readOnly createdAt heartbeatAt
  description notes user { name username }
"""
_BASE_FIELDS = _LIGHT_FIELDS + "config summaryMetrics systemMetrics historyKeys"

Fields = Collection[str]
"""The optional fields that a document asks for."""


def run_fields(more: Fields) -> str:
    """Returns what is asked of a run."""
    return _with(_BASE_FIELDS, more)


VIEWER = """
query Viewer { viewer { id entity username email teams { edges { node { name } } } } }
"""
VIEWER_AND_TYPES = f"""
query Viewer {{ viewer {{ id entity username email teams {{ edges {{ node {{ name }} }} }} }}
  {" ".join(f'{kind}: __type(name: "{kind}") {{ fields {{ name }} }}' for kind in OPTIONAL_FIELDS)}
}}"""


def _with(fields: str, more: Fields) -> str:
    return " ".join((fields, *more))


def run(more: Fields) -> str:
    """One run in full."""
    return f"""
query Run($entity: String!, $project: String!, $name: String!) {{
  project(name: $project, entityName: $entity) {{ run(name: $name) {{ {run_fields(more)} }} }}
}}"""


def runs(more: Fields) -> str:
    """A page of runs in full."""
    return _runs("Runs", run_fields(more))


def glance(more: Fields) -> str:
    """A page of runs without their documents."""
    return _runs("RunsGlance", _with(_LIGHT_FIELDS, more))


def _runs(operation: str, fields: str) -> str:
    return f"""
query {operation}($entity: String!, $project: String!, $cursor: String, $first: Int!, $order: String,
    $filters: JSONString) {{
  project(name: $project, entityName: $entity) {{
    runCount(filters: $filters)
    runs(filters: $filters, after: $cursor, first: $first, order: $order) {{
      edges {{ cursor node {{ {fields} }} }}
      pageInfo {{ hasNextPage }}
    }}
  }}
}}"""


def project_fields(more: Fields) -> str:
    """Returns what is asked of a project."""
    return _with("id name entityName createdAt isBenchmark", more)


def project(more: Fields) -> str:
    """One project."""
    return f"""
query Project($entity: String!, $project: String!) {{
  project(name: $project, entityName: $entity) {{ {project_fields(more)} }}
}}"""


def projects(more: Fields) -> str:
    """A page of an entity's projects, under the name that servers of every age have for them."""
    return f"""
query Projects($entity: String!, $cursor: String, $first: Int!) {{
  models(entityName: $entity, after: $cursor, first: $first) {{
    edges {{ node {{ {project_fields(more)} }} }}
    pageInfo {{ endCursor hasNextPage }}
  }}
}}"""


def sweep_fields(more: Fields) -> str:
    """Returns what is asked of a sweep."""
    return _with("id name state bestLoss config", more)


def sweep(more: Fields) -> str:
    """One sweep."""
    return f"""
query Sweep($entity: String!, $project: String!, $name: String!) {{
  project(name: $project, entityName: $entity) {{ sweep(sweepName: $name) {{ {sweep_fields(more)} }} }}
}}"""


def sweeps(more: Fields) -> str:
    """A page of a project's sweeps."""
    return f"""
query Sweeps($entity: String!, $project: String!, $cursor: String, $first: Int!) {{
  project(name: $project, entityName: $entity) {{
    sweeps(after: $cursor, first: $first) {{
      edges {{ node {{ {sweep_fields(more)} }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }}
}}"""


def change_run(more: Fields) -> str:
    """Changes a run by its storage id; null leaves a field as it is. Answers with the run as it is afterwards."""
    return f"""
mutation UpsertBucket($id: String!, $displayName: String, $notes: String, $description: String, $groupName: String,
    $jobType: String, $tags: [String!], $config: JSONString, $summaryMetrics: JSONString) {{
  upsertBucket(input: {{id: $id, displayName: $displayName, notes: $notes, description: $description,
      groupName: $groupName, jobType: $jobType, tags: $tags, config: $config, summaryMetrics: $summaryMetrics}}) {{
    bucket {{ {run_fields(more)} }}
  }}
}}"""


HISTORY_PAGE = """
query HistoryPage($entity: String!, $project: String!, $name: String!, $minStep: Int64!, $maxStep: Int64!,
    $samples: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { history(minStep: $minStep, maxStep: $maxStep, samples: $samples) }
  }
}"""

EVENTS = """
query RunEvents($entity: String!, $project: String!, $name: String!, $samples: Int!) {
  project(name: $project, entityName: $entity) { run(name: $name) { events(samples: $samples) } }
}"""

PARQUET_HISTORY = """
query RunParquetHistory($entity: String!, $project: String!, $name: String!, $liveKeys: [String!]!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { parquetHistory(liveKeys: $liveKeys) { parquetUrls liveData } }
  }
}"""
"""Asks for `Run.parquetHistory`, which not every server has."""
