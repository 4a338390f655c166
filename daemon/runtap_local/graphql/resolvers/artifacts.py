"""Artifacts: this server keeps none. Lists of them are empty; whoever wants to make one is told what to use instead."""

from typing import Any

from ...faults import Unsupported
from ..refusals import ARTIFACTS
from .context import Info, connection


def _none(_owner: Any, _info: Info, **_arguments: Any) -> dict[str, Any]:
    return {**connection([], 0, False), "totalCount": 0}


def _create(_root: Any, _info: Info, input: dict[str, Any]) -> None:
    raise Unsupported(ARTIFACTS)


RESOLVERS: dict[str, dict[str, Any]] = {
    "Mutation": {"createArtifact": _create},
    "Run": {"inputArtifacts": _none, "outputArtifacts": _none},
    "Project": {
        "artifact": lambda project, info, name: None,
        "artifactTypes": _none,
        "artifactCollections": _none,
    },
}
