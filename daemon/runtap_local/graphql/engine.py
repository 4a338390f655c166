"""GraphQL requests: a document executed against our schema in one transaction, and every outcome as an answer."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLScalarType,
    GraphQLSchema,
    OperationType,
    assert_valid_schema,
    build_schema,
    execute_sync,
)
from sqlalchemy import Connection

from runtap_query import QueryError

from .. import jsontext
from ..faults import BadRequest, Fault, NotFound, Unsupported
from ..settings import Settings
from ..store.database import Database, fault_of
from ..store.remembered import Remembered
from .documents import Documents, InvalidDocument
from .execution import QuickExecutor
from .refusals import refusal
from .resolvers import alerts, artifacts, files, history, people, projects, run_writes, runs, sweeps
from .resolvers.context import RequestContext

_LOG = logging.getLogger(__name__)
_MAX_MESSAGE = 2000
INTERNAL = "internal error, see the log"
_INT64 = range(-(2**63), 2**63)

Answer = tuple[int, dict[str, Any]]


class Rollback(Exception):
    """Ends the transaction of a request that had errors."""


class Engine:
    """Executes requests. The answer is an HTTP status and a body."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._schema = make_schema()
        self._documents = Documents(self._schema, settings)
        self._remembered = Remembered()

    def execute(
        self,
        body: dict[str, Any],
        context: Callable[[Connection], RequestContext],
        note: Callable[[str], None],
    ) -> Answer:
        """Execute one request; ``note`` is told the operation's name in the document."""
        text, variables, name = body.get("query"), body.get("variables"), body.get("operationName")
        if not isinstance(text, str):
            raise BadRequest("the request has no 'query' text")
        if not isinstance(variables, dict | None) or not isinstance(name, str | None):
            raise BadRequest("'variables' must be an object and 'operationName' a text")
        try:
            prepared = self._documents.prepare(text)
        except InvalidDocument as invalid:
            return _invalid(invalid.errors, text)
        operation = prepared.operation(name)
        self._documents.check(prepared, operation, variables or {})
        shown = operation.name.value if operation.name else ""
        note(shown)
        mutates = operation.operation is OperationType.MUTATION
        transaction = self._database.write if mutates else self._database.read

        def reading(connection: Connection) -> RequestContext:
            request = context(connection)
            request.remembered = self._remembered
            return request

        made = context if mutates else reading
        result, done = self._run(transaction, made, prepared.node, variables, shown or None)
        for action in done:
            action()
        if result.errors and all(error.path is None for error in result.errors):  # the variables do not fit
            return _invalid(result.errors, text)
        return _answer(result)

    def _run(
        self,
        transaction: Callable[[], AbstractContextManager[Connection]],
        context: Callable[[Connection], RequestContext],
        node: Any,
        variables: dict[str, Any] | None,
        name: str | None,
    ) -> tuple[ExecutionResult, list[Callable[[], None]]]:
        result = ExecutionResult()
        try:
            with transaction() as connection:
                made = context(connection)
                result = execute_sync(
                    self._schema,
                    node,
                    context_value=made,
                    variable_values=variables or {},
                    operation_name=name,
                    executor_class=QuickExecutor,
                )
                if result.errors:
                    raise Rollback
        except Rollback:
            return result, []
        return result, made.after_commit


def _invalid(errors: list[GraphQLError], text: str) -> Answer:
    """The answer to what does not fit the schema: what this server has not, or else what is wrong."""
    sentence = refusal(error.message for error in errors)
    if sentence is None:
        return 400, {"errors": [{**error.formatted, "message": shortened(error.message)} for error in errors]}
    error = {"message": sentence, "extensions": {"code": Unsupported.code}}
    # Clients that ask whether something exists read 404 as no, and any other trouble as a lost connection.
    status = Unsupported.status if "mutation" in text.partition("{")[0] else NotFound.status
    return status, {"data": None, "errors": [error]}


def _answer(result: ExecutionResult) -> Answer:
    if not result.errors:
        return 200, {"data": result.data}
    status, errors = 200, []
    for error in result.errors:
        formatted = dict(error.formatted)
        cause = error.original_error
        cause = fault_of(cause) or cause
        if isinstance(cause, Fault):
            formatted["message"] = cause.message
            formatted["extensions"] = {"code": cause.code}
            status = max(status, cause.status)
        elif isinstance(cause, QueryError):
            formatted["extensions"] = {"code": BadRequest.code}
            status = max(status, BadRequest.status)
        elif cause is None or isinstance(cause, GraphQLError):
            status = max(status, 400)
        else:
            _LOG.error("GraphQL field failed", exc_info=cause)
            formatted["message"] = INTERNAL
            status = 500
        formatted["message"] = shortened(str(formatted["message"]))
        errors.append(formatted)
    return status, {"data": result.data, "errors": errors}


def shortened(message: str) -> str:
    """A message that quotes what was sent does not send all of it back."""
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}..."


def make_schema() -> GraphQLSchema:
    """The schema of the files, with a resolver on each field that has one of its own."""
    parts = sorted(Path(__file__).with_name("schema").glob("*.graphql"))
    schema = build_schema("\n".join(part.read_text(encoding="utf-8") for part in parts))
    for module in (people, projects, runs, history, files, run_writes, sweeps, artifacts, alerts):
        for type_name, resolvers in module.RESOLVERS.items():
            fields = schema.type_map[type_name].fields  # type: ignore[attr-defined]
            for field, resolve in resolvers.items():
                fields[field].resolve = resolve
    scalars = schema.type_map
    _scalar(scalars["JSONString"], _json_string, lambda value: value)
    _scalar(scalars["Int64"], _int64, lambda value: value)
    _scalar(scalars["JSON"], lambda value: value, lambda value: value)
    _scalar(scalars["DateTime"], lambda value: value, lambda value: value)
    assert_valid_schema(schema)
    return schema


def _scalar(kind: Any, read: Callable[[Any], Any], write: Callable[[Any], Any]) -> None:
    assert isinstance(kind, GraphQLScalarType)
    kind.coerce_input_value, kind.coerce_output_value = read, write


def _json_string(value: Any) -> str:
    # Clients are supposed to send text; some send the object itself, whose meaning is just as clear.
    return value if isinstance(value, str) else jsontext.dumps(value)


def _int64(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = 2**63
    fraction = isinstance(value, float) and value != number
    if isinstance(value, bool) or fraction or number not in _INT64:
        raise GraphQLError(f"not a 64-bit integer: {str(value)[:40]!r}")
    return number
