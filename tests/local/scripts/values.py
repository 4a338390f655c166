"""Log values of every kind: config, history rows and summaries, and steps in all the ways they can be given."""

import math
import pathlib
from typing import Any

import numpy as np
import wandb

from tests.local.scripts import kit

NAN, INF = math.nan, math.inf
LOGGED: dict[str, Any] = {}
TEXT = "ü 漢字 🎉 \u2028 \"quoted\" 'single' back\\slash \t\n \x00 end"


def config() -> None:
    """Every JSON type, and what Python adds; the second of a pair is what the SDK makes of the first."""
    same: dict[str, Any] = {
        "int": 1,
        "zero": 0,
        "negative": -7,
        "float": 1.5,
        "whole": 1.0,
        "big": 2**60,
        "beyond_doubles": 2**53 + 1,
        "large": 1e300,
        "tiny": 5e-324,
        "minus_zero": -0.0,
        "flag": True,
        "unset": False,
        "none": None,
        "text": TEXT,
        "empty": "",
        "long": "x" * 50_000,
        "empty_list_of_dicts": [{}],
        "empty_list": [],
        "list": [1, 2.5, "x", None, True, [[]], {"a": [{}]}],
        "nested": {"a": {"b": {"c": [1, {"d.e": None}]}}, "ü/ ": {"": 0}},
        "dotted.key": 1,
        "with/slash": 2,
        "with space": 3,
        "ünï 漢": 4,
        "value": {"value": 5, "desc": "as the wire's own wrapping"},
        "inf": INF,
        "minus_inf": -INF,
        "like_numbers": ["NaN", "Infinity", "1e5"],
    }
    changed: dict[str, tuple[Any, Any]] = {
        "tuple": ((1, (2,)), [1, [2]]),
        "set": ({1}, [1]),
        "path": (pathlib.Path("/a/b"), "/a/b"),
        "np_float32": (np.float32(0.1), float(np.float32(0.1))),
        "np_float64": (np.float64(0.1), 0.1),
        "np_int": (np.int64(7), 7),
        "np_bool": (np.bool_(True), True),
        "np_array": (np.arange(3), [0, 1, 2]),
        "np_nested": ({"a": np.int8(1)}, {"a": 1}),
        "huge": (10**30, 1e30),  # beyond 64 bits the SDK knows only doubles
        "nan": (NAN, None),  # and in a config it has no NaN
        "nans": ([NAN, 1], [None, 1]),
    }
    dropped: dict[str, Any] = {"empty_dict": {}}  # by the SDK, unless it stands in a list
    run = kit.begin(
        "values",
        "config",
        config={**same, **dropped, **{key: value[0] for key, value in changed.items()}},
        name="ein Lauf ü",
        notes="two\nlines ü",
        tags=["b", "a", "b", "ü ,;"],
        group="g/1",
        job_type="train",
    )
    run.config.update({"lr": 0.1, "kept": 1})
    run.config.update({"lr": 0.2}, allow_val_change=True)
    run.config["item"] = [1]
    run.config.attribute = "a"
    run.config.setdefaults({"lr": 5, "default": None})
    refused = kit.error_of(lambda: run.config.update({"lr": 3}))
    run.tags += ("late",)
    run.log({"only": 1})
    run.finish()
    later = {"lr": 0.2, "kept": 1, "item": [1], "attribute": "a", "default": None}
    LOGGED["config"] = {
        "config": {**same, **{key: value[1] for key, value in changed.items()}, **later},
        "name": "ein Lauf ü",
        "notes": "two\nlines ü",
        "tags": ["b", "a", "ü ,;", "late"],
        "group": "g/1",
        "job_type": "train",
        "refused": refused,
        "rows": [{"_step": 0, "only": 1}],
    }


def history() -> None:
    """Rows of every kind of value; a key may change its type from row to row."""
    mixed = [
        0,
        1,
        1.0,
        2**40,
        1e300,
        -0.0,
        5e-324,
        -3,
        0.1,
        NAN,
        INF,
        -INF,
        "text",
        True,
        None,
        [1],
        {"a": 1},
    ]
    rows: list[dict[str, Any]] = []
    expected: list[dict[str, Any]] = []
    for number, value in enumerate(mixed):
        row = {
            "mixed": value,
            "loss": 1 / (number + 1),
            "whole": float(number),
            "large": 2**53 + 1 + number,
            "dotted.key": number,
            "with/slash": number,
            "with space": "s",
            "ü 漢": TEXT,
            "deep": {"x": {"y": number, "dotted.z": [value]}, "list": [{"a": number}, []]},
        }
        if number % 5 == 0:
            row["sparse"] = number
        rows.append(row)
        expected.append({**row, "_step": number})
    long = "x" * 20_000
    numpy = {
        "scalar": np.float32(0.1),
        "int": np.int64(5),
        "array": np.arange(3.0),
        "pair": (1, "a"),
        "long": long,
    }
    rows.append(numpy)
    plain = {"scalar": float(np.float32(0.1)), "int": 5, "array": [0, 1, 2], "pair": [1, "a"], "long": long}
    expected.append({**plain, "_step": len(mixed)})
    run = kit.begin("values", "history")
    for row in rows:
        run.log(row)
    run.summary["set"] = {"a": {"b": [1, NAN]}, "c.d": "ü"}
    run.summary.update({"updated": 1, "loss": 0.25, "inf": INF, "nan": NAN, "dotted.sum": 1})
    run.summary["updated"] = 2
    run.summary["gone"] = 1
    del run.summary["gone"]
    run.summary["none"] = None
    run.finish()
    last: dict[str, Any] = {}
    for row in expected:
        last.update(row)
    last.update(updated=2, loss=0.25, inf=INF)
    last.update({"set": {"a": {"b": [1, NAN]}, "c.d": "ü"}, "dotted.sum": 1})
    spelled = [str(value).replace("inf", "Infinity") if value in (INF, -INF) else value for value in mixed]
    spelled[mixed.index(NAN)] = "NaN"  # in embedded JSON there are no such numbers
    by_key: dict[str, Any] = {"mixed": list(enumerate(spelled))}
    for key, values in {
        "dotted.key": range(17),
        "deep.x.y": range(17),
        "with/slash": range(17),
        "ü 漢": [TEXT] * 17,
        "with space": ["s"] * 17,
    }.items():
        by_key[key] = list(enumerate(values))
    by_key["sparse"] = [[step, step] for step in range(0, 17, 5)]
    by_key["never logged"] = []
    LOGGED["history"] = {"rows": expected, "summary": last, "config": {}, "by_key": by_key}


def steps() -> None:
    """Rows in parts, steps given, steps that go back, metrics with summaries of their own."""
    run = kit.begin("values", "steps")
    run.define_metric("epoch", hidden=True)
    run.define_metric("val/*", step_metric="epoch", summary="min")
    for name in ("min", "max", "mean", "last", "first", "none"):
        run.define_metric(name, summary=name)
    run.define_metric("acc", step_metric="epoch", step_sync=True)
    run.define_metric("both", summary="min,max")
    rows = []
    for number, value in enumerate([3, 1, 4, 1.5, 5, 2]):
        row: dict[str, Any] = dict.fromkeys(
            ("min", "max", "mean", "last", "first", "none", "acc", "both"), value
        )
        row.update({"epoch": number // 2, "val/loss": value, "val/acc": -value})
        run.log(row)
        rows.append({**row, "_step": number})
    run.log({"part": 1}, commit=False)
    run.log({"other": 2})
    run.log({"given": 1}, step=20)
    run.log({"added": 2}, step=20)
    run.log({"given": "too late"}, step=10)
    run.log({"given": 3}, step=30)
    run.log({"committed": 1}, step=31, commit=True)
    run.log({})
    run.log({"jump": 1}, step=3_000)
    refused = [kit.error_of(lambda: run.define_metric("x", summary="nonsense"))]
    run.finish()
    rows += [
        {"part": 1, "other": 2, "_step": 6},
        {"given": 1, "added": 2, "_step": 20},
        {"given": 3, "_step": 30},
        {"committed": 1, "_step": 31},
        {"_step": 32},
        {"jump": 1, "_step": 3_000},
    ]
    summary = {
        "val/loss": {"min": 1},
        "val/acc": {"min": -5},
        "min": {"min": 1},
        "max": {"max": 5},
        "mean": {"mean": 2.75},
        "last": {"last": 2},
        "first": {"first": 3},
        "both": {"min": 1, "max": 5},
        "acc": 2,
        "epoch": 2,
        "part": 1,
        "other": 2,
        "given": 3,
        "added": 2,
        "committed": 1,
        "jump": 1,
        "_step": 3_000,
    }
    LOGGED["steps"] = {"rows": rows, "summary": summary, "refused": refused}


def by_key(path: str) -> dict[str, Any]:
    """(step, value) of single keys, by both ways of asking for them."""
    run: Any = wandb.Api().run(path)
    found = {}
    for key in LOGGED["history"]["by_key"]:
        scanned = [[row["_step"], row[key]] for row in run.scan_history(keys=[key])]
        sampled = [[row["_step"], row[key]] for row in run.history(keys=[key], samples=100, pandas=False)]
        found[key] = scanned if scanned == sampled else {"scanned": scanned, "sampled": sampled}
    return found


if __name__ == "__main__":
    config()
    history()
    steps()
    kit.save("logged.json", LOGGED)
    entity = wandb.Api().default_entity
    read = {name: kit.read(f"{entity}/values/{name}") for name in LOGGED}
    read["history"]["by_key"] = by_key(f"{entity}/values/history")
    kit.save("read.json", read)
