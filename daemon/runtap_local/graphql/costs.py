"""What a GraphQL document may cost: roughly how many values its answer can hold, before anything is executed.

Every field costs something, a list as often as it may have entries. The figures are rough on purpose: they tell a page
of a thousand runs, which is fine, from a thousand such pages in one document, which is not.
"""

from collections.abc import Mapping
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLField,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    OperationDefinitionNode,
    OperationType,
    SchemaMetaFieldDef,
    SelectionSetNode,
    TypeMetaFieldDef,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_introspection_type,
    is_list_type,
    type_from_ast,
)

from ..faults import BadRequest

_PAGE: Final = 50
_ITEMS: Final = 10
_PAGE_ARGUMENTS: Final = ("first", "last")
_MAX_PAGE: Final = 1000
_MAX_SAMPLES: Final = 100_000
_BASE: Final = {"runs": 100_000, "history": 20, "events": 20, "logLines": 20, "parquetHistory": 1000}
"""What it takes to begin a list, however short it turns out: a page of runs may weigh tens of megabytes."""
_FILTERED: Final = {"runCount": 20_000}
"""The same, for what is only dear where ``filters`` are given."""
_PER_SPEC: Final = 500
_INTROSPECTION: Final = {"__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef}
_ENTRIES: Final = {"edges": 1, "types": 200, "fields": 10, "args": 2, "inputFields": 2}
"""How many entries lists have of whose length nothing is said in the document."""
_WRITES_ARE_DEARER: Final = 10
"""A mutation keeps all other writers waiting until its answer is complete."""


class Costs:
    """Reckons up one operation."""

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        variables: Mapping[str, Any],
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._fragments = {
            d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)
        }
        self._variables = {**_defaults(operation), **variables}
        self._known: dict[str, int] = {}

    def check(self, most: int) -> None:
        """Refuse an operation that may cost more than ``most``. The document must be valid."""
        kind = self._operation.operation
        root = self._schema.get_root_type(kind)
        if root is None:
            return
        cost = self._of(self._operation.selection_set, root)
        if cost > (most // _WRITES_ARE_DEARER if kind is OperationType.MUTATION else most):
            raise BadRequest(
                "the GraphQL document asks for too much at once: ask for fewer or shorter lists in one request"
            )

    def _of(self, selections: SelectionSetNode | None, parent: GraphQLCompositeType) -> int:
        cost = 0
        for node in selections.selections if selections else ():
            if isinstance(node, FieldNode):
                cost += self._field(node, parent)
            elif isinstance(node, InlineFragmentNode):
                cost += self._of(node.selection_set, self._narrowed(node, parent))
            elif isinstance(node, FragmentSpreadNode):
                cost += self._fragment(node.name.value, parent)
        return cost

    def _fragment(self, name: str, parent: GraphQLCompositeType) -> int:
        if name not in self._known:
            fragment = self._fragments[name]
            self._known[name] = self._of(fragment.selection_set, self._narrowed(fragment, parent))
        return self._known[name]

    def _narrowed(
        self, node: InlineFragmentNode | FragmentDefinitionNode, parent: GraphQLCompositeType
    ) -> GraphQLCompositeType:
        condition = node.type_condition
        found = type_from_ast(self._schema, condition) if condition else None
        return found if is_composite_type(found) else parent

    def _field(self, node: FieldNode, parent: GraphQLCompositeType) -> int:
        name = node.name.value
        field = _INTROSPECTION.get(name) or getattr(parent, "fields", {}).get(name)
        if field is None:
            return 1
        below = get_named_type(field.type)
        inside = self._of(node.selection_set, below) if is_composite_type(below) else 1
        return 1 + self._base(node) + self._entries(node, field, parent) * max(1, inside)

    def _base(self, node: FieldNode) -> int:
        name = node.name.value
        if name in _FILTERED and self._argument(node, "filters") is not None:
            return _FILTERED[name]
        specs = self._argument(node, "specs")
        if specs is not None:
            return _PER_SPEC * (len(specs) if isinstance(specs, list | tuple) else 1)
        return _BASE.get(name, 0)

    def _entries(self, node: FieldNode, field: GraphQLField, parent: GraphQLCompositeType) -> int:
        if "samples" in field.args:
            return _bounded(self._argument(node, "samples"), _PAGE * _ITEMS, _MAX_SAMPLES)
        if any(name in field.args for name in _PAGE_ARGUMENTS):
            asked = [value for name in _PAGE_ARGUMENTS if (value := self._argument(node, name)) is not None]
            return max(_bounded(value, _PAGE, _MAX_PAGE) for value in asked or [None])
        if is_list_type(get_nullable_type(field.type)):
            return _ENTRIES.get(node.name.value, 1 if is_introspection_type(parent) else _ITEMS)
        return 1

    def _argument(self, node: FieldNode, name: str) -> Any:
        """What an argument is, as far as its size matters; None where it is not given."""
        for argument in node.arguments or ():
            if argument.name.value == name:
                value = argument.value
                if isinstance(value, VariableNode):
                    return self._variables.get(value.name.value)
                return _literal(value)
        return None


def _defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    return {
        one.variable.name.value: _literal(one.default_value)
        for one in operation.variable_definitions or ()
        if one.default_value is not None
    }


def _literal(value: Any) -> Any:
    if isinstance(value, IntValueNode):
        return int(value.value)
    if isinstance(value, ListValueNode):
        return value.values
    return None if isinstance(value, NullValueNode) else value


def _bounded(value: Any, default: int, most: int) -> int:
    """A number of entries; what is no number is refused later, and by name."""
    if isinstance(value, bool) or not isinstance(value, int):
        return default
    return min(max(value, 1), most)
