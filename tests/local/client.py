"""A plain HTTP client of the local server, for tests that look at the wire."""

import json
from dataclasses import dataclass
from typing import Any

import requests

UPSERT = """
mutation Upsert($input: UpsertBucketInput!) {
  upsertBucket(input: $input) { bucket { id name displayName state updatedAt config summaryMetrics tags } inserted }
}"""
RUNS = """
query Runs($project: String!, $entity: String!, $cursor: String, $perPage: Int = 50, $order: String,
           $filters: JSONString) {
  project(name: $project, entityName: $entity) {
    internalId runCount(filters: $filters) readOnly
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {
      edges { node { projectId ...Full } cursor }
      pageInfo { endCursor hasNextPage }
    }
  }
}
fragment Full on Run {
  id tags name displayName sweepName state config group jobType commit readOnly createdAt heartbeatAt updatedAt
  description notes systemMetrics summaryMetrics historyLineCount user { name username } historyKeys
}"""


@dataclass
class Client:
    """One user of a server; ``entity`` is theirs alone, so that tests do not meet each other's runs."""

    url: str
    entity: str
    api_key: str
    project: str = "p"

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request with this user's key unless ``auth`` says otherwise."""
        options.setdefault("auth", ("api", self.api_key))
        address = path if path.startswith("http") else self.url + path
        return requests.request(method, address, timeout=20, **options)

    def post(self, document: str, /, **variables: Any) -> requests.Response:
        """Send a GraphQL document as the SDK does, with an empty operation name."""
        body = {"query": document, "variables": variables, "operationName": ""}
        return self.request("POST", "/graphql", json=body)

    def query(self, document: str, /, **variables: Any) -> Any:
        """The data of an answer without errors."""
        response = self.post(document, **variables)
        body = response.json()
        assert response.status_code == 200 and "errors" not in body, body
        return body["data"]

    def errors(self, document: str, /, **variables: Any) -> tuple[int, str]:
        """(status, text) of an answer with errors."""
        response = self.post(document, **variables)
        return response.status_code, "; ".join(error["message"] for error in response.json()["errors"])

    def upsert(self, name: str | None = None, **fields: Any) -> Any:
        """Make or change a run; dictionaries become the JSON texts they are on the wire."""
        if name is not None:
            fields = {"name": name, "modelName": self.project, "entityName": self.entity, **fields}
        sent = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in fields.items()}
        return self.query(UPSERT, input=sent)["upsertBucket"]

    def stream(self, run: str, check: bool = True, **body: Any) -> requests.Response:
        """Send a file_stream request."""
        path = f"/files/{self.entity}/{self.project}/{run}/file_stream"
        response = self.request("POST", path, json=body)
        assert not check or response.status_code == 200, response.text
        return response

    def log(self, run: str, offset: int, rows: list[Any]) -> None:
        """Send history rows; texts go as they are."""
        content = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        self.stream(run, files={"wandb-history.jsonl": {"offset": offset, "content": content}})

    def run(self, name: str, selection: str) -> Any:
        """Fields of a run."""
        document = "query R($p: String!, $e: String!, $n: String!) { project(name: $p, entityName: $e) "
        document += "{ run(name: $n) { " + selection + " } } }"
        return self.query(document, p=self.project, e=self.entity, n=name)["project"]["run"]

    def names(self, filters: Any = None, order: str | None = None, first: int = 50) -> list[str]:
        """The ids of the runs that a list answers."""
        found = self.runs(filters=json.dumps(filters or {}), order=order, perPage=first)
        return [edge["node"]["name"] for edge in found["runs"]["edges"]]

    def runs(self, **variables: Any) -> Any:
        """The project with a page of its runs."""
        return self.query(RUNS, project=self.project, entity=self.entity, **variables)["project"]
