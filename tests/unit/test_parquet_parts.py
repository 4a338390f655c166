"""Files of an exported history, however they were cut, come back as the rows that JSON would have given."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtap_local import jsontext as written
from runtap_local.histories import parquet as writer
from runtapd.faults import InvalidAnswer
from runtapd.history import parquet
from runtapd.history.columns import rows_of
from runtapd.history.rows import Row, parsed
from runtapd.history.table import Rows
from runtapd.model import jsontext

Told = list[tuple[int, dict[str, Any]]]
"""Rows as step and cells."""


def told(found: Rows) -> Told:
    """Rows as Python has them; JSON texts parsed."""
    cells: list[dict[str, Any]] = [{} for _ in range(found.length)]
    for key, column in found.columns.items():
        for row, value in zip(cells, column.values.to_pylist(), strict=True):
            if value is not None:
                row[key] = jsontext.loads(value) if column.json else value
        for place in () if column.nulls is None else column.nulls.tolist():
            cells[place][key] = None
    return [(row.pop("_step"), row) for row in cells]


def comparable(value: Any) -> Any:
    """Equal where NaN is NaN, and truth is no number."""
    if isinstance(value, dict):
        return tuple(sorted((key, comparable(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return repr(value) if isinstance(value, bool) else value


def same(found: Told, wanted: Told) -> bool:
    """The same rows, where those of one step may come in any order."""

    def key(row: tuple[int, dict[str, Any]]) -> tuple[int, str]:
        return row[0], repr(comparable(row[1]))

    return [comparable(row) for row in sorted(found, key=key)] == [
        comparable(row) for row in sorted(wanted, key=key)
    ]


def by_json(rows: Sequence[Row]) -> Told:
    """What the JSON route makes of these rows."""
    return told(rows_of(parsed([written.dumps(row) for row in rows])))


def read(files: Sequence[Path], from_step: int = 0) -> Told:
    """All rows of the files, in the order they come."""
    found = []
    for some in parquet.rows(files, from_step=from_step):
        assert 0 < some.length <= parquet.MOST_ROWS
        assert not any(column.empty for column in some.columns.values())
        found += told(some)
    assert [step for step, _ in found] == sorted(step for step, _ in found)
    return found


def save(file: Path, rows: Sequence[Row], **options: Any) -> Path:
    """Writes rows as the local server does."""
    table = writer.table([row["_step"] for row in rows], [written.dumps(row) for row in rows])
    pq.write_table(table, file, **options)
    return file


def save_columns(file: Path, **columns: Any) -> Path:
    """Writes columns; `_step` counts them."""
    length = len(next(iter(columns.values())))
    pq.write_table(pa.table({"_step": pa.array(range(length), pa.int64()), **columns}), file)
    return file


# Cuts, orders and overlaps

leaves = (
    st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(0, 3)
    | st.floats()
    | st.sampled_from(["", "ü\x00", "NaN", "x"])
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=5,
)
histories = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.dictionaries(st.sampled_from(["a", "b", "c.d", "_timestamp"]), anything, max_size=4),
    ),
    max_size=14,
).map(lambda rows: [{"_step": step, **row} for step, row in sorted(rows, key=lambda row: row[0])])
modest = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def unique(rows: list[Row]) -> list[Row]:
    """Each row once: of those that are equal, one file could not tell whether they are."""
    seen: dict[str, Row] = {}
    for row in rows:
        seen.setdefault(repr(comparable(by_json([row]))), row)
    return list(seen.values())


@modest
@given(histories, st.data())
def test_rows_come_back_from_any_cut_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    rows = unique(rows)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)), max_size=4)) | {0, len(rows)})
    overlap = data.draw(st.integers(0, 3))
    files = []
    for begin, end in pairwise(cuts):
        part = rows[max(0, begin - overlap) : end]
        if data.draw(st.booleans()):
            part = part[::-1]  # not even sorted
        size = data.draw(st.integers(1, 5))
        files.append(save(folder / f"{begin}.parquet", part, row_group_size=size))
    files = data.draw(st.permutations(files))
    from_step = data.draw(st.integers(0, 12))
    wanted = [row for row in rows if row["_step"] >= from_step]
    assert same(read(files, from_step), by_json(wanted))


@pytest.mark.parametrize("seed", range(3))
def test_long_parts_overlap_in_the_middle(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MOST_ROWS", 50)
    monkeypatch.setattr(parquet, "_READ_ROWS", 7)
    draw = random.Random(seed)
    steps = sorted(draw.sample(range(10**12), 900))
    rows = [{"_step": step, "loss": draw.random(), "n": place} for place, step in enumerate(steps)]
    shares: list[list[Row]] = [[], [], []]
    for row in rows:  # three files over the same steps, some rows in two of them
        for share in draw.sample(shares, draw.choice((1, 1, 2))):
            share.append(row)
    draw.shuffle(shares[2])
    files = [
        save(tmp_path / f"{i}.parquet", share, row_group_size=(1000, 64, 200)[i])
        for i, share in enumerate(shares)
    ]
    assert [row["n"] for _, row in read(files)] == list(range(900))
    assert [row["n"] for _, row in read(files, steps[450])] == list(range(450, 900))


def test_a_part_listed_twice_is_read_once(tmp_path: Path) -> None:
    rows = [{"_step": step, "loss": math.nan, "h": {"bins": [step, math.inf]}} for step in range(20)]
    first, again = save(tmp_path / "a", rows), save(tmp_path / "b", rows, row_group_size=3)
    assert same(read([first, again, first]), by_json(rows))


def test_equal_rows_of_one_file_were_logged_twice(tmp_path: Path) -> None:
    rows: list[Row] = [{"_step": 0, "a": 1}, {"_step": 1, "a": 1}, {"_step": 1, "a": 1}, {"_step": 1, "a": 2}]
    one, two = save(tmp_path / "a", rows), save(tmp_path / "b", [*rows[1:2], {"_step": 2, "a": 1}])
    assert read([one, two]) == by_json([*rows, {"_step": 2, "a": 1}])


def test_rows_are_equal_whatever_their_files_store_them_as(tmp_path: Path) -> None:
    row: Row = {"_step": 5, "n": 3, "h": {"x": 1, "y": 2}, "deep": {"a": [1, True]}}
    more: Row = {"_step": 6, "n": 0.5, "h": {"y": "text", "x": 1}, "deep": 7}
    odd: Row = {"_step": 6, "n": "text"}
    files = [
        save(tmp_path / "a", [row]),
        save(tmp_path / "b", [row, more]),
        save(tmp_path / "c", [{**row, "h": {"y": 2, "x": 1}}, odd]),
    ]
    assert same(read(files), by_json([row, more, odd]))
    differs = save(tmp_path / "d", [{**row, "deep": {"a": [True, 1]}}])
    assert len(read([files[0], differs])) == 2


def test_rows_of_one_step_that_differ_are_different_rows(tmp_path: Path) -> None:
    rows: list[Row] = [{"_step": 1, "a": 1}, {"_step": 1, "a": True}, {"_step": 1, "b": 1}, {"_step": 1}]
    files = [save(tmp_path / str(i), [row]) for i, row in enumerate(rows)]
    assert same(read(files), by_json(rows))


def test_no_more_rows_at_once_than_a_group_has(tmp_path: Path) -> None:
    count = 150_000
    table = pa.table({"_step": pa.array(range(count)), "x": pa.array(range(count), pa.float32())})
    pq.write_table(table, tmp_path / "a")
    found = list(parquet.rows([tmp_path / "a"], from_step=10))
    assert max(some.length for some in found) <= 65_536 and sum(some.length for some in found) == count - 10
    assert found[0].columns["x"].values[0].as_py() == 10.0


def test_large_rows_come_few_at_once(tmp_path: Path) -> None:
    texts = ["x" * 20_000] * 6000  # in the file they are one text and 6,000 references to it
    table = pa.table({"_step": pa.array(range(6000)), "text": texts})
    pq.write_table(table, tmp_path / "a")
    assert (tmp_path / "a").stat().st_size < 2**20
    sizes = [some.columns["text"].values.nbytes for some in parquet.rows([tmp_path / "a"], from_step=0)]
    assert sum(sizes) > 10**8 and max(sizes) < 2**28


def test_no_files_no_rows(tmp_path: Path) -> None:
    assert read([]) == []
    empty = tmp_path / "a"
    pq.write_table(pa.table({"_step": pa.array([], pa.int64())}), empty)
    assert read([empty, save(tmp_path / "b", [{"_step": 3}])]) == [(3, {})]


# Types


def cells(
    tmp_path: Path, array: Any, key: str = "v", metadata: dict[str, str] | None = None
) -> tuple[str, list[Any]]:
    """The kind that a column comes back as, and its values."""
    schema = pa.schema([pa.field("_step", pa.int64()), pa.field(key, array.type, metadata=metadata)])
    steps = pa.array(range(len(array)), pa.int64())
    pq.write_table(pa.Table.from_arrays([steps, array], schema=schema), tmp_path / "t")
    (found,) = parquet.rows([tmp_path / "t"], from_step=0)
    column = found.columns[key]
    return ("json" if column.json else str(column.values.type)), column.values.to_pylist()


UTC = dt.datetime(2026, 1, 2, 3, 4, 5, 250_000)


@pytest.mark.parametrize(
    ("array", "kind", "wanted"),
    [
        *(
            (pa.array([1, None, 3], kind), "int64", [1, None, 3])
            for kind in (
                pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
            )
        ),
        (pa.array([2**63 - 1, 0], pa.uint64()), "int64", [2**63 - 1, 0]),
        (pa.array([2**64 - 1, None, 0], pa.uint64()), "json", ["18446744073709551615", None, "0"]),
        (pa.array([-(2**63), 2**53 + 1], pa.int64()), "int64", [-(2**63), 2**53 + 1]),
        (pa.array([np.float16(0.5), np.float16(math.inf)], pa.float16()), "double", [0.5, math.inf]),
        (pa.array([0.1, None], pa.float32()), "double", [0.10000000149011612, None]),
        (pa.array([0.1, -math.inf, None], pa.float64()), "double", [0.1, -math.inf, None]),
        (pa.array([True, None, False]), "bool", [True, None, False]),
        (pa.array(["a", "", None]), "string", ["a", "", None]),
        (pa.array(["a", None], pa.large_string()), "string", ["a", None]),
        (pa.array([b"a\xff"], pa.binary()), "string", ["a\ufffd"]),
        (pa.array(["a", "b", "a", None]).dictionary_encode(), "string", ["a", "b", "a", None]),
        (pa.array([None, "Infinity", "-Infinity"]), "double", [None, math.inf, -math.inf]),
        (pa.array(["NaN", "x"]), "string", ["NaN", "x"]),
        (pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)), "double", [1.5, None]),
        (pa.array([Decimal(7)], pa.decimal128(20, 0)), "int64", [7]),
        (pa.array([Decimal(10**20)], pa.decimal256(40, 0)), "json", ["1" + "0" * 20]),
        (pa.array([UTC], pa.timestamp("us", "UTC")), "string", ["2026-01-02T03:04:05.250000Z"]),
        (pa.array([UTC, None], pa.timestamp("ns")), "string", ["2026-01-02T03:04:05.250000", None]),
        (pa.array([dt.date(2026, 1, 2)]), "string", ["2026-01-02"]),
        (pa.array([dt.timedelta(seconds=1.5)]), "double", [1.5]),
        (pa.array([[1, None], [], None], pa.list_(pa.int64())), "json", ["[1,null]", "[]", None]),
        (pa.array([[1.5, math.nan, -math.inf]]), "json", ['[1.5,"NaN","-Infinity"]']),
        (pa.array([[[1], [2]]]), "json", ["[[1],[2]]"]),
        (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), "json", ["[1,2]"]),
        (pa.array([[2**64 - 1]], pa.list_(pa.uint64())), "json", ["[18446744073709551615]"]),
        (pa.array([{"a": 1, "b": None}, None, {"a": None}], pa.struct({"a": pa.int64(), "b": pa.string()})),
         "json", ['{"a":1}', None, "{}"]),
        (pa.array([[("k", 1.0), ("n", None)], []], pa.map_(pa.string(), pa.float64())),
         "json", ['{"k":1.0,"n":null}', "{}"]),
        (pa.array([{"t": UTC, "d": Decimal("0.5"), "b": b"x", "f": np.float16(0.5)}],
                  pa.struct({"t": pa.timestamp("us"), "d": pa.decimal128(5, 2), "b": pa.binary(), "f": pa.float16()})),
         "json", ['{"t":"2026-01-02T03:04:05.250000","d":0.5,"b":"x","f":0.5}']),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)  # fmt: skip
def test_types(array: Any, kind: str, wanted: list[Any], tmp_path: Path) -> None:
    assert cells(tmp_path, array) == (kind, wanted)


def test_the_clock_is_a_number(tmp_path: Path) -> None:
    seconds = (UTC - dt.datetime(1970, 1, 1)).total_seconds()
    for unit in ("ms", "us", "ns"):
        moments = pa.array([UTC, None], pa.timestamp(unit, "UTC"))
        assert cells(tmp_path, moments, "_timestamp") == ("double", [seconds, None])


def test_nan_is_a_value(tmp_path: Path) -> None:
    for array in (pa.array([math.nan, None]), pa.array(["NaN", None])):
        kind, values = cells(tmp_path, array)
        assert kind == "double" and math.isnan(values[0]) and values[1] is None


def test_columns_of_json_texts_are_read(tmp_path: Path) -> None:
    texts = pa.array(['{"a": NaN}', None, "null", '"x"', "NaN", "18446744073709551616"])
    save_to = tmp_path / "t"
    schema = pa.schema(
        [pa.field("_step", pa.int64()), pa.field("v", pa.string(), metadata={"encoding": "json"})]
    )
    pq.write_table(pa.Table.from_arrays([pa.array(range(6)), texts], schema=schema), save_to)
    (found,) = parquet.rows([save_to], from_step=0)
    column = found.columns["v"]
    assert column.values.to_pylist() == ['{"a":"NaN"}', None, None, '"x"', '"NaN"', "18446744073709551616"]
    assert column.json and column.nulls is not None and column.nulls.tolist() == [2]
    assert cells(tmp_path, pa.array(["1", "2"]), metadata={"encoding": "json"}) == ("int64", [1, 2])


def test_columns_come_in_the_order_of_the_contract(tmp_path: Path) -> None:
    file = tmp_path / "t"
    names = ["_timestamp", "b", "_step", "empty", "_runtime", "a"]
    pq.write_table(pa.table({name: pa.array([None if name == "empty" else 1]) for name in names}), file)
    (found,) = parquet.rows([file], from_step=0)
    assert list(found.columns) == ["_step", "b", "a", "_runtime", "_timestamp"]


@pytest.mark.parametrize(
    "steps", [pa.array([0, 1], pa.uint8()), pa.array([0.0, 1.0]), pa.array([0, 1], pa.int32())]
)
def test_steps_are_whole_numbers_of_any_type(steps: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"_step": steps, "_step.inner": [5, 6]}), tmp_path / "t")
    assert read([tmp_path / "t"]) == [(0, {"_step.inner": 5}), (1, {"_step.inner": 6})]


# What is wrong with files


def broken(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Files that are none, by what is wrong with them."""
    good = save(tmp_path / "good", [{"_step": i, "loss": i / 7, "text": str(i)} for i in range(3000)])
    body = good.read_bytes()
    made = {
        "empty": b"",
        "page": b"<html><body>Please sign in</body></html>",
        "cut off": body[: len(body) // 2],
        "without its end": body[:-1],
        "only the ends": b"PAR1" + b"PAR1",
        "a wrong footer": body[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
        "noise before the footer": body[:-2000] + random.Random(1).randbytes(1900) + body[-100:],
    }
    for name, content in made.items():
        file = tmp_path / re.sub(r"\W", "-", name)
        file.write_bytes(content)
        yield name, file


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    good = save(tmp_path / "first", [{"_step": 0}])
    for name, file in broken(tmp_path):
        with pytest.raises(InvalidAnswer, match=r"^file 1 of an exported history cannot be read: ") as caught:
            list(parquet.rows([good, file], from_step=0))
        assert str(tmp_path) not in caught.value.message, name


def test_pages_that_were_changed_are_noticed_where_they_are_signed(tmp_path: Path) -> None:
    rows = [{"_step": i, "loss": i / 7} for i in range(3000)]
    file = save(tmp_path / "a", rows, write_page_checksum=True, compression="none", use_dictionary=False)
    body = bytearray(file.read_bytes())
    place = bytes(body).index(pa.array([2000 / 7]).buffers()[1].to_pybytes())
    body[place] ^= 1
    file.write_bytes(body)
    with pytest.raises(InvalidAnswer, match="file 0"):
        list(parquet.rows([file], from_step=0))


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=40))
@modest
def test_damage_is_never_anything_but_an_invalid_answer(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes
) -> None:
    file = tmp_path_factory.mktemp("noise") / "a"
    file.write_bytes(base64.b64decode(SMALL))
    body = bytearray(file.read_bytes())
    at %= len(body)
    body[at : at + len(noise)] = noise
    file.write_bytes(body)
    try:
        for some in parquet.rows([file], from_step=0):
            json.dumps(told(some))
    except InvalidAnswer as fault:
        assert fault.message.startswith("file 0 of an exported history")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"loss": [1.0]}, "no column _step"),
        ({"_step": [None]}, "whole numbers only"),
        ({"_step": ["1"]}, "whole numbers only"),
        ({"_step": [0.5]}, "0.5"),
        ({"_step": [0], "when": pa.array([b"x" * 4], pa.binary(4)).cast(pa.binary()).cast(pa.string())}, ""),
    ],
)
def test_files_that_hold_no_history(columns: dict[str, Any], words: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a")
    if not words:
        assert read([tmp_path / "a"]) == [(0, {"when": "xxxx"})]
        return
    with pytest.raises(InvalidAnswer, match=words):
        list(parquet.rows([tmp_path / "a"], from_step=0))


def test_a_missing_file_is_our_own_doing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(parquet.rows([tmp_path / "nothing"], from_step=0))


def test_files_are_closed_when_nobody_reads_on(tmp_path: Path) -> None:
    files = [save(tmp_path / str(i), [{"_step": step} for step in range(i, 100, 2)]) for i in range(2)]
    reading = parquet.rows(files, from_step=0)
    next(reading)
    reading.close()
    for file in files:
        file.unlink()


def _small() -> str:
    sink = pa.BufferOutputStream()
    table = pa.table(
        {"_step": [0, 1, 2], "a": [0.5, None, 1.5], "t": ["x", "yy", None], "l": [[1], [], [2, 3]]}
    )
    pq.write_table(table, sink)
    return base64.b64encode(sink.getvalue()).decode()


SMALL = _small()
