"""Documents are decoded by a fast decoder; what comes out is what the standard library makes of them."""

from __future__ import annotations

import json
import math
import pickle

import pytest

from runtap.values import parsed

TEXTS = [
    "{}",
    "-0",
    '{"a":1,"a":2}',
    '{"n":9007199254740993,"m":-9223372036854775808,"u":18446744073709551615}',
    '{"n":18446744073709551616}',
    '{"a":{"b":[1,[{"c":-9223372036854775809}]]},"d":0.1}',
    '{"a":[123456789012345678901234567890]}',
    '{"far":1e300,"near":0.00012345678901234567,"large":12345678901234567890.5}',
    '{"s":"1234567890123456789012"}',
    '"\\ud800"',
    "1e400",
    '{"\\u00e9":"\\ud83d\\ude00\\u0000"}',
]


@pytest.mark.parametrize("text", TEXTS)
def test_values_are_those_of_the_standard_library(text: str) -> None:
    value = parsed(text)
    assert pickle.dumps(value) == pickle.dumps(json.loads(text))


def test_spelled_numbers_are_floats_and_deep_texts_are_refused() -> None:
    value = parsed('{"a":["Infinity",{"b":"-Infinity"}],"c":"NaN","d":" NaN"}')
    assert value["a"] == [math.inf, {"b": -math.inf}]
    assert math.isnan(value["c"])
    assert value["d"] == " NaN"
    with pytest.raises(ValueError, match="nested too deeply"):
        parsed("[" * 100_000 + "]" * 100_000)


@pytest.mark.parametrize("text", ["[1,]", '{"a":', "nothing", "\ufeff1"])
def test_what_is_wrong_is_said_in_the_words_of_the_standard_library(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as fast:
        parsed(text)
    with pytest.raises(json.JSONDecodeError) as standard:
        json.loads(text)
    assert str(fast.value) == str(standard.value)
