"""What a server exports of a history, and how the files are fetched from where they lie."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runtapd import faults
from runtapd.history import exports
from runtapd.history.exports import Parts
from runtapd.model.paths import RunPath
from runtapd.upstream.api import Exports, Wait
from runtapd.upstream.downloads import Downloads
from runtapd.upstream.features import DAY_S, ServerFeatures
from runtapd.upstream.graphql import GraphQLUpstream
from runtapd.upstream.transport import Answer
from tests.support.daemon import eventually
from tests.support.exporting_upstream import SECRET, ExportingUpstream, StorageHost
from tests.support.upstream import KEY, ScriptedUpstream
from tests.support.upstream_client import soon, use
from tests.support.upstream_faults import (
    Delay,
    Drip,
    Html,
    Refuse,
    ResetBefore,
    ResetInside,
    ShortBody,
    Status,
    UpstreamFailure,
)

T = TypeVar("T")
PATH = RunPath("team", "vision", "r1")
BODY = b"PAR1" + b"x" * 3000 + b"PAR1"


@pytest.fixture
def storage() -> Iterator[StorageHost]:
    with StorageHost() as storage:
        yield storage


@pytest.fixture
def server(storage: StorageHost) -> Iterator[ExportingUpstream]:
    server = ExportingUpstream(storage=storage)
    with server:
        server.add_run("team", "vision", "r1")
        yield server


@pytest.fixture(autouse=True)
def no_secret_is_told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO)
    yield
    assert SECRET not in caplog.text


async def offered(upstream: GraphQLUpstream) -> Exports:
    return await upstream.exports(PATH, soon())


def fetched(folder: Path, seconds: float = 10.0) -> Callable[[GraphQLUpstream], Awaitable[Parts | None]]:
    return lambda upstream: download(upstream, folder, seconds)


async def download(upstream: GraphQLUpstream, folder: Path, seconds: float = 10.0) -> Parts | None:
    found = await upstream.exports(PATH, soon(seconds))
    return await exports.download(upstream, PATH, found, folder, lambda: soon(seconds))


def one(
    url: str, file: Path, seconds: float = 10.0, most_bytes: int = 10**6
) -> Callable[[GraphQLUpstream], Awaitable[None]]:
    return lambda upstream: upstream.download(url, file, soon(seconds), most_bytes=most_bytes)


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


# Fetching


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


def test_no_credentials_are_sent(
    server: ExportingUpstream, storage: StorageHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {KEY}\ndefault login user password {KEY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setattr("runtapd.upstream.transport._is_here", lambda url: False)
    storage.files["/elsewhere"] = storage.files["/private"] = BODY
    location = {"Location": "/elsewhere?q=1", "Set-Cookie": "session=1; Path=/"}
    storage.fail(Status(302, b"", location))
    use(server, one(f"{storage.url}/bucket/a", tmp_path / "a"))
    with_name = storage.url.replace("//", f"//user:{KEY}@")
    use(server, one(f"{with_name}/private", tmp_path / "b"))
    assert [request["path"] for request in storage.seen] == ["/bucket/a", "/elsewhere?q=1", "/private"]
    for request in storage.seen:
        assert not {"authorization", "cookie", "use-admin-privileges"} & request.keys()
        assert KEY not in str(request)


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
    storage.fail(failure, times=2)
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
    storage.fail(failure, times=99)
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
    storage.fail(Status(status))
    found = use(server, fetched(tmp_path))
    assert found is not None and [file.read_bytes() for file in found.files] == [BODY] * 2
    assert server.count("RunParquetHistory") == 2


def test_addresses_that_are_never_good_are_given_up(
    server: ExportingUpstream, storage: StorageHost, tmp_path: Path
) -> None:
    server.add_parts(str(PATH), [BODY])
    storage.good = "another signature"
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
    storage.good = "another signature"
    server.on_request = lambda request: (
        server.parts.clear() if server.count("RunParquetHistory") > 1 else None
    )
    assert use(server, fetched(tmp_path)) is None


def test_a_file_is_no_larger_than_it_may_be(
    server: ExportingUpstream, storage: StorageHost, tmp_path: Path
) -> None:
    storage.files["/a"] = BODY
    use(server, one(f"{storage.url}/a", tmp_path / "a", most_bytes=len(BODY)))
    storage.compress = True  # now its size is not told
    storage.files["/b"] = BODY * 100
    for path, most in (("/a", len(BODY) - 1), ("/b", len(BODY))):
        with pytest.raises(faults.AnswerTooLarge, match="larger than"):
            use(server, one(storage.url + path, tmp_path / "b", most_bytes=most))
    assert len(storage.seen) == 3


@pytest.mark.parametrize("failure", [Drip(0.05), Delay(30)], ids=["dripping", "silent"])
def test_the_deadline_holds(
    server: ExportingUpstream, storage: StorageHost, failure: UpstreamFailure, tmp_path: Path
) -> None:
    server.add_parts(str(PATH), [BODY])
    storage.fail(failure, times=9)
    began = time.monotonic()
    with pytest.raises(faults.UpstreamUnavailable, match="in time"):
        use(server, fetched(tmp_path, 0.4))  # leaving `use` waits for the threads
    assert time.monotonic() - began < 5
    eventually(lambda: storage.abandoned == 1, "the host sees the client leave")


@pytest.mark.parametrize("failure", [Drip(0.05), Delay(30)], ids=["dripping", "silent"])
def test_cancelling_ends_all_downloads(
    server: ExportingUpstream, storage: StorageHost, failure: UpstreamFailure, tmp_path: Path
) -> None:
    server.add_parts(str(PATH), [BODY] * 5)
    storage.fail(failure, times=5)

    async def give_up(upstream: GraphQLUpstream) -> None:
        task = asyncio.ensure_future(download(upstream, tmp_path, 60))
        while len(storage.seen) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    began = time.monotonic()
    use(server, give_up)
    assert time.monotonic() - began < 5
    eventually(lambda: storage.at_once == 0, "the host sees the client leave")


def test_one_that_fails_ends_the_others(
    server: ExportingUpstream, storage: StorageHost, tmp_path: Path
) -> None:
    server.add_parts(str(PATH), [BODY] * 2)
    storage.gates["/bucket/0.parquet"] = held = threading.Event()
    storage.files.pop("/bucket/1.parquet")
    with pytest.raises(faults.UpstreamRefused):
        use(server, fetched(tmp_path, 30))
    assert not held.is_set()
    eventually(lambda: storage.at_once == 0, "the host sees the client leave")


def test_no_more_than_a_few_at_once(server: ExportingUpstream, storage: StorageHost, tmp_path: Path) -> None:
    storage.latency_s = 0.05
    storage.files["/a"] = BODY

    async def crowd(upstream: GraphQLUpstream) -> None:
        with ThreadPoolExecutor(9) as upstream._downloads.threads:
            files = [tmp_path / str(number) for number in range(9)]
            url = f"{storage.url}/a"
            await asyncio.gather(*(upstream.download(url, file, soon(), most_bytes=10**6) for file in files))

    use(server, crowd)
    assert len(storage.seen) == 9 and storage.most_at_once == 3


def test_a_pause_holds_all_downloads(server: ExportingUpstream, storage: StorageHost, tmp_path: Path) -> None:
    storage.files["/a"] = BODY

    async def two(upstream: GraphQLUpstream) -> None:
        storage.fail(Status(429, b"", {"Retry-After": "3600"}))
        for _ in range(2):
            with pytest.raises(faults.RateLimited) as caught:
                await upstream.download(f"{storage.url}/a", tmp_path / "a", soon(), most_bytes=10**6)
            assert caught.value.retry_after_s == pytest.approx(3600, abs=60)
        await upstream.run("team", "vision", "r1", soon())  # the server itself asked for none

    use(server, two)
    assert len(storage.seen) == 1


def test_addresses_may_be_abbreviated(tmp_path: Path) -> None:
    with StorageHost() as storage:
        for path in ("/exports/a", "/w/exports/a", "/w/exports/b", "/c"):
            storage.files[path] = path.encode()
        with ExportingUpstream() as server:
            for base, url, wanted in (
                ("", "/exports/a", "/exports/a"),
                ("/w", "/exports/a", "/w/exports/a"),
                ("/w", "exports/b", "/w/exports/b"),
                ("/w", storage.url.removeprefix("http:") + "/c", "/c"),
            ):
                use(server, one(url, tmp_path / "x"), url=storage.url + base)
                assert (tmp_path / "x").read_bytes() == wanted.encode()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.org/a", "https:///a", "http://[/a", "data:text/plain,x"]
)
def test_only_the_web_is_asked(server: ExportingUpstream, url: str, tmp_path: Path) -> None:
    with pytest.raises(faults.InvalidAnswer, match="not one of the web"):
        use(server, one(f"{url}?{SECRET}", tmp_path / "a"))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://[/a"])
def test_nobody_is_sent_on_out_of_the_web(
    server: ExportingUpstream, storage: StorageHost, url: str, tmp_path: Path
) -> None:
    storage.fail(Status(307, b"", {"Location": url}), times=9)
    with pytest.raises(faults.InvalidAnswer, match="not one of the web"):
        use(server, one(f"{storage.url}/a", tmp_path / "a"))


class Answering(Downloads):
    """Gets answers as a test gives them; notes who was asked."""

    def __init__(self, threads: ThreadPoolExecutor, *answers: Answer) -> None:
        super().__init__("https://api.example", "test", threads)
        self.answers = list(answers)
        self.asked: list[str] = []

    async def _sent(self, address: str, file: Path, wait: Wait, most_bytes: int, heard: list[int]) -> Answer:
        self.asked.append(address)
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("onward", "asked"),
    [
        ("http://other.example/a", ["https://files.example/a"]),
        ("https://other.example/b", ["https://files.example/a", "https://other.example/b"]),
    ],
)
def test_a_secret_does_not_go_on_in_the_clear(onward: str, asked: list[str], tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        sent_on, missing = Answer(302, {"location": onward}, b""), Answer(404, {}, b"")
        downloads = Answering(threads, sent_on, missing)

        async def fetch() -> None:
            await downloads.fetch("https://files.example/a", tmp_path / "a", soon(), 10)

        with pytest.raises(faults.UpstreamRefused):
            asyncio.run(fetch())
    assert downloads.asked == asked


def test_redirects_end(server: ExportingUpstream, storage: StorageHost, tmp_path: Path) -> None:
    storage.fail(Status(302, b"", {"Location": f"/again?{SECRET}"}), times=99)
    with pytest.raises(faults.UpstreamRefused, match="HTTP 302"):
        use(server, one(f"{storage.url}/a", tmp_path / "a"))
    assert len(storage.seen) == 6


def test_a_host_that_cannot_be_reached(server: ExportingUpstream, tmp_path: Path) -> None:
    with StorageHost() as gone:
        url = f"{gone.url}/a?{SECRET}"
    with pytest.raises(faults.UpstreamUnavailable, match="connection refused"):
        use(server, one(url, tmp_path / "a"))


def test_a_host_out_of_reach_is_left_alone_for_a_while(
    server: ExportingUpstream, storage: StorageHost, tmp_path: Path
) -> None:
    storage.files["/a"] = BODY

    async def thrice(upstream: GraphQLUpstream) -> None:
        storage.fail(ResetBefore(), times=3)
        for words in ("connection", "could not be reached when it was last tried"):
            with pytest.raises(faults.UpstreamUnavailable, match=words):
                await upstream.download(f"{storage.url}/a", tmp_path / "a", soon(), most_bytes=10**6)
            assert len(storage.seen) == 3
        upstream._downloads._shunned = dict.fromkeys(upstream._downloads._shunned, 0.0)  # time passes
        await upstream.download(f"{storage.url}/a", tmp_path / "a", soon(), most_bytes=10**6)

    use(server, thrice)


# Rows


def parquet(*steps: int) -> bytes:
    """A file with these rows."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"_step": pa.array(steps, pa.int64()), "n": steps}), sink)
    return bytes(sink.getvalue())


def rows(upstream: GraphQLUpstream) -> Awaitable[list[int]]:
    """The steps of what is exported."""

    async def read() -> list[int]:
        return [
            step
            async for some in exports.exported(upstream, PATH, soon)
            for step in some.columns["n"].values.to_pylist()
        ]

    return read()


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
    storage.fail(Html())
    with pytest.raises(faults.InvalidAnswer, match="file 0 of an exported history"):
        use(server, rows)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("failure", [Status(429, b"", {"Retry-After": "3600"}), Status(503)])
def test_files_that_cannot_be_had_are_all_one(
    server: ExportingUpstream, storage: StorageHost, failure: UpstreamFailure, temporary: Path
) -> None:
    server.add_parts(str(PATH), [parquet(0)])
    storage.fail(failure, times=9)
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
    storage.fail(Drip(0.05), times=9)

    async def give_up(upstream: GraphQLUpstream) -> None:
        task = asyncio.ensure_future(rows(upstream))
        while not storage.seen:
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
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


def test_a_file_that_cannot_be_written_is_said(
    server: ExportingUpstream, storage: StorageHost, tmp_path: Path
) -> None:
    storage.files["/a"] = BODY
    for file in (tmp_path / "no such folder" / "a", tmp_path):
        with pytest.raises(faults.DiskFull, match="cannot be kept in"):
            use(server, one(f"{storage.url}/a", file))
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(faults.DiskFull, match="cannot be kept in"):
        use(server, one(f"{storage.url}/a", tmp_path / "link"))
    with pytest.raises(faults.DiskFull, match="No space left"):
        use(server, one(f"{storage.url}/a", Path("/dev/full")))


def test_html_arrives_as_it_is(server: ExportingUpstream, storage: StorageHost, tmp_path: Path) -> None:
    server.add_parts(str(PATH), [BODY])
    storage.fail(Html())
    found = use(server, fetched(tmp_path))  # what it is, the reader says
    assert found is not None and found.files[0].read_bytes().startswith(b"<html>")
