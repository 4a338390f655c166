"""What a server exports of a history: what it offers, and the rows that are in its files."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runtapd import faults
from runtapd.history import exports
from runtapd.model.paths import RunPath
from runtapd.upstream.api import Exports
from runtapd.upstream.features import DAY_S, ServerFeatures
from runtapd.upstream.graphql import GraphQLUpstream
from tests.support.exporting_upstream import ExportingUpstream
from tests.support.storage_host import SECRET, StorageHost
from tests.support.upstream import ScriptedUpstream
from tests.support.upstream_client import given_up, soon, use
from tests.support.upstream_faults import (
    Drip,
    Html,
    Refuse,
    Status,
    UpstreamFailure,
)

PATH = RunPath("team", "vision", "r1")
BODY = b"PAR1" + b"x" * 3000 + b"PAR1"


async def offered(upstream: GraphQLUpstream) -> Exports:
    return await upstream.exports(PATH, soon())


# What is offered


def test_addresses_and_the_first_live_step(server: ExportingUpstream) -> None:
    server.add_parts(str(PATH), [BODY, BODY])
    server.live[str(PATH)] = [{"_step": 70}, {"_step": 60.0, "loss": 1}]
    found = use(server, offered)
    assert len(found.urls) == 2 and all(SECRET in url for url in found.urls)
    assert found.live_from == 60 and found.offered
    assert SECRET not in repr(found)
    server.live[str(PATH)] = None
    assert use(server, offered).live_from is None
    server.parts.clear()
    assert use(server, offered) == Exports()


def test_a_run_that_is_not_there(server: ExportingUpstream) -> None:
    async def ask(upstream: GraphQLUpstream) -> None:
        await upstream.exports(RunPath("team", "vision", "nope"), soon())

    with pytest.raises(faults.NotFound, match="team/vision/nope"):
        use(server, ask)


def test_a_server_without_the_field_is_asked_once_a_day() -> None:
    now = [1_800_000_000.0]
    features = ServerFeatures(clock=lambda: now[0])
    with ScriptedUpstream() as server:
        for asked in (1, 1):
            assert use(server, offered, features=features) == Exports(offered=False)
            assert server.count("RunParquetHistory") == asked
        now[0] += DAY_S
        use(server, offered, features=features)
        assert server.count("RunParquetHistory") == 2


def test_what_introspection_told_spares_the_question(tmp_path: Path) -> None:
    async def after_viewer(upstream: GraphQLUpstream) -> Exports:
        await upstream.viewer(soon())
        return await upstream.exports(PATH, soon())

    features = ServerFeatures(tmp_path)
    with ScriptedUpstream() as server:
        assert not use(server, after_viewer, features=features).offered
        assert not use(server, offered, features=ServerFeatures(tmp_path)).offered
        assert server.counts() == {"Viewer": 1}
    with ExportingUpstream() as server:
        server.add_run("team", "vision", "r1")
        assert use(server, after_viewer, features=features).offered


def test_a_refusal_is_kept_until_the_server_tells_of_other_fields(tmp_path: Path) -> None:
    server = ExportingUpstream(lacks={("Run", "parquetHistory")})
    with server:
        server.add_run("team", "vision", "r1")

        async def twice(upstream: GraphQLUpstream) -> Exports:
            await upstream.exports(PATH, soon())
            return await upstream.exports(PATH, soon())

        assert not use(server, twice, features=ServerFeatures(tmp_path)).offered
        server.lacks.clear()
        features = ServerFeatures(tmp_path)
        assert not use(server, offered, features=features).offered, "it is remembered on disk"
        assert server.count("RunParquetHistory") == 1

        async def told(upstream: GraphQLUpstream) -> Exports:
            upstream.features.told(server.url, {"Run": ["id", "parquetHistory"]})
            return await upstream.exports(PATH, soon())

        assert use(server, told, features=features).offered


def test_what_fails_for_one_run_is_not_blamed_on_the_server(server: ExportingUpstream) -> None:
    server.add_run("team", "vision", "bad")
    server.add_parts(str(PATH), [BODY])
    server.cannot_export.add("team/vision/bad")

    async def both(upstream: GraphQLUpstream) -> tuple[Exports, Exports]:
        bad = await upstream.exports(RunPath("team", "vision", "bad"), soon())
        server.fail("RunParquetHistory", Refuse("too busy"))
        good = await upstream.exports(PATH, soon())
        assert not good.offered
        return bad, await upstream.exports(PATH, soon())

    bad, good = use(server, both)
    assert bad == Exports() and len(good.urls) == 1


@pytest.mark.parametrize(
    "told",
    [
        {"parquetUrls": "x"}, {"parquetUrls": [None]}, {"parquetUrls": [""]}, {"liveData": {"_step": 1}},
        {"parquetUrls": ["x"], "liveData": [{"loss": 1}]}, {"liveData": [{"_step": "1"}]}, {"liveData": [7]},
    ],
)  # fmt: skip
def test_answers_that_cannot_be_understood(server: ExportingUpstream, told: object) -> None:
    class Odd(ExportingUpstream):
        def _answer_runparquethistory(self, request: object) -> dict[str, object]:
            return {"data": {"project": {"run": {"parquetHistory": told}}}}

    with Odd() as odd, pytest.raises(faults.InvalidAnswer, match=r"project\.run\.parquetHistory"):
        use(odd, offered)


# Rows


def parquet(*steps: int) -> bytes:
    """A file with these rows."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"_step": pa.array(steps, pa.int64()), "n": steps}), sink)
    return bytes(sink.getvalue())


async def rows(upstream: GraphQLUpstream) -> list[int]:
    """The steps of what is exported."""
    return [
        step
        async for some in exports.exported(upstream, PATH, soon)
        for step in some.columns["n"].values.to_pylist()
    ]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files lie."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_rows_of_all_files_up_to_the_live_ones(server: ExportingUpstream, temporary: Path) -> None:
    assert use(server, rows) == []
    server.add_parts(str(PATH), [parquet(10, 11, 12), parquet(0, 1, 2, 10)])
    assert use(server, rows) == [0, 1, 2, 10, 11, 12]
    server.live[str(PATH)] = [{"_step": 11}]
    assert use(server, rows) == [0, 1, 2, 10]
    server.live[str(PATH)] = [{"_step": 0}]
    assert use(server, rows) == []
    assert list(temporary.iterdir()) == []


def test_a_page_for_people_is_no_history(
    server: ExportingUpstream, storage: StorageHost, temporary: Path
) -> None:
    server.add_parts(str(PATH), [parquet(0)])
    storage.fail("*", Html())
    with pytest.raises(faults.InvalidAnswer, match="file 0 of an exported history"):
        use(server, rows)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("failure", [Status(429, b"", {"Retry-After": "3600"}), Status(503)])
def test_files_that_cannot_be_had_are_all_one(
    server: ExportingUpstream, storage: StorageHost, failure: UpstreamFailure, temporary: Path
) -> None:
    server.add_parts(str(PATH), [parquet(0)])
    storage.fail("*", failure, times=9)
    with pytest.raises(faults.UpstreamUnavailable, match="HTTP"):
        use(server, rows)
    assert list(temporary.iterdir()) == []


def test_nothing_is_left_when_nobody_reads_on(
    server: ExportingUpstream, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtapd.history.parquet.MOST_ROWS", 2)
    server.add_parts(str(PATH), [parquet(*range(9))])

    async def first(upstream: GraphQLUpstream) -> None:
        async with contextlib.aclosing(exports.exported(upstream, PATH, soon)) as reading:
            async for some in reading:
                assert some.length == 2
                (folder,) = temporary.iterdir()
                assert stat.S_IMODE(folder.stat().st_mode) == 0o700
                break

    use(server, first)
    assert list(temporary.iterdir()) == []


def test_nothing_is_left_when_the_reading_is_cancelled(
    server: ExportingUpstream, storage: StorageHost, temporary: Path
) -> None:
    server.add_parts(str(PATH), [parquet(*range(9))] * 3)
    storage.fail("*", Drip(0.05), times=9)

    async def give_up(upstream: GraphQLUpstream) -> None:
        await given_up(rows(upstream), lambda: storage.seen)
        assert list(temporary.iterdir()) == []

    use(server, give_up)


def test_what_a_killed_daemon_left_is_removed(server: ExportingUpstream, temporary: Path) -> None:
    left, used, young, other = (temporary / f"runtap-export-{name}" for name in ("l", "u", "y", "o"))
    for folder in (left, used, young):
        folder.mkdir()
        (folder / "part-00000.parquet").write_bytes(b"x")
        os.utime(folder, (0, 0))
    os.utime(young)
    other.symlink_to(young)
    server.add_parts(str(PATH), [parquet(0)])
    lock = os.open(used, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        use(server, rows)
    finally:
        os.close(lock)
    assert set(temporary.iterdir()) == {used, young, other}
    assert (young / "part-00000.parquet").exists()
