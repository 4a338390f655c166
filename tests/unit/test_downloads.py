"""How one file is fetched from where a server points to: who is asked, and told what, and when it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtapd import faults
from runtapd.upstream.api import Wait
from runtapd.upstream.downloads import Downloads
from runtapd.upstream.graphql import GraphQLUpstream
from runtapd.upstream.transport import Answer
from tests.support.exporting_upstream import ExportingUpstream
from tests.support.storage_host import SECRET, StorageHost
from tests.support.upstream import KEY
from tests.support.upstream_client import soon, use
from tests.support.upstream_faults import (
    ResetBefore,
    Status,
)

BODY = b"PAR1" + b"x" * 3000 + b"PAR1"


def one(
    url: str, file: Path, seconds: float = 10.0, most_bytes: int = 10**6
) -> Callable[[GraphQLUpstream], Awaitable[None]]:
    return lambda upstream: upstream.download(url, file, soon(seconds), most_bytes=most_bytes)


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
    storage.fail("*", Status(302, b"", location))
    use(server, one(f"{storage.url}/bucket/a", tmp_path / "a"))
    with_name = storage.url.replace("//", f"//user:{KEY}@")
    use(server, one(f"{with_name}/private", tmp_path / "b"))
    assert [request.target for request in storage.seen] == ["/bucket/a", "/elsewhere?q=1", "/private"]
    assert storage.with_credentials() == [] and KEY not in str(storage.seen)


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


def test_no_more_than_a_few_at_once(server: ExportingUpstream, storage: StorageHost, tmp_path: Path) -> None:
    storage.latency_s = 0.05
    storage.files["/a"] = BODY

    async def crowd(upstream: GraphQLUpstream) -> None:
        with ThreadPoolExecutor(9) as upstream._downloads.threads:
            files = [tmp_path / str(number) for number in range(9)]
            url = f"{storage.url}/a"
            held = storage.hold("a")
            fetching = asyncio.gather(
                *(upstream.download(url, file, soon(), most_bytes=10**6) for file in files)
            )
            while storage.waiting < 3:
                await asyncio.sleep(0.01)
            held.set()
            await fetching

    use(server, crowd)
    assert len(storage.seen) == 9 and storage.most_waiting == 3


def test_a_pause_holds_all_downloads(server: ExportingUpstream, storage: StorageHost, tmp_path: Path) -> None:
    storage.files["/a"] = BODY

    async def two(upstream: GraphQLUpstream) -> None:
        storage.fail("*", Status(429, b"", {"Retry-After": "3600"}))
        for _ in range(2):
            with pytest.raises(faults.RateLimited) as caught:
                await upstream.download(f"{storage.url}/a", tmp_path / "a", soon(), most_bytes=10**6)
            assert caught.value.retry_after_s == pytest.approx(3600, abs=60)
        await upstream.run("team", "vision", "r1", soon())  # the server itself asked for none

    use(server, two)
    assert len(storage.seen) == 1


def test_addresses_may_be_abbreviated(
    server: ExportingUpstream, storage: StorageHost, tmp_path: Path
) -> None:
    for path in ("/exports/a", "/w/exports/a", "/w/exports/b", "/c"):
        storage.files[path] = path.encode()
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
    storage.fail("*", Status(307, b"", {"Location": url}), times=9)
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
    storage.fail("*", Status(302, b"", {"Location": f"/again?{SECRET}"}), times=99)
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
        storage.fail("*", ResetBefore(), times=3)
        for words in ("connection", "could not be reached when it was last tried"):
            with pytest.raises(faults.UpstreamUnavailable, match=words):
                await upstream.download(f"{storage.url}/a", tmp_path / "a", soon(), most_bytes=10**6)
            assert len(storage.seen) == 3
        upstream._downloads._shunned = dict.fromkeys(upstream._downloads._shunned, 0.0)  # time passes
        await upstream.download(f"{storage.url}/a", tmp_path / "a", soon(), most_bytes=10**6)

    use(server, thrice)


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
