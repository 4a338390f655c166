"""What a GraphQL document asks of a run's history, whatever the operation is called. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from graphql import FieldNode, SelectionSetNode, parse
from graphql.utilities import value_from_ast_untyped

FIELDS = ("history", "events", "sampledHistory", "parquetHistory")


@dataclass(frozen=True)
class Spec:
    """One spec of `sampledHistory`: rows that have all keys, and of them these keys only."""

    keys: tuple[str, ...]
    samples: int
    min_step: int | None = None
    max_step: int | None = None
    """Inclusive, as servers have it."""

    def rows(
        self, stepped: Sequence[tuple[int, str]], chosen: Callable[[list[Any], int], list[Any]]
    ) -> list[dict[str, Any]]:
        """The rows as JSON objects, in which non-finite numbers are texts."""
        found = []
        for step, text in stepped:
            if (self.min_step is None or step >= self.min_step) and (
                self.max_step is None or step <= self.max_step
            ):
                row = json.loads(text, parse_constant=str)
                if all(key in row for key in self.keys):
                    found.append({key: row[key] for key in self.keys})
        return chosen(found, self.samples)


@dataclass(frozen=True)
class Question:
    """One of the fields in `FIELDS`, asked for under a name."""

    field: str
    alias: str
    arguments: Any
    """AST nodes by name until the variables' values are in."""

    def with_values(self, variables: Mapping[str, Any]) -> Question:
        """The question with values for arguments."""
        values = {
            name: value_from_ast_untyped(node, dict(variables)) for name, node in self.arguments.items()
        }
        return replace(self, arguments=values)

    @property
    def samples(self) -> int:
        """How many rows are asked for."""
        return int(self.arguments.get("samples") or 500)

    def range(self) -> tuple[int, int]:
        """The steps wanted: from the first one on, below the second."""
        low, high = self.arguments.get("minStep"), self.arguments.get("maxStep")
        return (-(2**63) if low is None else int(low)), (2**63 if high is None else int(high))

    def specs(self) -> list[Spec]:
        """The specs of `sampledHistory`."""
        parsed = [json.loads(spec) for spec in self.arguments["specs"]]
        return [
            Spec(tuple(spec["keys"]), spec.get("samples", 500), spec.get("minStep"), spec.get("maxStep"))
            for spec in parsed
        ]


@lru_cache(maxsize=256)
def questions(document: str) -> tuple[Question, ...]:
    """The questions in a document."""
    return tuple(
        question
        for definition in parse(document).definitions
        for question in _found(getattr(definition, "selection_set", None))
    )


def _found(selections: SelectionSetNode | None) -> Iterator[Question]:
    for node in selections.selections if selections else ():
        if isinstance(node, FieldNode) and node.name.value in FIELDS:
            alias = node.alias.value if node.alias else node.name.value
            arguments = {argument.name.value: argument.value for argument in node.arguments or ()}
            yield Question(node.name.value, alias, arguments)
        else:
            yield from _found(getattr(node, "selection_set", None))
