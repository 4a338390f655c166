"""What SDKs from 0.8 to 0.12 send, in the names of their day: models, buckets, and one name for all operations."""

from tests.local.documents.runs import FILE, FULL_FIELDS, FULL_RUN, Row
from tests.local.documents.shapes import Filled, Json, Null, moment, page_of, said, whole

OLD_RUN = {
    field: shape
    for field, shape in FULL_RUN.items()
    if field not in ("sweepName", "group", "jobType", "historyKeys")
}
OLD_FIELDS = " ".join(field for field in OLD_RUN if field != "user") + " user { name username }"
PROJECT_FIELDS = "id name entityName createdAt isBenchmark"
PROJECT = {"id": str, "name": str, "entityName": str, "createdAt": moment, "isBenchmark": bool}
FILES = """
    fileCount files(names: $fileNames, after: $fileCursor, first: $fileLimit) {
      edges { node { id name url(upload: $upload) sizeBytes mimetype updatedAt md5 } cursor }
      pageInfo { endCursor hasNextPage }
    }"""
RESUMED = {
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
}


def run_query(fields: str, variables: str = "") -> str:
    """A query of one run: all of them were called Run."""
    return f"""
        query Run($project: String!, $entity: String!, $name: String!{variables}) {{
          project(name: $project, entityName: $entity) {{ run(name: $name) {{ {fields} }} }}
        }}"""


READS = [
    Row(
        "viewer",
        "query Viewer { viewer { id flags entity username email teams { edges { node { name } } } } }",
        {
            "viewer": {
                "id": str,
                "flags": Json(dict),
                "entity": str,
                "username": str,
                "email": str,
                "teams": {"edges": Filled({"node": {"name": str}})},
            }
        },
    ),
    Row(
        "projects, with a cursor on each",
        f"""query Projects($entity: String, $cursor: String, $perPage: Int = 50) {{
              models(entityName: $entity, after: $cursor, first: $perPage) {{
                edges {{ node {{ {PROJECT_FIELDS} }} cursor }} pageInfo {{ endCursor hasNextPage }}
              }}
            }}""",
        {"models": page_of(PROJECT)},
    ),
    Row(
        "one project",
        f"""query Model($project: String!, $entity: String!) {{
              model(name: $project, entityName: $entity) {{ {PROJECT_FIELDS} description }}
            }}""",
        {"model": {**PROJECT, "description": Null(str, rare=True)}},
    ),
    Row(
        "runs",
        f"""query Runs(
              $project: String!, $entity: String!, $cursor: String, $perPage: Int = 50, $order: String,
              $filters: JSONString
            ) {{
              project(name: $project, entityName: $entity) {{
                runCount(filters: $filters) readOnly
                runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {{
                  edges {{ node {{ ...Fragment }} cursor }} pageInfo {{ endCursor hasNextPage }}
                }}
              }}
            }}
            fragment Fragment on Run {{ {FULL_FIELDS} }}""",
        {"project": {"runCount": said(1), "readOnly": bool, "runs": page_of(FULL_RUN)}},
        {"order": "-created_at", "filters": '{"name": "full"}'},
    ),
    Row(
        "runs without an order",
        """query Runs($project: String!, $entity: String!, $order: String, $filters: JSONString) {
             project(name: $project, entityName: $entity) {
               runCount(filters: $filters) runs(filters: $filters, first: 50, order: $order) { edges { node { name } } }
             }
           }""",
        {"project": {"runCount": said(2), "runs": {"edges": Filled({"node": {"name": str}})}}},
        {"order": None, "filters": "{}"},
    ),
    Row("run of 0.12", run_query(FULL_FIELDS), {"project": {"run": FULL_RUN}}, bare=True),
    Row("run of 0.8", run_query(OLD_FIELDS), {"project": {"run": OLD_RUN}}, bare=True),
    Row(
        "state",
        run_query("state"),
        {"project": {"run": {"state": str}}},
        bare=True,
    ),
    Row(
        "last step",
        run_query("historyKeys"),
        {"project": {"run": {"historyKeys": Null({"sets": list, "keys": dict, "lastStep": int})}}},
        bare=True,
    ),
    Row(
        "full history",
        run_query("history(samples: $samples)", ", $samples: Int"),
        {"project": {"run": {"history": [Json(dict)]}}},
        {"samples": 500},
        bare=True,
    ),
    Row(
        "events",
        run_query("events(samples: $samples)", ", $samples: Int"),
        {"project": {"run": {"events": [Json(dict)]}}},
        {"samples": 500},
        bare=True,
    ),
    Row(
        "sampled history",
        run_query("sampledHistory(specs: $specs)", ", $specs: [JSONString!]!"),
        {"project": {"run": {"sampledHistory": Filled(Filled({"loss": object}))}}},
        {"specs": ['{"keys": ["loss"], "minStep": 0, "maxStep": 1000, "samples": 1000}']},
    ),
    Row(
        "scanned history",
        """query HistoryPage(
             $entity: String!, $project: String!, $name: String!, $minStep: Int64!, $maxStep: Int64!, $pageSize: Int!
           ) {
             project(name: $project, entityName: $entity) {
               run(name: $name) { history(minStep: $minStep, maxStep: $maxStep, samples: $pageSize) }
             }
           }""",
        {"project": {"run": {"history": [Json({"_step": int, "loss": object})]}}},
        {"minStep": "0", "maxStep": "500", "pageSize": 500},
        bare=True,
    ),
    Row(
        "files",
        run_query(
            FILES,
            ", $fileCursor: String, $fileLimit: Int = 50, $fileNames: [String] = [], $upload: Boolean = false",
        ),
        {"project": {"run": {"fileCount": whole, "files": page_of(FILE)}}},
        {"fileLimit": 50},
    ),
    Row(
        "addresses to download from",
        """query Model($project: String!, $entity: String!, $name: String!, $files: [String]) {
             model(name: $project, entityName: $entity) {
               bucket(name: $name) { files(names: $files) { edges { node { name url md5 updatedAt } } } }
             }
           }""",
        {
            "model": {
                "bucket": {
                    "files": {"edges": [{"node": {"name": str, "url": str, "md5": str, "updatedAt": moment}}]}
                }
            }
        },
        {"files": ["a.txt", "media/b.json"]},
    ),
    Row(
        "addresses to upload to",
        """query Model($project: String!, $entity: String!, $name: String!, $files: [String]!, $description: String) {
             model(name: $project, entityName: $entity) {
               bucket(name: $name, desc: $description) {
                 id
                 files(names: $files) {
                   uploadHeaders edges { node { name url(upload: true) updatedAt } }
                 }
               }
             }
           }""",
        {
            "model": {
                "bucket": {
                    "id": str,
                    "files": {
                        "uploadHeaders": said([]),
                        "edges": Filled(
                            {"node": {"name": str, "url": str, "updatedAt": Null(moment, rare=True)}}
                        ),
                    },
                }
            }
        },
        {"files": ["new.txt", "a.txt"], "description": None},
        bare=True,
    ),
    Row(
        "whether to resume",
        """query Model($project: String, $entity: String, $name: String!) {
             model(name: $project, entityName: $entity) {
               id name entity { id name }
               bucket(name: $name, missingOk: true) {
                 id name summaryMetrics displayName logLineCount historyLineCount eventsLineCount historyTail
                 eventsTail config
               }
             }
           }""",
        {"model": {"id": str, "name": str, "entity": {"id": str, "name": str}, "bucket": RESUMED}},
        bare=True,
    ),
    Row(
        "what to restore",
        """query Model($project: String!, $entity: String!, $name: String!) {
             model(name: $project, entityName: $entity) {
               bucket(name: $name) { config commit files(names: ["wandb-metadata.json"]) { edges { node { url } } } }
             }
           }""",
        {
            "model": {
                "bucket": {
                    "config": Json(dict),
                    "commit": Null(str),
                    "files": {"edges": [{"node": {"url": str}}]},
                }
            }
        },
        bare=True,
    ),
    Row(
        "whether to stop",
        """query RunStoppedStatus($project: String, $entity: String, $name: String!) {
             project(name: $project, entityName: $entity) { run(name: $name) { stopped } }
           }""",
        {"project": {"run": {"stopped": bool}}},
        bare=True,
    ),
    Row(
        "what the server can",
        """query ProbeServerCapabilities {
             QueryType: __type(name: "Query") { fields { name } }
             MutationType: __type(name: "Mutation") { fields { name } }
             ServerInfoType: __type(name: "ServerInfo") { fields { name } }
           }""",
        {
            "QueryType": {"fields": Filled({"name": str})},
            "MutationType": {"fields": Filled({"name": str})},
            "ServerInfoType": {"fields": Filled({"name": str})},
        },
    ),
    Row(
        "what an artifact may be made of",
        'query ProbeInput { CreateArtifactInput: __type(name: "CreateArtifactInput") { inputFields { name } } }',
        {"CreateArtifactInput": {"inputFields": Filled({"name": str})}},
    ),
]
WRITES = [
    Row(
        "a run is set up",
        """mutation UpsertBucket(
             $storage: String, $name: String, $project: String, $entity: String, $groupName: String,
             $description: String, $displayName: String, $notes: String, $commit: String, $config: JSONString,
             $host: String, $debug: Boolean, $program: String, $repo: String, $jobType: String, $state: String,
             $sweep: String, $tags: [String!], $summaryMetrics: JSONString
           ) {
             upsertBucket(input: {
               id: $storage, name: $name, groupName: $groupName, modelName: $project, entityName: $entity,
               description: $description, displayName: $displayName, notes: $notes, config: $config, commit: $commit,
               host: $host, debug: $debug, jobProgram: $program, jobRepo: $repo, jobType: $jobType, state: $state,
               sweep: $sweep, tags: $tags, summaryMetrics: $summaryMetrics
             }) {
               bucket {
                 id name displayName description config sweepName project { id name entity { id name } }
               }
               inserted
             }
           }""",
        {
            "upsertBucket": {
                "bucket": {
                    "id": str,
                    "name": str,
                    "displayName": str,
                    "description": Null(str),
                    "config": Json(dict),
                    "sweepName": Null(str, rare=True),
                    "project": {"id": str, "name": str, "entity": {"id": str, "name": str}},
                },
                "inserted": said(False),
            }
        },
        {"config": "{}", "description": None},
        bare=True,
    ),
    Row(
        "a run is made without a state",
        """mutation UpsertBucket($project: String, $entity: String, $name: String!) {
             upsertBucket(input: {modelName: $project, entityName: $entity, name: $name}) {
               bucket { project { name entity { name } } id name } inserted
             }
           }""",
        {
            "upsertBucket": {
                "bucket": {"project": {"name": str, "entity": {"name": str}}, "id": str, "name": str},
                "inserted": said(False),
            }
        },
        bare=True,
    ),
    Row(
        "a run is changed",
        f"""mutation UpsertBucket(
              $id: String!, $description: String, $display_name: String, $notes: String, $tags: [String!],
              $config: JSONString!, $groupName: String
            ) {{
              upsertBucket(input: {{
                id: $id, description: $description, displayName: $display_name, notes: $notes, tags: $tags,
                config: $config, groupName: $groupName
              }}) {{ bucket {{ ...Fragment }} }}
            }}
            fragment Fragment on Run {{ {FULL_FIELDS} }}""",
        {"upsertBucket": {"bucket": FULL_RUN}},
        {"config": "{}"},
        bare=True,
    ),
    Row(
        "a summary is changed",
        """mutation UpsertBucket($id: String, $summaryMetrics: JSONString) {
             upsertBucket(input: {id: $id, summaryMetrics: $summaryMetrics}) { bucket { id } }
           }""",
        {"upsertBucket": {"bucket": {"id": str}}},
        {"summaryMetrics": "{}"},
        bare=True,
    ),
    Row(
        "files are deleted",
        "mutation deleteFiles($files: [ID!]!) { deleteFiles(input: {files: $files}) { success } }",
        {"deleteFiles": {"success": said(True)}},
        {"files": []},
    ),
    Row(
        "a project is made",
        """mutation UpsertModel($project: String!, $id: String, $entity: String!, $description: String) {
             upsertModel(input: {id: $id, name: $project, entityName: $entity, description: $description}) {
               model { name description }
             }
           }""",
        {"upsertModel": {"model": {"name": str, "description": said("about it")}}},
        {"id": None, "description": "about it"},
    ),
    Row(
        "a run is deleted",
        "mutation DeleteRun($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }",
        {"deleteRun": {"clientMutationId": None}},
        bare=True,
    ),
]
