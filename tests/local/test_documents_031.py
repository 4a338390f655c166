"""Documents as SDK 0.31 sends them: each answered in the shape its readers demand, null only where they allow it."""

import importlib
from typing import Any

import pytest

from runtap_local.graphql.refusals import ARTIFACTS
from tests.local.client import Client
from tests.local.documents import reads_031, writes_031
from tests.local.documents.reads_031 import FILE_ANSWER, FILE_QUERY, VIEWER, VIEWER_FIELDS
from tests.local.documents.runs import Row, populated_user
from tests.local.documents.shapes import Null, check
from tests.support.local_server import LocalServer


@pytest.fixture(scope="module")
def place(server: LocalServer) -> Client:
    """A user for all that only read."""
    return populated_user(server)


@pytest.mark.parametrize("row", reads_031.ROWS, ids=lambda row: row.name)
def test_reads(place: Client, row: Row) -> None:
    row.check(place)


@pytest.mark.parametrize("row", writes_031.ROWS, ids=lambda row: row.name)
def test_writes(server: LocalServer, row: Row) -> None:
    row.check(populated_user(server))


@pytest.mark.parametrize("row", [row for row in reads_031.ROWS if row.bare], ids=lambda row: row.name)
def test_what_is_not_there_is_null(place: Client, row: Row) -> None:
    names = {"project": place.project, "entity": place.entity, "name": "none", **row.variables}
    field, below = ("model", "bucket") if "model(" in row.document else ("project", "run")
    assert place.query(row.document, **names)[field][below] is None
    assert place.query(row.document, **{**names, "project": "none"})[field] is None
    assert place.query(row.document, **{**names, "entity": "local"})[field] is None


def test_a_missing_file_has_a_node_in_its_place(place: Client) -> None:
    answer = Row("", FILE_QUERY, FILE_ANSWER, {"names": ["nope"]}).send(place, "full")
    check(answer, FILE_ANSWER)
    node = answer["project"]["run"]["files"]["edges"][0]["node"]
    assert (node["sizeBytes"], node["updatedAt"], node["md5"]) == (0, None, "0")


def test_users_and_teams(place: Client) -> None:
    users = f"query SearchUsers($query: String) {{ users(query: $query) {{ edges {{ node {{ {VIEWER_FIELDS} }} }} }} }}"
    check(place.query(users, query=place.entity), {"users": {"edges": [{"node": VIEWER}]}}, full=True)
    assert place.query(users, query="nobody")["users"]["edges"] == []
    member = "id admin pending email username name photoUrl accountType apiKey"
    entity = "id name available photoUrl readOnly readOnlyAdmin isTeam entityType privateOnly storageBytes"
    entity += " codeSavingEnabled defaultAccess isPaid"
    team = (
        f"query GetTeamEntity($name: String!) {{ entity(name: $name) {{ {entity} members {{ {member} }} }} }}"
    )
    shape: dict[str, Any] = {field: Null(object) for field in entity.split()}
    shape |= {"id": str, "name": str, "isTeam": bool}
    shape["members"] = [{field: Null(object) for field in member.split()}]
    check(place.query(team, name=place.entity), {"entity": shape})
    assert place.query(team, name="nobody") == {"entity": None}


# What the SDK's generated documents are, and the class each answer is validated with, is read from the SDK itself.
GENERATED = [
    ("GetProjects", {}),
    ("GetProject", {"name": "p"}),
    ("GetProject", {"name": "none"}),
    ("IsProjectReadOnly", {}),
    ("CreateProject", {"input": {"name": "p"}}),
    ("GetTeamEntity", {"name": "none"}),
    ("SearchUsers", {"query": "nobody"}),
    ("GetViewer", {}),
    ("GetDefaultEntity", {}),
    ("GetSweeps", {"filters": "{}"}),
    ("ServerFeaturesQuery", {}),
    ("ProjectArtifactTypes", {}),
    ("ProjectArtifactCollections", {}),
    ("RunInputArtifacts", {"run": "full"}),
    ("RunOutputArtifacts", {"run": "bare"}),
    ("ArtifactType", {"name": "none:latest"}),
]
ROOMS = ("wandb.apis._generated", "wandb.sdk.artifacts._generated", "wandb.sdk.internal._generated")


def generated(name: str) -> tuple[str, Any]:
    """A generated document of the installed SDK and the model of its answer."""
    words = "".join("_" + letter if letter.isupper() else letter.upper() for letter in name).lstrip("_")
    for room in map(importlib.import_module, ROOMS):
        if hasattr(room, words + "_GQL"):
            return getattr(room, words + "_GQL"), getattr(room, name, None)
    raise AssertionError(f"the SDK has no document {words}_GQL")


@pytest.mark.parametrize(("name", "variables"), GENERATED)
def test_generated_documents_pass_their_own_validation(
    place: Client, name: str, variables: dict[str, Any]
) -> None:
    document, model = generated(name)
    data = place.query(document, **{"project": place.project, "entity": place.entity, **variables})
    if model is not None:
        model.model_validate(data)


def test_every_other_document_about_artifacts_is_refused_in_one_sentence(place: Client) -> None:
    operations = importlib.import_module("wandb.sdk.artifacts._generated.operations")
    answered = {generated(name)[0] for name, _ in GENERATED}
    refused = 0
    for name in operations.__all__:
        document = getattr(operations, name)
        if document in answered:
            continue
        response = place.post(document)
        errors = response.json()["errors"]
        assert len(errors) == 1 and errors[0]["extensions"] == {"code": "UNSUPPORTED"}, name
        assert response.status_code == (200 if "mutation " in document else 404), name
        refused += errors[0]["message"] == ARTIFACTS
    assert refused > 20
