"""GraphQL execution with less ceremony: the plain fields of an object are resolved and written down at once.

For each field of each object graphql-core makes an info, a path and a list of nodes: 25,000 times for a page of runs.
A scalar without arguments needs none of them, nor do the texts of a list. Everything else, and every field in which
something goes wrong, is left to the library, so that answers and errors are its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from graphql import (
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLString,
    Undefined,
    get_nullable_type,
    is_leaf_type,
)
from graphql.execution import Executor
from graphql.pyutils import Path


class _Field(NamedTuple):
    """A field of a selection. ``resolve`` is None where the library does everything."""

    name: str
    details: list[Any]
    resolve: Callable[[Any, Any], Any] | None = None
    info: Any = None
    write: Callable[[Any], Any] = lambda value: value
    nullable: bool = True


class QuickExecutor(Executor[Any]):
    """graphql-core's executor with a short way for plain fields."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._plans: dict[int, tuple[Any, list[_Field]]] = {}

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: dict[str, list[Any]],
        position_context: Any,
    ) -> dict[str, Any]:
        """The fields of one object. The objects of a list share their selection, and so its plan."""
        known = self._plans.get(id(grouped_field_set))
        if known is None:
            plan = [self._plan(parent_type, path, *item) for item in grouped_field_set.items()]
            # Kept together with the selection, lest its id be used again.
            known = self._plans[id(grouped_field_set)] = (grouped_field_set, plan)
        results: dict[str, Any] = {}
        for name, details, resolve, info, write, nullable in known[1]:
            if resolve is not None:
                try:
                    value = resolve(source_value, info)
                    written = value if value is None else write(value)
                except Exception:  # noqa: BLE001 - happens again below, where it becomes an error with its path
                    written = Undefined
                if written is not Undefined and (written is not None or (nullable and value is None)):
                    results[name] = written
                    continue
            field_path = Path(path, name, parent_type.name)
            result = self.execute_field(parent_type, source_value, details, field_path, position_context)
            if result is not Undefined:
                results[name] = result
        return results

    def complete_iterable_value(
        self,
        item_type: Any,
        field_details_list: Any,
        info: Any,
        path: Path,
        items: Any,
        position_context: Any,
    ) -> Any:
        """A list of texts is its own answer: of a page of a history that is all there is to do."""
        texts = get_nullable_type(item_type) is GraphQLString and type(items) is list
        if texts and all(type(item) is str for item in items):
            return items
        return super().complete_iterable_value(
            item_type, field_details_list, info, path, items, position_context
        )

    def _plan(
        self, parent_type: GraphQLObjectType, path: Path | None, name: str, details: list[Any]
    ) -> _Field:
        node = details[0].node
        field = self.schema.get_field(parent_type, node.name.value)
        if field is None or field.args or node.arguments:
            return _Field(name, details)
        nullable = not isinstance(field.type, GraphQLNonNull)
        kind = get_nullable_type(field.type)
        if not is_leaf_type(kind):
            return _Field(name, details)
        nodes = [each.node for each in details]
        info = self.build_resolve_info(field, nodes, parent_type, Path(path, name, parent_type.name))
        resolve = field.resolve or self.field_resolver
        return _Field(name, details, resolve, info, kind.coerce_output_value, nullable)
