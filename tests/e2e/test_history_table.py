"""All rows of runs that the real SDK logged, as columns and as dicts, through a real daemon and a real server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import World

LOG = """
import wandb

settings = wandb.Settings(x_file_stream_transmit_interval=1.0)
with wandb.init(project="tables", id="kinds", settings=settings) as run:
    for step in range(40):
        row = {"loss": step / 8, "n": step, "kind": [1, 2.5, "text", {"deep": [step]}][step // 10]}
        if step % 3 == 0:
            row["big"] = 2**53 + step
        if step % 5 == 0:
            row["gap"] = [None, float("nan"), float("inf"), 1.5][step // 5 % 4]
        run.log(row)
"""
READ = """
import json
import warnings
import runtap

warnings.simplefilter("error")
run = runtap.Api().run("{path}/kinds")
table = run.history_table()
frame = table.to_pandas()
inner = run.history_table(keys=["big", "gap"], how="inner", min_step=10, max_step=40)
own = ["loss", "n", "kind", "big", "gap"]
print(json.dumps({{
    "columns": table.column_names,
    "rows": [[row.get("_step"), {{key: repr(row[key]) for key in own if key in row}}] for row in run.scan_history()],
    "same": repr(list(table)) == repr(list(run.scan_history())),
    "dtypes": {{key: str(frame[key].dtype) for key in own}},
    "frame": [[repr(cell) for cell in frame[key].tolist()] for key in own],
    "arrow": [str(kind) for kind in table.to_arrow().select(own).schema.types],
    "missing": table.missing("gap"),
    "nulls": table.nulls("gap"),
    "inner": [row["_step"] for row in inner],
    "exact": table.exact,
    "source": table.freshness.source,
    "last": [row["n"] for row in run.history_table(last=2)],
}}))
"""


@pytest.fixture(scope="module")
def told(world: World) -> Any:
    world.python(LOG)
    return world.read(READ.format(path=world.path("tables")))


def logged() -> list[tuple[int, dict[str, str]]]:
    """What the script above logged, as Python writes it."""
    rows = []
    for step in range(40):
        row: dict[str, Any] = {
            "loss": step / 8,
            "n": step,
            "kind": [1, 2.5, "text", {"deep": [step]}][step // 10],
        }
        if step % 3 == 0:
            row["big"] = 2**53 + step
        if step % 5 == 0:
            row["gap"] = [None, float("nan"), float("inf"), 1.5][step // 5 % 4]
        rows.append((step, {key: repr(cell) for key, cell in row.items()}))
    return rows


def test_rows_are_those_that_were_logged(told: Any) -> None:
    read = [(step, cells) for step, cells in told["rows"]]
    assert [step for step, _ in read] == list(range(40))
    for (_, wanted), (_, cells) in zip(logged(), read, strict=True):
        assert {**cells, "loss": repr(float(cells["loss"]))} == wanted
    assert told["same"]
    assert told["exact"]
    assert told["source"]


def test_columns_have_the_kinds_of_their_values(told: Any) -> None:
    # The SDK writes the keys of a row in any order.
    assert told["columns"][0] == "_step"
    assert sorted(told["columns"][1:-2]) == ["big", "gap", "kind", "loss", "n"]
    assert told["columns"][-2:] == ["_runtime", "_timestamp"]
    assert told["dtypes"] == {
        "loss": "float64",
        "n": "int64",
        "kind": "object",
        "big": "Int64",
        "gap": "float64",
    }
    assert told["arrow"] == ["double", "int64", "string", "int64", "double"]
    assert told["frame"][2] == [cells["kind"] for _, cells in logged()]
    assert told["frame"][3][:4] == [str(2**53), "<NA>", "<NA>", str(2**53 + 3)]


def test_missing_null_and_nan_stay_three_things(told: Any) -> None:
    assert told["nulls"] == [0, 20]
    assert told["missing"] == [step for step in range(40) if step % 5]


def test_keys_ranges_and_the_last_rows(told: Any) -> None:
    assert told["inner"] == [15, 30]
    assert told["last"] == [38, 39]
