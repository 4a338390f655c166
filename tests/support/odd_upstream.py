"""A scripted upstream whose right answers a test bends before they are sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.upstream import Request, ScriptedUpstream

DEPTH = 1000
Bend = Callable[[Request, dict[str, Any]], None]


def as_it_is(request: Request, project: dict[str, Any]) -> None:
    """Bends nothing."""


@dataclass
class OddUpstream(ScriptedUpstream):
    """A server whose answers about runs are odd."""

    bend: Bend = as_it_is
    """Changes the `project` of an answer, in place."""
    stands_still: Callable[[Request], int | None] = lambda request: None
    """Which cursor is taken instead of the one that was sent; None when that counts."""
    judges_moments: bool = True
    """False: filters on the moment of creation are ignored."""

    def spelled(self, answer: dict[str, Any]) -> Sequence[bytes]:
        """As it is sent: deeper than Python would write it, where a value says so."""
        return [json.dumps(answer).encode().replace(b'"DEEP"', b"[" * DEPTH + b"]" * DEPTH)]

    def answer(self, request: Request) -> dict[str, Any]:
        """The right answer, bent."""
        asked = request
        cursor = self.stands_still(request)
        if cursor is not None:
            asked = Request(
                request.operation, request.variables | {"cursor": str(cursor)}, request.key, request.document
            )
        if not self.judges_moments and "createdAt" in str(asked.variables.get("filters")):
            asked = Request(
                request.operation, asked.variables | {"filters": "{}"}, request.key, request.document
            )
        answer = super().answer(asked)
        project = (answer.get("data") or {}).get("project")
        if isinstance(project, dict):
            self.bend(request, project)
        return answer
