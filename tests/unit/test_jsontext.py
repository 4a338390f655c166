"""JSON as servers write it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtapd.model import jsontext

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    return jsontext.dumps(jsontext.spelled_out(a)) == jsontext.dumps(jsontext.spelled_out(b))


@given(JSON)
def test_what_the_sdk_writes_is_read_exactly(value: Any) -> None:
    text = json.dumps(value)
    for written in (text, text.encode(), json.dumps(value, ensure_ascii=False)):
        assert same(jsontext.loads(written), value)


@given(JSON)
def test_strict_text_is_strict_json_of_the_same_value(value: Any) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(f"bare {token}")

    strict = jsontext.strict(json.dumps(value))
    assert same(json.loads(strict, parse_constant=refuse), jsontext.spelled_out(value))
    assert jsontext.strict(strict) is strict


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "1" + "0" * 40])
def test_long_integers_stay_exact(text: str) -> None:
    assert jsontext.loads(f'{{"n": [{text}]}}') == {"n": [int(text)]}
    assert jsontext.loads(f'{{"f": 0.00123456789012345678, "n": [{text}]}}')["n"] == [int(text)]
    assert jsontext.loads(f"[0.0, 0.{text.strip('-')}, {text}.5]") == [
        0.0,
        float(f"0.{text.strip('-')}"),
        float(f"{text}.5"),
    ]


@given(JSON)
def test_what_stands_around_documents_is_read_as_exactly(value: Any) -> None:
    assert same(jsontext.loads_envelope(json.dumps({"data": [value]}).encode()), {"data": [value]})


def test_long_integers_in_an_envelope_stay_exact_and_those_in_texts_do_not_matter() -> None:
    big = 2**64 + 1
    assert jsontext.loads_envelope(f'{{"a": [{{"n": {big}}}], "x": 1e300}}'.encode()) == {
        "a": [{"n": big}],
        "x": 1e300,
    }
    assert jsontext.loads_envelope(json.dumps({"t": str(big), "n": 2**64 - 1}).encode())["n"] == 2**64 - 1


def test_bare_tokens_are_numbers_and_leave_as_their_names() -> None:
    text = '{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN"}'
    read = jsontext.loads(text)
    assert math.isnan(read["a"]) and read["b"] == [math.inf, -math.inf] and read["c"] == "NaN"
    assert jsontext.strict(text) == '{"a": "NaN", "b": ["Infinity", "-Infinity"], "c": "NaN"}'


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', '{"a": "NaN", "b": "-Infinity"}', '{"note": "NaN is \\"NaN\\" or -Infinity"}', "", "[1"],
)
def test_text_that_needs_no_change_is_the_same_object(text: str) -> None:
    assert jsontext.strict(text) is text


def test_nothing_but_bare_tokens_changes() -> None:
    text = r'{"a" :NaN, "a":1.50e+3, "\"NaN": "\ud800 -Infinity", "x": [-Infinity]}'
    assert jsontext.strict(text) == text.replace(":NaN", ':"NaN"').replace("[-Infinity]", '["-Infinity"]')


def test_lone_surrogates_are_replaced_where_there_must_be_utf_8() -> None:
    assert jsontext.encodable("a\ud800b") == "a\ufffdb"
    assert jsontext.encodable("ü") == "ü"


def test_nesting_without_end_is_an_error_not_a_crash() -> None:
    with pytest.raises(ValueError, match=r"nested|recursion|depth"):
        jsontext.loads("[" * 100_000 + "NaN")
    deep = "[" * 100_000 + "NaN" + "]" * 100_000
    assert jsontext.strict(deep) == deep.replace("NaN", '"NaN"')
