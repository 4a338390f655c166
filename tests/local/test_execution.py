"""The short way of executing plain fields says what graphql-core's own way says, errors and their places included."""

from typing import Any

import pytest
from graphql import ExecutionResult, GraphQLError, build_schema, execute_sync, parse

from runtap_local.graphql.execution import QuickExecutor

SCHEMA = build_schema("""
scalar Raw
enum Color { RED GREEN }
type Query { things: [Thing!] thing(n: Int): Thing must: Thing! no: String }
type Thing {
  n: Int! text: String! maybe: String number: Int id: ID color: Color raw: Raw words: [String!]! list: [Thing]
  other: Thing echo(word: String = "x"): String plain: String real: Float flag: Boolean! late: String
}""")


def fails(_thing: Any, _info: Any) -> Any:
    raise GraphQLError("no luck", extensions={"code": "X"})


def breaks(_thing: Any, _info: Any) -> Any:
    raise ZeroDivisionError("one over none")


SCHEMA.type_map["Raw"].coerce_output_value = lambda value: value  # type: ignore[attr-defined]
THING = SCHEMA.type_map["Thing"].fields  # type: ignore[attr-defined]
THING["n"].resolve = lambda thing, info: thing["n"] + info.context
THING["echo"].resolve = lambda thing, info, word: f"{word} {info.field_name} {info.path.as_list()}"
THING["words"].resolve = lambda thing, info: thing.get("words", [])
SEVERAL = [
    {"n": 1, "text": "a", "color": "RED", "raw": {"any": [1]}, "words": ["a"], "flag": True},
    {
        "n": 2,
        "text": "b",
        "maybe": 7,
        "number": 2**40,
        "id": 3,
        "other": {"n": 9, "text": "o"},
        "flag": False,
    },
    {
        "n": 3,
        "text": "c",
        "number": "x",
        "color": "BLUE",
        "list": [None, {"n": 4, "text": "d"}],
        "words": None,
    },
    {"n": 4, "text": "d", "number": 1.5, "real": 1, "raw": None, "late": lambda info: info.field_name},
    {"n": 5, "text": "e", "id": 1.5, "flag": 3, "real": "x", "raw": 0, "maybe": ["no text"]},
]
ALL = "n text maybe number id color raw real late __typename"


def run(document: str, executor: type[QuickExecutor] | None) -> ExecutionResult:
    root = {"things": SEVERAL, "thing": {"n": 0}}
    return execute_sync(SCHEMA, parse(document), root, context_value=100, executor_class=executor)


@pytest.mark.parametrize(
    "document",
    [
        f"{{ things {{ {ALL} words other {{ n text }} list {{ n words text }} }} no }}",
        "{ things { a: n b: n ...F ... on Thing { text c: color } } } fragment F on Thing { n id list { ...G } } "
        "fragment G on Thing { n echo }",
        'query Q($w: String, $skip: Boolean = true) { things { echo(word: $w) d: echo e: echo(word: "y") '
        "text @skip(if: $skip) n @include(if: $skip) } }",
        "{ things { flag } no }",
        "{ things { n } must { n } }",
        "{ thing { n text words } no }",
        "{ things { plain } }",
    ],
)
@pytest.mark.parametrize("trouble", [None, fails, breaks])
@pytest.mark.parametrize("field", ["text", "maybe", "plain", "words"])
def test_both_ways_say_the_same(document: str, trouble: Any, field: str) -> None:
    before = THING[field].resolve
    if trouble is not None:
        THING[field].resolve = trouble
    try:
        usual, quick = run(document, None), run(document, QuickExecutor)
    finally:
        THING[field].resolve = before
    assert [error.formatted for error in quick.errors or ()] == [
        error.formatted for error in usual.errors or ()
    ]
    causes = [[repr(error.original_error) for error in way.errors or ()] for way in (usual, quick)]
    assert causes[0] == causes[1]
    assert repr(quick.data) == repr(usual.data), "the order of fields too"
