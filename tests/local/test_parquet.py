"""Histories as Parquet files: their types, their life beside the rows they were made of, the real client on them."""

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pyarrow.parquet as pq
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from runtap_local import jsontext
from runtap_local.histories import parquet
from runtap_local.settings import SettingsError, load
from tests.local.client import Client
from tests.support.local_server import LocalServer, local_server, log_run, start_local_server

PARTS = 'parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData }'


@pytest.fixture(scope="module")
def exporting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server that offers exports, in parts of 40 rows."""
    with local_server(tmp_path_factory.mktemp("exporting") / "home", parquet=1, parquet_rows=40) as running:
        yield running


@pytest.fixture
def owner(exporting: LocalServer, request: pytest.FixtureRequest) -> Client:
    """The first user of that server, in a project of the test's own."""
    return Client(exporting.url, exporting.entity, exporting.api_key, project=request.node.name[:60])


def finish(client: Client, run: str) -> None:
    """End a run."""
    client.stream(run, complete=True, exitcode=0)


def addresses(client: Client, run: str) -> list[str]:
    """The addresses of the run's parts."""
    answer = client.run(run, PARTS)["parquetHistory"]
    assert answer["liveData"] == []
    found: list[str] = answer["parquetUrls"]
    return found


def download(url: str) -> Any:
    """A part as a table, fetched as the real client does it: without any credentials."""
    response = requests.get(url, timeout=20)
    assert response.status_code == 200, response.text
    return pq.read_table(io.BytesIO(response.content))


def rows_of(table: Any) -> list[dict[str, Any]]:
    """The rows of a table: what is null was not logged, and what is written as JSON is read."""
    encoded = {field.name for field in table.schema if (field.metadata or {}).get(b"encoding") == b"json"}
    return [
        {
            key: json.loads(value) if key in encoded else cleaned(value)
            for key, value in row.items()
            if value is not None
        }
        for row in table.to_pylist(maps_as_pydicts="strict")
    ]


def cleaned(value: Any) -> Any:
    """A value without nulls in objects, which stand for keys that are not there."""
    if isinstance(value, dict):
        return {key: cleaned(item) for key, item in value.items() if item is not None}
    return [cleaned(item) for item in value] if isinstance(value, list) else value


def same(one: Any, other: Any) -> bool:
    """Equal, where NaN equals itself."""
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other and isinstance(one, bool) == isinstance(other, bool))


MIXED = [
    {"_step": 0, "loss": 0.5, "n": 1, "ok": True, "name": "x", "any": 1, "list": [1, 2], "a/b.c": 1},
    {"_step": 1, "loss": math.nan, "n": 2**60 + 1, "any": "two", "list": [], "point": {"x": 1, "y": 2}},
    {"_step": 2, "loss": 3, "ok": False, "name": "ü\U0001f600", "any": None, "point": {"x": 1.5}},
    {"_step": 3, "loss": -math.inf, "any": {"deep": [1]}, "huge": 2**70, "list": [0.5]},
    {
        "_step": 4,
        "h": {"_type": "histogram", "values": [1, 2], "bins": [0, 0.5, 1]},
        "image": {"_type": "image-file", "path": "a.png", "width": 3},
    },
    {"_step": 5, "image": {"_type": "image-file", "path": "b.png", "caption": "b"}, "empty": {}},
    {"_step": 6, "lists": [[1], ["x"]], "nothing": None},
]


def test_every_type_of_value_has_a_column() -> None:
    table = parquet.table([row["_step"] for row in MIXED], [jsontext.dumps(row) for row in MIXED])  # type: ignore[misc]
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds == {
        "_step": "int64",
        "loss": "double",
        "n": "int64",
        "ok": "bool",
        "name": "string",
        "any": "string",
        "list": "list<item: double>",
        "a/b.c": "int64",
        "point": "map<string, double>",
        "huge": "string",
        "h": "struct<_type: string, values: list<item: int64>, bins: list<item: double>>",
        "image": "struct<_type: string, path: string, width: int64, caption: string>",
        "empty": "map<string, null>",
        "lists": "string",
        "nothing": "null",
    }
    sink = io.BytesIO()
    pq.write_table(table, sink)
    wanted = [{key: value for key, value in row.items() if value is not None} for row in MIXED]
    assert same(rows_of(pq.read_table(sink)), wanted)


def test_numbers_spelled_as_texts_are_numbers_among_numbers() -> None:
    table = parquet.table(
        [0, 1, 2], ['{"a": 1, "b": "NaN"}', '{"a": "NaN", "b": "x"}', '{"a": "-Infinity", "_step": 2}']
    )
    assert same(table.column("a").to_pylist(), [1.0, math.nan, -math.inf])
    assert table.column("b").to_pylist() == ["NaN", "x", None]
    assert table.column("_step").to_pylist() == [0, 1, 2]


def test_texts_that_no_file_can_hold_are_mended() -> None:
    deep = "[" * 500 + "]" * 500
    texts = ['{"half\\ud800": "\\ud800", "": 1, "nul\\u0000": 2}', '{"deep": ' + deep + ', "nan": NaN}']
    table = parquet.table([0, 1], texts)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    first, second = rows_of(pq.read_table(sink))
    assert first == {"_step": 0, "half\ufffd\ufffd\ufffd": "\ufffd\ufffd\ufffd", "": 1, "nul\x00": 2}
    assert json.dumps(second["deep"]) == deep


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text("ab\x00ü", max_size=2)
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c.d", "e/f"]), anything, max_size=4), max_size=8))
def test_files_hold_what_the_rows_hold(rows: list[dict[str, Any]]) -> None:
    table = parquet.table(list(range(len(rows))), [jsontext.dumps(row) for row in rows])
    sink = io.BytesIO()
    pq.write_table(table, sink)
    wanted = [{"_step": step, **{k: cleaned(v) for k, v in row.items()}} for step, row in enumerate(rows)]
    wanted = [{key: value for key, value in row.items() if value is not None} for row in wanted]
    found = [{key: cleaned(value) for key, value in row.items()} for row in rows_of(pq.read_table(sink))]
    assert same(found, wanted)


@pytest.mark.parametrize(
    ("text", "on"), [("1", True), ("on", True), ("True", True), ("0", False), ("", False)]
)
def test_exports_are_switched_on(text: str, on: bool, tmp_path: Path) -> None:
    assert load(tmp_path, {"RUNTAP_LOCAL_PARQUET": text}).parquet is on
    assert load(tmp_path, {}).parquet is False
    with pytest.raises(SettingsError, match="RUNTAP_LOCAL_PARQUET must be 1 or 0, not 'x'"):
        load(tmp_path, {"RUNTAP_LOCAL_PARQUET": "x"})
    with pytest.raises(SettingsError, match="parquet_rows must be more than 0"):
        load(tmp_path, {"RUNTAP_LOCAL_PARQUET_ROWS": "0"})


def test_a_finished_run_is_exported_in_parts(owner: Client, exporting: LocalServer) -> None:
    owner.upsert("r1")
    rows = [
        {"_step": step, "loss": step / 2, **({"acc": step} if step % 5 == 0 else {})} for step in range(100)
    ]
    owner.log("r1", 0, rows[50:])  # logged the wrong way round
    owner.log("r1", 50, rows[:50])
    assert addresses(owner, "r1") == []  # while it runs
    finish(owner, "r1")
    urls = addresses(owner, "r1")
    assert addresses(owner, "r1")[0].split("?")[0] == urls[0].split("?")[0]  # made once
    tables = [download(url) for url in urls]
    assert [table.num_rows for table in tables] == [40, 40, 20]
    assert [row for table in tables for row in rows_of(table)] == rows
    assert all(url.startswith(exporting.url + "/") for url in urls)


def test_addresses_of_parts_are_for_one_part_and_a_time(owner: Client, exporting: LocalServer) -> None:
    owner.upsert("r1")
    owner.log("r1", 0, [{"_step": 0, "a": 1}])
    finish(owner, "r1")
    url = addresses(owner, "r1")[0]
    whole = requests.get(url, timeout=20).content
    head = requests.head(url, timeout=20)
    assert head.status_code == 200 and int(head.headers["content-length"]) == len(whole)
    assert head.headers["accept-ranges"] == "bytes"
    part = requests.get(url, headers={"Range": f"bytes={len(whole) - 8}-{len(whole) - 1}"}, timeout=20)
    assert part.status_code == 206 and part.content == whole[-8:]
    assert part.headers["content-range"] == f"bytes {len(whole) - 8}-{len(whole) - 1}/{len(whole)}"

    address, query = url.split("?")
    signed = {key: value[0] for key, value in parse_qs(query).items()}
    assert requests.get(address, timeout=20).status_code == 401
    for change in ({"expires": "99999999999"}, {"signature": "0" * 64}, {"expires": "1"}):
        assert requests.get(f"{address}?{urlencode(signed | change)}", timeout=20).status_code == 403
    stranger = ("api", exporting.add_user("stranger"))
    assert requests.get(address, auth=stranger, timeout=20).status_code in (403, 404)
    assert owner.request("GET", address).content == whole
    other = urlsplit(url)._replace(path=urlsplit(url).path.rsplit("/", 1)[0] + "/other.parquet").geturl()
    assert requests.get(other, timeout=20).status_code == 403
    assert requests.post(url, timeout=20).status_code == 404


def test_parts_are_made_again_when_the_rows_change(owner: Client, exporting: LocalServer) -> None:
    def exported() -> list[dict[str, Any]]:
        return [row for url in addresses(owner, "r1") for row in rows_of(download(url))]

    def blobs() -> int:
        return sum(path.is_file() for path in (exporting.home / "files").glob("??/*"))

    before = blobs()
    created = owner.upsert("r1")["bucket"]
    owner.log("r1", 0, [{"_step": step, "a": step} for step in range(90)])
    finish(owner, "r1")
    assert len(exported()) == 90 and blobs() == before + 3
    old = addresses(owner, "r1")
    owner.upsert("r1", tags=["t"], state="finished")  # no row of it
    assert [url.split("?")[0] for url in addresses(owner, "r1")] == [url.split("?")[0] for url in old]

    owner.upsert("r1")
    owner.log("r1", 90, [{"_step": 90, "a": 90}])
    assert addresses(owner, "r1") == []
    finish(owner, "r1")
    assert len(exported()) == 91 and blobs() == before + 3
    assert requests.get(old[0], timeout=20).status_code == 404  # what it was before is not to be had

    owner.log("r1", 10, [{"_step": 10, "a": "changed"}])
    assert exported()[10] == {"_step": 10, "a": "changed"}

    owner.query("mutation M($i: ID!) { deleteRun(input: {id: $i}) { success } }", i=created["id"])
    assert blobs() == before
    owner.upsert("r1")
    finish(owner, "r1")
    assert addresses(owner, "r1") == []  # no rows
    owner.log("r1", 0, [{"_step": 5, "b": 1}])
    assert exported() == [{"_step": 5, "b": 1}] and blobs() == before + 1
    again = start_local_server(exporting.home)  # it runs; what is in use is not swept away by a look
    assert again.pid == exporting.pid and len(exported()) == 1


REAL = """
import json, sys, wandb
api = wandb.Api()
run = api.run(sys.argv[1])
def rows(**options):
    return [dict(row) for row in run.scan_history(**options)]
found = {
    "all": rows(use_cache=False),
    "pages": rows(use_cache=False, page_size=7),
    "a part": rows(use_cache=False, min_step=30, max_step=60),
    "keys": rows(use_cache=False, keys=["loss"]),
    "two": rows(use_cache=False, keys=["loss", "n"]),
    "beta": [dict(row) for row in run.beta_scan_history(use_cache=False)],
    "cached": rows(),
}
print(json.dumps(found))
"""


def test_the_real_client_reads_parts(owner: Client, exporting: LocalServer, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"_step": step, "loss": step / 3, "n": step, "name": f"n{step}", "point": {"x": step, "y": [0.5]}}
        for step in range(100)
    ]
    rows[3]["loss"], rows[4]["loss"] = math.nan, math.inf
    rows[50]["sometimes"] = True
    for name in ("files", "lines"):
        owner.upsert(name)
        owner.log(name, 0, rows)
    finish(owner, "files")  # the other one still runs and is read line by line

    def read(run: str) -> dict[str, list[dict[str, Any]]]:
        script = f"import sys; sys.argv = ['', '{owner.entity}/{owner.project}/{run}']" + REAL
        done = log_run(exporting, tmp_path / run, script)
        assert done.returncode == 0, done.stderr
        found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
        return found

    for folder in ("files", "lines"):
        (tmp_path / folder).mkdir()
    by_file, by_line = read("files"), read("lines")
    assert owner.request("GET", "/runtap/stats").json()["kinds"]["export"] >= 3
    for name in ("all", "pages", "beta", "cached"):
        # The client shows keys that a row of a file lacks as None.
        assert same([cleaned(row) for row in by_file[name]], rows), name
        assert same(by_line[name], rows), name
    assert same([cleaned(row) for row in by_file["a part"]], rows[30:60])
    for name, keys in (("keys", ("_step", "loss")), ("two", ("_step", "loss", "n"))):
        assert same(by_file[name], [{key: row[key] for key in keys} for row in rows]), name
