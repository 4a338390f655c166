"""The GraphQL texts, named; there is no other GraphQL text anywhere in the daemon."""

from __future__ import annotations

_LIGHT_FIELDS = """
  id name displayName state tags historyLineCount sweepName group jobType commit readOnly createdAt heartbeatAt
  description notes projectId user { name username }
"""
_BASE_FIELDS = _LIGHT_FIELDS + "config summaryMetrics systemMetrics historyKeys "
# Fields that not every server has; a server that refuses a document with them is asked without.
_RICH_FIELDS = "updatedAt"


def run_fields(*, rich: bool) -> str:
    """Returns what is asked of a run."""
    return _BASE_FIELDS + (_RICH_FIELDS if rich else "")


VIEWER = """
query Viewer { viewer { id entity username email teams { edges { node { name } } } } }
"""


def run(*, rich: bool) -> str:
    """One run in full."""
    return f"""
query Run($entity: String!, $project: String!, $name: String!) {{
  project(name: $project, entityName: $entity) {{ run(name: $name) {{ {run_fields(rich=rich)} }} }}
}}"""


def runs(*, rich: bool) -> str:
    """A page of runs in full."""
    return _runs("Runs", run_fields(rich=rich))


def glance(*, rich: bool) -> str:
    """A page of runs without their documents."""
    return _runs("RunsGlance", _LIGHT_FIELDS + (_RICH_FIELDS if rich else ""))


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


def project_fields(*, rich: bool) -> str:
    """Returns what is asked of a project."""
    return "id name entityName createdAt isBenchmark" + (" description" if rich else "")


def project(*, rich: bool) -> str:
    """One project."""
    return f"""
query Project($entity: String!, $project: String!) {{
  project(name: $project, entityName: $entity) {{ {project_fields(rich=rich)} }}
}}"""


def projects(*, rich: bool) -> str:
    """A page of an entity's projects, under the name that servers of every age have for them."""
    return f"""
query Projects($entity: String!, $cursor: String, $first: Int!) {{
  models(entityName: $entity, after: $cursor, first: $first) {{
    edges {{ node {{ {project_fields(rich=rich)} }} }}
    pageInfo {{ endCursor hasNextPage }}
  }}
}}"""


def sweep_fields(*, rich: bool) -> str:
    """Returns what is asked of a sweep."""
    more = " displayName method createdAt runCount runCountExpected" if rich else ""
    return "id name state bestLoss config" + more


def sweep(*, rich: bool) -> str:
    """One sweep."""
    return f"""
query Sweep($entity: String!, $project: String!, $name: String!) {{
  project(name: $project, entityName: $entity) {{ sweep(sweepName: $name) {{ {sweep_fields(rich=rich)} }} }}
}}"""


def sweeps(*, rich: bool) -> str:
    """A page of a project's sweeps."""
    return f"""
query Sweeps($entity: String!, $project: String!, $cursor: String, $first: Int!) {{
  project(name: $project, entityName: $entity) {{
    sweeps(after: $cursor, first: $first) {{
      edges {{ node {{ {sweep_fields(rich=rich)} }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }}
}}"""


def change_run(*, rich: bool) -> str:
    """Changes a run by its storage id; null leaves a field as it is. Answers with the run as it is afterwards."""
    return f"""
mutation UpsertBucket($id: String!, $displayName: String, $notes: String, $description: String, $groupName: String,
    $jobType: String, $tags: [String!], $config: JSONString, $summaryMetrics: JSONString) {{
  upsertBucket(input: {{id: $id, displayName: $displayName, notes: $notes, description: $description,
      groupName: $groupName, jobType: $jobType, tags: $tags, config: $config, summaryMetrics: $summaryMetrics}}) {{
    bucket {{ {run_fields(rich=rich)} }}
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
