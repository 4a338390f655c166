"""How the files of an exported history are fetched, all of them or none: what passes, what runs out, who gives up."""

from __future__ import annotations

import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runtapd import faults
from runtapd.history import exports
from runtapd.history.exports import Parts
from runtapd.model.paths import RunPath
from runtapd.upstream.graphql import GraphQLUpstream
from tests.support.daemon import eventually
from tests.support.exporting_upstream import ExportingUpstream
from tests.support.storage_host import SECRET, StorageHost
from tests.support.upstream_client import given_up, soon, use
from tests.support.upstream_faults import (
    Delay,
    Drip,
    Html,
    ResetBefore,
    ResetInside,
    ShortBody,
    Status,
    UpstreamFailure,
)

PATH = RunPath("team", "vision", "r1")
BODY = b"PAR1" + b"x" * 3000 + b"PAR1"


def fetched(folder: Path, seconds: float = 10.0) -> Callable[[GraphQLUpstream], Awaitable[Parts | None]]:
    return lambda upstream: download(upstream, folder, seconds)


async def download(upstream: GraphQLUpstream, folder: Path, seconds: float = 10.0) -> Parts | None:
    found = await upstream.exports(PATH, soon())  # what is timed are the files
    return await exports.download(upstream, PATH, found, folder, lambda: soon(seconds))


def test_files_arrive_whole_and_private(server: ExportingUpstream, tmp_path: Path) -> None:
    bodies = [BODY + bytes([i]) * 10**5 for i in range(7)]
    server.add_parts(str(PATH), bodies)
    server.live[str(PATH)] = [{"_step": 7}]
    found = use(server, fetched(tmp_path))
    assert found is not None and [file.read_bytes() for file in found.files] == bodies
    assert found.live_from == 7
    assert {stat.S_IMODE(file.stat().st_mode) for file in found.files} == {0o600}
    assert sorted(tmp_path.iterdir()) == sorted(found.files)


def test_nothing_is_offered(server: ExportingUpstream, tmp_path: Path) -> None:
    assert use(server, fetched(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "failure",
    [
        Status(500), Status(503, b"", {"Retry-After": "0.1"}), Status(429, b"", {"Retry-After": "0.1"}), Status(408),
        Status(206), Status(405), ResetBefore(), ResetInside(), ShortBody(),
    ],
    ids=lambda failure: f"{type(failure).__name__}{getattr(failure, 'code', '')}",
)  # fmt: skip
def test_what_passes_is_tried_again(
    server: ExportingUpstream, storage: StorageHost, failure: UpstreamFailure, tmp_path: Path
) -> None:
    server.add_parts(str(PATH), [BODY])
    storage.fail("*", failure, times=2)
    found = use(server, fetched(tmp_path))
    assert found is not None and found.files[0].read_bytes() == BODY
    assert len(storage.seen) == 3


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (Status(500, SECRET.encode()), faults.UpstreamUnavailable, "HTTP 500"),
        (ResetInside(), faults.UpstreamUnavailable, "a file could not be had from 127"),
        (ShortBody(), faults.UpstreamUnavailable, "broke off"),
        (Status(204, b""), faults.InvalidAnswer, "HTTP 204"),
    ],
)
def test_what_does_not_pass_is_not_tried_all_day(
    server: ExportingUpstream,
    storage: StorageHost,
    failure: UpstreamFailure,
    kind: type[faults.Fault],
    words: str,
    tmp_path: Path,
) -> None:
    server.add_parts(str(PATH), [BODY])
    storage.fail("*", failure, times=99)
    with pytest.raises(kind, match=words) as caught:
        use(server, fetched(tmp_path))
    assert len(storage.seen) == 4
    assert SECRET not in f"{caught.value.message} {caught.value.metadata}"
    assert caught.value.metadata["host"] in storage.url


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_an_address_that_has_run_out_is_asked_for_anew(
    server: ExportingUpstream, storage: StorageHost, status: int, tmp_path: Path
) -> None:
    server.add_parts(str(PATH), [BODY, BODY])
    storage.fail("*", Status(status))
    found = use(server, fetched(tmp_path))
    assert found is not None and [file.read_bytes() for file in found.files] == [BODY] * 2
    assert server.count("RunParquetHistory") == 2


def test_addresses_that_are_never_good_are_given_up(
    server: ExportingUpstream, storage: StorageHost, tmp_path: Path
) -> None:
    server.add_parts(str(PATH), [BODY])
    storage.refuses_all = True
    with pytest.raises(
        faults.UpstreamRefused, match=r"^127\.0\.0\.1:\d+ answered HTTP 403 where a file"
    ) as caught:
        use(server, fetched(tmp_path))
    assert server.count("RunParquetHistory") == 2 and len(storage.seen) == 2
    assert SECRET not in f"{caught.value.message} {caught.value.metadata}"


def test_parts_that_are_withdrawn_meanwhile(
    server: ExportingUpstream, storage: StorageHost, tmp_path: Path
) -> None:
    server.add_parts(str(PATH), [BODY])
    storage.refuses_all = True
    server.on_request = lambda request: (
        server.parts.clear() if server.count("RunParquetHistory") > 1 else None
    )
    assert use(server, fetched(tmp_path)) is None


@pytest.mark.parametrize("failure", [Drip(0.05), Delay(30)], ids=["dripping", "silent"])
def test_the_deadline_holds(
    server: ExportingUpstream, storage: StorageHost, failure: UpstreamFailure, tmp_path: Path
) -> None:
    server.add_parts(str(PATH), [BODY])
    storage.fail("*", failure, times=9)
    began = time.monotonic()
    with pytest.raises(faults.UpstreamUnavailable, match="in time"):
        use(server, fetched(tmp_path, 1.0))  # leaving `use` waits for the threads
    assert time.monotonic() - began < 5
    eventually(lambda: storage.abandoned == 1, "the host sees the client leave")


@pytest.mark.parametrize("failure", [Drip(0.05), Delay(30)], ids=["dripping", "silent"])
def test_cancelling_ends_all_downloads(
    server: ExportingUpstream, storage: StorageHost, failure: UpstreamFailure, tmp_path: Path
) -> None:
    server.add_parts(str(PATH), [BODY] * 5)
    storage.fail("*", failure, times=5)

    began = time.monotonic()
    use(server, lambda upstream: given_up(download(upstream, tmp_path, 60), lambda: len(storage.seen) >= 2))
    assert time.monotonic() - began < 5
    eventually(lambda: storage.under_way == 0, "the host sees the client leave")


def test_one_that_fails_ends_the_others(
    server: ExportingUpstream, storage: StorageHost, tmp_path: Path
) -> None:
    server.add_parts(str(PATH), [BODY] * 2)
    held = storage.hold("part-0.parquet")
    storage.files.pop(server.parts[str(PATH)][1])
    with pytest.raises(faults.UpstreamRefused):
        use(server, fetched(tmp_path, 30))
    assert not held.is_set()
    eventually(lambda: storage.under_way == 0, "the host sees the client leave")


def test_html_arrives_as_it_is(server: ExportingUpstream, storage: StorageHost, tmp_path: Path) -> None:
    server.add_parts(str(PATH), [BODY])
    storage.fail("*", Html())
    found = use(server, fetched(tmp_path))  # what it is, the reader says
    assert found is not None and found.files[0].read_bytes().startswith(b"<html>")
