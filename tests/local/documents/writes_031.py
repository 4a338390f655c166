"""What SDK 0.31 writes: one row for each mutation of the protocol's tables, and the shape its readers demand."""

from tests.local.documents.runs import FULL_FIELDS, FULL_RUN, Row
from tests.local.documents.shapes import Json, Null, Shape, said

BUCKET: Shape = {
    "id": str,
    "name": str,
    "displayName": str,
    "description": Null(str),
    "config": Null(Json(dict)),
    "sweepName": Null(str, rare=True),
    "project": {"id": str, "name": str, "entity": {"id": str, "name": str}},
    "historyLineCount": Null(int),
}
CREATED_PROJECT: Shape = {
    "id": str,
    "name": str,
    "entityName": str,
    "description": Null(str, rare=True),
    "access": Null(str),
    "views": Null(Json(dict)),
}
UPSERTS = [
    Row(
        "UpsertBucket of a logging run",
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
                 id name displayName description config sweepName historyLineCount
                 project { id name entity { id name } }
               }
               inserted
             }
           }""",
        {"upsertBucket": {"bucket": BUCKET, "inserted": said(False)}},
        {"storage": None, "config": '{"a": {"value": 1}}', "tags": None, "notes": None, "displayName": None},
        bare=True,
    ),
    Row(
        "UpsertBucket of create_run",
        """mutation UpsertBucket($project: String, $entity: String, $name: String!, $state: String) {
             upsertBucket(input: {modelName: $project, entityName: $entity, name: $name, state: $state}) {
               bucket { project { name entity { name } } id name } inserted
             }
           }""",
        {
            "upsertBucket": {
                "bucket": {"project": {"name": str, "entity": {"name": str}}, "id": str, "name": str},
                "inserted": said(False),
            }
        },
        {"state": "running"},
        bare=True,
    ),
    Row(
        "UpsertBucket of Run.update",
        f"""mutation UpsertBucket(
              $id: String!, $description: String, $shown: String, $notes: String, $tags: [String!],
              $config: JSONString!, $groupName: String, $jobType: String
            ) {{
              upsertBucket(input: {{
                id: $id, description: $description, displayName: $shown, notes: $notes, tags: $tags, config: $config,
                groupName: $groupName, jobType: $jobType
              }}) {{ bucket {{ {FULL_FIELDS} }} }}
            }}""",
        {"upsertBucket": {"bucket": FULL_RUN}},
        {"config": "{}", "shown": None},
        bare=True,
    ),
    Row(
        "UpsertBucket of Summary.update",
        """mutation UpsertBucket($id: String, $summaryMetrics: JSONString) {
             upsertBucket(input: {id: $id, summaryMetrics: $summaryMetrics}) { bucket { id } }
           }""",
        {"upsertBucket": {"bucket": {"id": str}}},
        {"summaryMetrics": '{"loss": NaN}'},
        bare=True,
    ),
]
FILES = [
    Row(
        "CreateRunFiles",
        """mutation CreateRunFiles($entity: String!, $project: String!, $name: String!, $files: [String!]!) {
             createRunFiles(input: {entityName: $entity, projectName: $project, runName: $name, files: $files}) {
               runID uploadHeaders files { name uploadUrl }
             }
           }""",
        {
            "createRunFiles": {
                "runID": str,
                "uploadHeaders": said([]),
                "files": [{"name": str, "uploadUrl": lambda url: url.startswith("http://")}],
            }
        },
        {"files": ["a.txt", "media/x/ü.png"]},
        bare=True,
    ),
    Row(
        "MarkRunFilesUploaded",
        """mutation MarkRunFilesUploaded($entity: String!, $project: String!, $name: String!, $files: [String!]!) {
             markRunFilesUploaded(
               input: {entityName: $entity, projectName: $project, runName: $name, files: $files}
             ) { success }
           }""",
        {"markRunFilesUploaded": {"success": said(True)}},
        {"files": ["a.txt", "never arrived"]},
        bare=True,
    ),
    Row(
        "deleteFiles",
        """mutation deleteFiles($files: [ID!]!, $projectId: Int) {
             deleteFiles(input: {files: $files, projectId: $projectId}) { success }
           }""",
        {"deleteFiles": {"success": said(True)}},
        {"files": ["RmlsZTp2MTo5OTk5OTk="], "projectId": 1},
    ),
]
OTHERS = [
    Row(
        "StopRun",
        "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }",
        {"stopRun": {"success": said(True)}},
        bare=True,
    ),
    Row(
        "UpdateRunState",
        """mutation UpdateRunState($id: ID!, $state: String!) {
             updateRunState(input: {id: $id, state: $state}) { success }
           }""",
        {"updateRunState": {"success": said(True)}},
        {"state": "failed"},
        bare=True,
    ),
    Row(
        "NotifyScriptableRunAlert",
        """mutation NotifyScriptableRunAlert(
             $entity: String!, $project: String!, $name: String!, $title: String!, $text: String!,
             $severity: AlertSeverity = INFO, $waitDuration: Duration
           ) {
             notifyScriptableRunAlert(input: {
               entityName: $entity, projectName: $project, runName: $name, title: $title, text: $text,
               severity: $severity, waitDuration: $waitDuration
             }) { success }
           }""",
        {"notifyScriptableRunAlert": {"success": said(True)}},
        {"title": "a title", "text": "a text", "waitDuration": 60000},
        bare=True,
    ),
    Row(
        "CreateProject",
        """mutation CreateProject($project: String, $entity: String) {
             result: upsertModel(input: {name: $project, entityName: $entity}) {
               project { ...Created } model { ...Created } inserted
             }
           }
           fragment Created on Project { id name entityName description access views }""",
        {"result": {"project": CREATED_PROJECT, "model": CREATED_PROJECT, "inserted": said(False)}},
    ),
    Row(
        "DeleteRun",
        "mutation DeleteRun($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }",
        {"deleteRun": {"clientMutationId": None}},
        {"deleteArtifacts": False},
        bare=True,
    ),
    Row(
        "DeleteRun, with artifacts",
        """mutation DeleteRun($id: ID!, $deleteArtifacts: Boolean) {
             deleteRun(input: {id: $id, deleteArtifacts: $deleteArtifacts}) { clientMutationId }
           }""",
        {"deleteRun": {"clientMutationId": None}},
        {"deleteArtifacts": True},
        bare=True,
    ),
]
ROWS = [*UPSERTS, *FILES, *OTHERS]
