"""What SDK 0.31 reads: one row for each operation of the protocol's tables, and the shape its readers demand."""

from typing import Any

from tests.local.documents.runs import FILE, FULL_FIELDS, FULL_RUN, LIGHT_FIELDS, LIGHT_RUN, Row
from tests.local.documents.shapes import Filled, Json, Null, Shape, moment, page_of, said, whole

VIEWER_FIELDS = """
    id name username email admin flags entity deletedAt
    apiKeys { edges { node { id name description } } }
    teams { edges { node { name } } }
"""
VIEWER: Shape = {
    "id": str,
    "name": str,
    "username": Null(str),
    "email": Null(str),
    "admin": Null(bool),
    "flags": Null(Json(dict)),
    "entity": Null(str),
    "deletedAt": Null(str, rare=True),
    "apiKeys": Null({"edges": list}),
    "teams": Null({"edges": Filled({"node": {"name": str}})}),
}
PROJECT_FIELDS = f"__typename id name entityName createdAt isBenchmark user {{ {VIEWER_FIELDS} }}"
PROJECT: Shape = {
    "__typename": said("Project"),
    "id": str,
    "name": str,
    "entityName": str,
    "createdAt": moment,
    "isBenchmark": bool,
    # Whose project it is, not all that is known of them.
    "user": Null({field: shape if field in ("id", "name") else object for field, shape in VIEWER.items()}),
}
FILE_FIELDS = "id name url(upload: $upload) directUrl sizeBytes mimetype updatedAt md5"
LINE: Shape = {"number": int, "timestamp": Null(moment), "level": str, "label": str, "line": str}


def query(name: str, fields: str, variables: str = "", beside: str = "") -> str:
    """A query of one run."""
    return f"""
        query {name}($project: String!, $entity: String!, $name: String!{variables}) {{
          project(name: $project, entityName: $entity) {{ {beside} run(name: $name) {{ {fields} }} }}
        }}"""


def answer(run: Shape, **beside: Shape) -> Shape:
    """The answer to it."""
    return {"project": {**beside, "run": run}}


def runs_query(fields: str) -> str:
    """A query of a list of runs."""
    return f"""
        query Runs(
          $project: String!, $entity: String!, $cursor: String, $perPage: Int = 50, $order: String, $filters: JSONString
        ) {{
          project(name: $project, entityName: $entity) {{
            internalId runCount(filters: $filters) readOnly
            runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {{
              edges {{ node {{ projectId {fields} }} cursor }} pageInfo {{ endCursor hasNextPage }}
            }}
          }}
        }}"""


def runs_answer(run: Shape) -> Shape:
    """The answer to it."""
    runs = page_of({"projectId": whole, **run})
    return {"project": {"internalId": whole, "runCount": said(1), "readOnly": bool, "runs": runs}}


RUNS_VARIABLES: dict[str, Any] = {"order": "+created_at", "filters": '{"name": "full"}', "cursor": None}
FILE_QUERY = query(
    "RunFiles",
    f"""fileCount files(names: $names, after: $cursor, first: $limit, pattern: $pattern) {{
          edges {{ node {{ {FILE_FIELDS} }} cursor }} pageInfo {{ endCursor hasNextPage }}
        }}""",
    ", $cursor: String, $limit: Int = 50, $names: [String] = [], $upload: Boolean = false, $pattern: String",
    "internalId",
)
FILE_ANSWER = answer(
    {"fileCount": said(2), "files": page_of({**FILE, "directUrl": Null(str)})}, internalId=whole
)
PEOPLE = [
    Row(
        "Viewer",
        "query Viewer { viewer { id entity username email flags teams { edges { node { name } } } } }",
        {
            "viewer": {
                field: VIEWER[field] for field in ("id", "entity", "username", "email", "flags", "teams")
            }
        },
    ),
    Row(
        "GetDefaultEntity",
        "query GetDefaultEntity { viewer { id entity } }",
        {"viewer": {"id": str, "entity": str}},
    ),
    Row("GetViewer", f"query GetViewer {{ viewer {{ {VIEWER_FIELDS} }} }}", {"viewer": VIEWER}),
    Row(
        "OrganizationCoreWeaveOrganizationID",
        """query OrganizationCoreWeaveOrganizationID($entity: String!) {
             entity(name: $entity) { organization { coreWeaveOrganizationId } }
           }""",
        {"entity": {"organization": Null({"coreWeaveOrganizationId": Null(str)}, rare=True)}},
    ),
]
SERVER = [
    Row(
        "ServerFeaturesQuery",
        "query ServerFeaturesQuery { serverInfo { features { name isEnabled } } }",
        {"serverInfo": {"features": Filled({"name": str, "isEnabled": bool})}},
    ),
    Row(
        "ServerInfo",
        """query ServerInfo { serverInfo {
             cliVersionInfo latestLocalVersionInfo { outOfDate latestVersionString versionOnThisInstanceString }
           } }""",
        {
            "serverInfo": {
                "cliVersionInfo": {"min_cli_version": str, "max_cli_version": str},
                "latestLocalVersionInfo": {
                    "outOfDate": bool,
                    "latestVersionString": str,
                    "versionOnThisInstanceString": str,
                },
            }
        },
    ),
]
PROJECTS = [
    Row(
        "GetProjects",
        f"""query GetProjects($entity: String, $cursor: String, $perPage: Int = 50) {{
              models(entityName: $entity, after: $cursor, first: $perPage) {{
                pageInfo {{ endCursor hasNextPage }} edges {{ node {{ {PROJECT_FIELDS} }} }}
              }}
            }}""",
        {"models": page_of(PROJECT, cursor=False)},
    ),
    Row(
        "GetProject",
        f"""query GetProject($project: String!, $entity: String!) {{
              project(name: $project, entityName: $entity) {{ {PROJECT_FIELDS} }}
            }}""",
        {"project": PROJECT},
    ),
    Row(
        "IsProjectReadOnly",
        """query IsProjectReadOnly($entity: String!, $project: String!) {
             project(entityName: $entity, name: $project) { readOnly }
           }""",
        {"project": {"readOnly": bool}},
    ),
    Row(
        "ProjectViews",
        """query ProjectViews(
             $project: String!, $entity: String!, $cursor: String, $limit: Int!, $type: String = "runs", $view: String
           ) {
             project(name: $project, entityName: $entity) {
               allViews(viewType: $type, viewName: $view, first: $limit, after: $cursor) {
                 edges { node {
                   id name displayName description user { username photoUrl email } spec updatedAt createdAt
                 } cursor }
                 pageInfo { endCursor hasNextPage }
               }
             }
           }""",
        {
            "project": {
                "allViews": {"edges": said([]), "pageInfo": {"endCursor": None, "hasNextPage": said(False)}}
            }
        },
        {"limit": 50},
    ),
]
RUNS = [
    Row("Runs, full", runs_query(FULL_FIELDS), runs_answer(FULL_RUN), RUNS_VARIABLES),
    Row("Runs, light", runs_query(LIGHT_FIELDS), runs_answer(LIGHT_RUN), {**RUNS_VARIABLES, "perPage": None}),
    Row(
        "Run, full",
        query("Run", "projectId " + FULL_FIELDS),
        answer({"projectId": whole, **FULL_RUN}),
        bare=True,
    ),
    Row("Run, light", query("Run", LIGHT_FIELDS), answer(LIGHT_RUN), bare=True),
    Row("RunState", query("RunState", "state"), answer({"state": str}), bare=True),
    Row("RunStoppedStatus", query("RunStoppedStatus", "stopped"), answer({"stopped": bool}), bare=True),
    Row(
        "QueryRunInfo",
        query("QueryRunInfo", "displayName summaryMetrics"),
        answer({"displayName": str, "summaryMetrics": Json(dict)}),
        bare=True,
    ),
    Row(
        "RunResumeStatus",
        """query RunResumeStatus($project: String, $entity: String, $name: String!) {
             model(name: $project, entityName: $entity) {
               id name entity { id name }
               bucket(name: $name, missingOk: true) {
                 id name summaryMetrics displayName logLineCount historyLineCount eventsLineCount historyTail eventsTail
                 config tags notes wandbConfig(keys: ["t"])
               }
             }
           }""",
        {
            "model": {
                "id": str,
                "name": str,
                "entity": {"id": str, "name": str},
                "bucket": {
                    "id": str,
                    "name": str,
                    "summaryMetrics": Json(dict),
                    "displayName": str,
                    "logLineCount": int,
                    "historyLineCount": int,
                    "eventsLineCount": int,
                    "historyTail": Json([Json(dict)]),
                    "eventsTail": Json([Json(dict)]),
                    "config": Json(dict),
                    "tags": [str],
                    "notes": Null(str),
                    "wandbConfig": Json(dict),
                },
            }
        },
        bare=True,
    ),
]
HISTORIES = [
    Row(
        "RunHistoryKeys",
        query("RunHistoryKeys", "historyKeys"),
        answer({"historyKeys": FULL_RUN["historyKeys"]}),
        bare=True,
    ),
    Row(
        "RunFullHistory",
        query("RunFullHistory", "history(samples: $samples) events(samples: $samples)", ", $samples: Int"),
        answer({"history": [Json(dict)], "events": [Json(dict)]}),
        {"samples": 500},
        bare=True,
    ),
    Row(
        "RunSampledHistory",
        query("RunSampledHistory", "sampledHistory(specs: $specs)", ", $specs: [JSONString!]!"),
        answer({"sampledHistory": Filled(Filled({"_step": int, "loss": object}))}),
        {
            "specs": [
                '{"keys": ["_step", "loss"], "samples": 500}',
                '{"keys": ["loss", "_step"], "samples": 1}',
            ]
        },
    ),
    Row(
        "HistoryPage",
        query(
            "HistoryPage",
            "history(minStep: $minStep, maxStep: $maxStep, samples: $size)",
            ", $minStep: Int64!, $maxStep: Int64!, $size: Int!",
        ),
        answer({"history": [Json({"_step": int, "loss": object})]}),
        {"minStep": 0, "maxStep": 1000, "size": 1000},
        bare=True,
    ),
    Row(
        "SampledHistoryPage",
        query("SampledHistoryPage", "sampledHistory(specs: [$spec])", ", $spec: JSONString!"),
        answer({"sampledHistory": Filled(Filled({"_step": int, "loss": object}))}),
        {"spec": '{"keys": ["_step", "loss", "_step"], "minStep": 0, "maxStep": 9, "samples": 10}'},
    ),
    Row(
        "RunParquetHistory",
        query(
            "RunParquetHistory",
            "parquetHistory(liveKeys: $keys) { parquetUrls liveData }",
            ", $keys: [String!]!",
        ),
        answer({"parquetHistory": {"parquetUrls": list, "liveData": Null(list, rare=True)}}),
        {"keys": ["_step"]},
        bare=True,
    ),
    Row(
        "RunConsoleLogTail",
        query(
            "RunConsoleLogTail",
            "logLineCount logLines(last: $last) { edges { node { number timestamp level label line } } }",
            ", $last: Int!",
        ),
        answer({"logLineCount": int, "logLines": {"edges": [{"node": {**LINE, "level": said("error")}}]}}),
        {"last": 1},
        bare=True,
    ),
    Row(
        "RunConsoleLogPage",
        query(
            "RunConsoleLogPage",
            """logLines(first: $first, after: $after, useImprovedPagination: true) {
                 edges { node { number timestamp level label line } } pageInfo { endCursor hasNextPage }
               }""",
            ", $first: Int, $after: String",
        ),
        answer(
            {
                "logLines": {
                    "edges": [{"node": LINE}],
                    "pageInfo": {"endCursor": Null(str), "hasNextPage": said(False)},
                }
            }
        ),
        {"first": 1000, "after": None},
        bare=True,
    ),
]
FILES = [
    Row("RunFiles", FILE_QUERY, FILE_ANSWER, {"cursor": None, "limit": 50, "names": [], "pattern": None}),
    Row("RunFiles, named", FILE_QUERY, FILE_ANSWER, {"names": ["a.txt"]}),
    Row("RunFiles, to upload to", FILE_QUERY, FILE_ANSWER, {"upload": True, "pattern": "%.txt"}),
]
ROWS = [*PEOPLE, *SERVER, *PROJECTS, *RUNS, *HISTORIES, *FILES]
