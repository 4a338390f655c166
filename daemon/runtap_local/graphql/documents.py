"""GraphQL documents before they are executed: parsed, bounded in depth and size, validated, and remembered."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    validate,
)

from ..faults import BadRequest
from ..settings import Settings
from .costs import Costs

_KEPT_CHARACTERS: Final = 256 * 1024  # parsed, they take a hundred times as much memory
_MAX_TOKENS: Final = 20_000
_NOT_CODE: Final = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"""|"(?:[^"\\\n]|\\.)*"|#[^\n]*')
"""Strings and comments, in which brackets mean nothing."""


class InvalidDocument(Exception):
    """The document does not fit the schema; carries what is wrong with it."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document ready to be executed, with its operations by name."""

    node: DocumentNode
    operations: dict[str, OperationDefinitionNode]

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation a request means. The SDK sends an empty name with most documents: that is none."""
        if name:
            found = self.operations.get(name)
            if found is None:
                raise BadRequest(f"the document has no operation named {name[:100]!r}")
            return found
        if len(self.operations) != 1:
            raise BadRequest("the document must hold exactly one operation, or operationName must name one")
        return next(iter(self.operations.values()))


class Documents:
    """Prepares documents; clients send the same few again and again, so the latest are kept."""

    def __init__(self, schema: GraphQLSchema, settings: Settings) -> None:
        self._schema = schema
        self._settings = settings
        self._kept: OrderedDict[str, Prepared] = OrderedDict()
        self._lock = Lock()

    def prepare(self, text: str) -> Prepared:
        """Raises BadRequest or InvalidDocument."""
        with self._lock:
            found = self._kept.get(text)
            if found is not None:
                self._kept.move_to_end(text)
                return found
        made = self._prepare(text)
        with self._lock:
            self._kept[text] = made
            size = sum(map(len, self._kept))
            while size > _KEPT_CHARACTERS:
                size -= len(self._kept.popitem(last=False)[0])
        return made

    def check(
        self, prepared: Prepared, operation: OperationDefinitionNode, variables: Mapping[str, Any]
    ) -> None:
        """Refuse what would take too much with these variables. Raises BadRequest."""
        Costs(self._schema, prepared.node, operation, variables).check(self._settings.max_cost)

    def _prepare(self, text: str) -> Prepared:
        limits = self._settings
        if len(text) > limits.max_document_bytes:
            raise BadRequest(f"the GraphQL document is longer than {limits.max_document_bytes} characters")
        # The parser recurses: what nests too deeply must not reach it.
        most = limits.max_depth * 2
        if _nesting(text) > most and _nesting(_NOT_CODE.sub("", text)) > most:
            raise BadRequest(f"the GraphQL document nests deeper than {limits.max_depth} levels")
        try:
            node = parse(text, max_tokens=_MAX_TOKENS)
        except GraphQLSyntaxError as error:
            raise InvalidDocument([error]) from None
        fragments = {d.name.value: d for d in node.definitions if isinstance(d, FragmentDefinitionNode)}
        operations = [d for d in node.definitions if isinstance(d, OperationDefinitionNode)]
        measure = _Measure(fragments, limits)
        for operation in operations:
            measure.check(operation)
        errors = validate(self._schema, node, max_errors=20)
        if errors:
            raise InvalidDocument(errors)
        return Prepared(node, {(o.name.value if o.name else ""): o for o in operations})


def _nesting(text: str) -> int:
    """The deepest nesting of any kind of bracket."""
    depth = deepest = 0
    for letter in text:
        if letter in "{[(":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in "}])":
            depth -= 1
    return deepest


class _Measure:
    """Depth and size of selections with fragments written out, counted without writing them out."""

    def __init__(self, fragments: dict[str, FragmentDefinitionNode], limits: Settings) -> None:
        self._fragments = fragments
        self._limits = limits
        self._known: dict[str, tuple[int, int, int]] = {}

    def check(self, operation: OperationDefinitionNode) -> None:
        depth, size, lists = self._of(operation.selection_set, ())
        if depth > self._limits.max_depth:
            raise BadRequest(f"the GraphQL document nests deeper than {self._limits.max_depth} levels")
        if size > self._limits.max_fields:
            raise BadRequest(f"the GraphQL document selects more than {self._limits.max_fields} fields")
        if lists > 1:
            raise BadRequest("a list of runs inside a list of runs is more than one request may ask for")

    def _of(self, selections: SelectionSetNode | None, path: tuple[str, ...]) -> tuple[int, int, int]:
        """(depth, fields, lists of runs within each other)."""
        depth = size = lists = 0
        for node in selections.selections if selections else ():
            if isinstance(node, FragmentSpreadNode):
                below = self._fragment(node.name.value, path)
            else:
                below = self._of(node.selection_set, path)  # type: ignore[attr-defined]
                if isinstance(node, FieldNode):
                    below = (below[0] + 1, below[1] + 1, below[2] + (node.name.value == "runs"))
            depth, size, lists = max(depth, below[0]), size + below[1], max(lists, below[2])
        return depth, size, lists

    def _fragment(self, name: str, path: tuple[str, ...]) -> tuple[int, int, int]:
        if name in path or name not in self._fragments:
            return 0, 0, 0  # validation says what is wrong with it
        if name not in self._known:
            self._known[name] = self._of(self._fragments[name].selection_set, (*path, name))
        return self._known[name]
