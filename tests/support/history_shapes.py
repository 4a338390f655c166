"""Histories of every shape, small ones of the kinds that broke readers: the rows that a server has, as it spells them.

Pure and the same each time. `SHAPES` names them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

Line = dict[str, Any] | str
HISTOGRAM = {"_type": "histogram", "values": [1, 0, 3], "bins": [0.0, 0.5, 1.0, 1.5]}
IMAGE = {"_type": "image-file", "path": "media/images/a_0.png", "size": 2**40, "width": 3, "caption": None}
ODD_KEYS = (
    "a.b", "a", "a/b/c", "loss (train) %", "tränen 🎈", "with\nnewline", "with\ttab", '"quoted"', "back\\slash", "",
    " ", "null", "runtap.json", "x" * 1000, "\u202eright to left", "_wandb", "_custom",
)  # fmt: skip
"""Keys that something or other reads as more than a name."""


def rows(steps: Sequence[int], **more: Any) -> list[Line]:
    """A row for each step with a loss and the clock, as the SDK logs them."""
    return [
        {"_step": step, "loss": 1 / (i + 1), "_runtime": 0.25 * i, "_timestamp": 1.7e9 + i} | more
        for i, step in enumerate(steps)
    ]


def dense(count: int) -> list[Line]:
    return rows(range(count))


def sparse() -> list[Line]:
    """1,000 rows, 1,000 steps apart, as where the step counts frames."""
    return rows(range(0, 1_000_000, 1000))


def clustered() -> list[Line]:
    """Bursts of steps with long gaps between."""
    return rows([burst * 10**7 + i for burst in range(8) for i in range(150)])


def wide() -> list[Line]:
    return [{"_step": step} | {f"layer/{i:03}": step * 0.5 + i for i in range(200)} for step in range(60)]


def disjoint() -> list[Line]:
    """Keys that never meet in one row."""
    return [{"_step": i, f"metric{i % 3}": i / 2} for i in range(90)]


def repeated_steps() -> list[Line]:
    """Several rows of one step, as servers have them after a resume."""
    return [{"_step": step, "loss": step + part / 10} for step in range(40) for part in range(3)]


def one_step_of_many() -> list[Line]:
    """More rows of one step than a page holds."""
    return [{"_step": 7, "loss": i} for i in range(2500)]


def non_finite() -> list[Line]:
    """The three numbers that JSON has not, in every spelling that was seen."""
    spelled = [
        "NaN",
        "Infinity",
        "-Infinity",
        '"NaN"',
        '"Infinity"',
        '"-Infinity"',
        "1e999",
        "-1e999",
        "0.5",
        "null",
    ]
    found: list[Line] = [
        f'{{"_step":{i},"loss":{text},"in":{{"x":[{text}]}}}}' for i, text in enumerate(spelled)
    ]
    return [*found, '{"_step":20}']


def integers() -> list[Line]:
    """Integers at the edges of what doubles and 64 bits hold, alone and beside doubles."""
    edges = [0, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
    beyond = [*edges, 2**63, 2**64, 10**30, -(10**25)]
    found: list[Line] = [{"_step": i, "edge": value} for i, value in enumerate(edges)]
    found += [{"_step": 20 + i, "beyond": value} for i, value in enumerate(beyond)]
    found += [{"_step": 40 + i, "mixed": value} for i, value in enumerate([2**53 + 1, 0.5, 3])]
    return [*found, *({"_step": 60 + i, "small": value} for i, value in enumerate([1, 0.5, 3]))]


def changing_types() -> list[Line]:
    """A key that goes on as something else."""
    values = [
        1,
        2,
        0.5,
        "text",
        {"a": {"b": 1}},
        [1, "x", None],
        True,
        None,
        "NaN",
        float("nan"),
        HISTOGRAM,
        2**70,
    ]
    return [{"_step": i, "odd": values[i // 9]} for i in range(9 * len(values))]


def nested() -> list[Line]:
    """Media and dicts, deep and empty ones."""
    values: list[Any] = [HISTOGRAM, IMAGE, {}, [], {"": 1}, {"a": {"b": {"c": [1.5, {"d": None}]}}}, "text"]
    return [{"_step": i, "media": values[i % 6], "deep": values[5], "plain": values[6]} for i in range(30)]


def odd_keys() -> list[Line]:
    return [
        {"_step": step} | {key: step + i for i, key in enumerate(ODD_KEYS) if (step + i) % 3}
        for step in range(12)
    ]


def missing_null_nan() -> list[Line]:
    """A key that is there, null, NaN and not there, in turns."""
    cells = ('"a":1.5,', '"a":null,', '"a":NaN,', "")
    return [f'{{{cells[i % 4]}"b":"x","_step":{i}}}' for i in range(40)]


def nothing_but_nulls() -> list[Line]:
    return [{"_step": i, "a": None, "b": i} for i in range(5)]


def without_keys() -> list[Line]:
    """Rows that hold their step and no more."""
    return [{"_step": i} for i in range(5)]


def large_rows() -> list[Line]:
    """Rows of a megabyte."""
    return [{"_step": i, "text": f"{i}" + "y" * 1_000_000, "loss": i} for i in range(7)]


def texts() -> list[Line]:
    """Texts that look like something else, and such as hardly are texts."""
    values = [
        "",
        "1",
        "1.5",
        "true",
        "null",
        "{}",
        "[1]",
        "NaN?",
        "a\u0000b",
        "\u2028",
        "é" * 50,
        "\ud800",
        "🎈",
    ]
    return [json.dumps({"_step": i, "t": value}) for i, value in enumerate(values)]


SHAPES: dict[str, Callable[[], list[Line]]] = {
    "none": list,
    "one step only": lambda: rows([0]),
    "one step, a late one": lambda: rows([123_456_789]),
    "dense, three pages": lambda: dense(2600),
    "sparse": sparse,
    "clustered": clustered,
    "not from step 0": lambda: rows(range(5_000, 6_500)),
    "huge steps": lambda: rows([i * 10**12 for i in range(100)]),
    "one huge gap": lambda: rows([*range(300), *range(10**12, 10**12 + 300)]),
    "steps as floats": lambda: [{"_step": float(i), "loss": i} for i in range(20)],
    "200 keys": wide,
    "disjoint keys": disjoint,
    "several rows of a step": repeated_steps,
    "one step of many rows": one_step_of_many,
    "non-finite numbers": non_finite,
    "integers": integers,
    "changing types": changing_types,
    "nested": nested,
    "odd keys": odd_keys,
    "missing, null, NaN": missing_null_nan,
    "nothing but nulls": nothing_but_nulls,
    "rows without keys": without_keys,
    "rows of a megabyte": large_rows,
    "texts": texts,
}
