"""Histories that a server exports as files, read through a real daemon: all rows, few requests, and pages at need."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from runtap.v1 import history_pb2 as pb
from runtap_local import jsontext
from runtap_local.histories import parquet
from tests.support.daemon import eventually
from tests.support.exporting_upstream import ExportingUpstream
from tests.support.scripted_world import DEADLINE_S, PROJECT, World
from tests.support.storage_host import SECRET, StorageHost
from tests.support.upstream import ENTITY
from tests.support.upstream_faults import Drip, Html, ResetBefore, ShortBody, Status, UpstreamFailure

COUNT = 6000
PATH = f"{ENTITY}/{PROJECT}/r1"
ROWS: list[dict[str, Any]] = [
    {"_step": step * 2, "loss": 1 / (step + 1), "n": 2**60 + step, "h": {"bins": [step, step + 1]}}
    for step in range(COUNT)
]


def part(begin: int, end: int) -> bytes:
    """A file with these rows."""
    some = ROWS[begin:end]
    sink = io.BytesIO()
    parquet.write(parquet.table([row["_step"] for row in some], [jsontext.dumps(row) for row in some]), sink)
    return sink.getvalue()


PARTS = [part(1500, 4500), part(0, 2000), part(4500, 5900)]
"""In no order, two of them overlap, and the last rows are in none."""


@pytest.fixture
def storage() -> Iterator[StorageHost]:
    with StorageHost() as storage:
        yield storage


@pytest.fixture
def server(storage: StorageHost) -> Iterator[ExportingUpstream]:
    server = ExportingUpstream(storage=storage)
    with server:
        server.add_run(ENTITY, PROJECT, "r1")
        server.add_history(ENTITY, PROJECT, "r1", ROWS)
        server.add_parts(PATH, PARTS)
        server.live[PATH] = [{"_step": row["_step"]} for row in ROWS[5900:]]
        yield server


@pytest.fixture(autouse=True)
def no_address_is_written_down(world: World) -> None:
    world.daemon.secrets.append(SECRET)


def read(world: World, key: str, timeout: float = DEADLINE_S) -> list[Any]:
    """The cells of a column."""
    request = pb.ReadHistoryRequest(path=PATH, keys=[key])
    cells = []
    for message in world.histories().ReadHistory(request, timeout=timeout):
        if message.WhichOneof("batch") == "arrow_ipc":
            cells += pa.ipc.open_stream(message.arrow_ipc).read_all().column(key).to_pylist()
    return cells


def test_files_bring_the_rows_and_pages_the_rest(
    world: World, server: ExportingUpstream, storage: StorageHost
) -> None:
    assert read(world, "n") == [row["n"] for row in ROWS]
    assert len(storage.seen) == 3 and server.count("RunParquetHistory") == 1
    assert server.count("HistoryPage") == 1
    assert read(world, "h") == [f'{{"bins":[{step},{step + 1}]}}' for step in range(COUNT)]
    assert len(storage.seen) == 3 and server.count("HistoryPage") == 1, "what is stored is not fetched again"


@pytest.mark.parametrize(
    "failure",
    [Status(403), Status(503), Status(429, b"", {"Retry-After": "3600"}), Html(), ShortBody(), ResetBefore()],
    ids=lambda failure: f"{type(failure).__name__}{getattr(failure, 'code', '')}",
)  # fmt: skip
def test_files_that_cannot_be_had_hide_no_rows(
    world: World, server: ExportingUpstream, storage: StorageHost, failure: UpstreamFailure
) -> None:
    storage.fail("*", failure, times=99)
    assert read(world, "n") == [row["n"] for row in ROWS]
    assert 0 < len(storage.seen) <= 12 and server.count("HistoryPage") > 1


@pytest.mark.parametrize("how", ["cut off", "other rows", "not all rows"])
def test_files_that_do_not_hold_the_history_are_not_believed(
    world: World, server: ExportingUpstream, storage: StorageHost, how: str
) -> None:
    place = server.parts[PATH][2]
    body = storage.files[place]
    storage.files[place] = {
        "cut off": body[: len(body) // 2],
        "other rows": b"PAR1" + b"\0" * 100 + b"PAR1",
        "not all rows": part(5000, 5900),
    }[how]
    assert read(world, "n") == [row["n"] for row in ROWS]


def test_cancelling_ends_the_downloads(world: World, server: ExportingUpstream, storage: StorageHost) -> None:
    storage.fail("*", Drip(0.05), times=9)
    call = world.histories().ReadHistory(pb.ReadHistoryRequest(path=PATH), timeout=DEADLINE_S)
    eventually(lambda: len(storage.seen) == 3, "all files are asked for")
    call.cancel()
    eventually(lambda: storage.under_way == 0, "the host sees the client leave")
