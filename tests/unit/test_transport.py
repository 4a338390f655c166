"""Requests to a real HTTP server that misbehaves."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import pytest

from runtapd import faults
from runtapd.model.paths import RunPath
from runtapd.upstream.api import RunChange
from runtapd.upstream.channel import Channel
from runtapd.upstream.graphql import GraphQLUpstream
from runtapd.upstream.turns import Turns
from tests.support.daemon import eventually
from tests.support.upstream import KEY, ScriptedUpstream
from tests.support.upstream_client import given_up, soon, use
from tests.support.upstream_faults import (
    CutShort,
    Delay,
    Drip,
    Empty,
    Html,
    Refuse,
    ResetBefore,
    ResetInside,
    ShortBody,
    Status,
    UpstreamFailure,
)

PATH = RunPath("team", "vision", "r1")


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        server.add_run("team", "vision", "r1", config={"lr": {"value": 0.1}}, summary={"text": "x" * 3000})
        yield server


async def read(upstream: GraphQLUpstream, seconds: float = 10.0) -> str:
    return (await upstream.run("team", "vision", "r1", soon(seconds))).summary


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "failure",
    [
        Status(500), Status(502), Status(503, b"<html>busy</html>"), Status(429, b"{}", {"Retry-After": "0.1"}),
        Status(408), ResetBefore(), ResetInside(), ShortBody(), CutShort(), Html(), Empty(),
    ],
    ids=lambda failure: f"{type(failure).__name__}{getattr(failure, 'code', '')}",
)  # fmt: skip
def test_what_passes_is_tried_again(
    server: ScriptedUpstream, failure: UpstreamFailure, compress: bool
) -> None:
    server.compress = compress
    server.fail("Run", failure)
    assert len(use(server, read)) > 3000
    assert server.count("Run") == 2


@pytest.mark.parametrize("compress", [False, True])
def test_a_slow_body_arrives_whole(server: ScriptedUpstream, compress: bool) -> None:
    server.compress = compress
    server.fail("Run", Drip(0.0002))
    assert len(use(server, read)) > 3000


@pytest.mark.parametrize(
    ("failure", "kind", "reason"),
    [
        (Status(400), faults.UpstreamRefused, "UPSTREAM_REFUSED"),
        (Status(404, b"no such page"), faults.UpstreamRefused, "UPSTREAM_REFUSED"),
        (Status(302, b"", {"Location": "/elsewhere"}), faults.UpstreamRefused, "UPSTREAM_REFUSED"),
        (Status(501), faults.UpstreamRefused, "UPSTREAM_REFUSED"),
        (Status(403), faults.UpstreamForbidden, "UPSTREAM_FORBIDDEN"),
        (Status(401), faults.NeedsLogin, "API_KEY_REJECTED"),
        (Refuse("no such column"), faults.UpstreamRefused, "UPSTREAM_REFUSED"),
    ],
)
def test_what_does_not_pass_is_said_at_once(
    server: ScriptedUpstream, failure: UpstreamFailure, kind: type[faults.Fault], reason: str
) -> None:
    async def twice(upstream: GraphQLUpstream) -> None:
        await upstream.run("team", "vision", "r1", soon())  # now it is known which fields the server has
        server.fail("Run", failure, times=9)
        await upstream.run("team", "vision", "r1", soon())

    with pytest.raises(kind) as caught:
        use(server, twice)
    assert server.count("Run") == 2
    assert caught.value.reason == reason and caught.value.metadata["server"] == server.url


def test_a_page_for_people_is_not_asked_for_all_day(server: ScriptedUpstream) -> None:
    server.fail("Run", Html(), times=99)
    with pytest.raises(faults.InvalidAnswer, match="text/html"):
        use(server, read)
    assert server.count("Run") == 3


@pytest.mark.parametrize("status", [405, 418, 499])
def test_what_no_such_server_says_is_tried_again_but_not_all_day(
    server: ScriptedUpstream, status: int
) -> None:
    server.fail("Run", Status(status), times=2)
    assert len(use(server, read)) > 3000
    server.fail("Run", Status(status), times=99)
    with pytest.raises(faults.InvalidAnswer, match=f"HTTP {status}: scripted"):
        use(server, read)
    assert server.count("Run") == 3 + 3


def test_a_date_in_retry_after_is_waited_for(server: ScriptedUpstream) -> None:
    at = time.time() + 2
    server.fail("Run", Status(503, b"", {"Retry-After": formatdate(at, usegmt=True)}))
    arrived: list[float] = []
    server.on_request = lambda request: arrived.append(time.time())
    assert len(use(server, read)) > 3000
    assert len(arrived) == 2 and arrived[1] >= int(at), "dates have no fractions"


@pytest.mark.parametrize("status", [201, 203])
def test_other_kinds_of_success_are_read(server: ScriptedUpstream, status: int) -> None:
    run = server.projects["team", "vision"]["r1"]
    server.fail("Run", Status(status, json.dumps({"data": {"project": {"run": run}}}).encode()))
    assert len(use(server, read)) > 3000 and server.count("Run") == 1


def test_documents_a_server_embeds_keep_every_number(server: ScriptedUpstream) -> None:
    document = '{"big": 18446744073709551617, "none": NaN, "deep": [{"least": -9223372036854775809}]}'
    run = json.dumps({**server.projects["team", "vision"]["r1"], "summaryMetrics": None})
    run = run.replace('"summaryMetrics": null', f'"summaryMetrics": {document}')
    for body in (run, run.replace("NaN", "null")):
        server.fail("Run", Status(200, f'{{"data": {{"project": {{"run": {body}}}}}}}'.encode()))
        summary = use(server, read)
        assert '"big":18446744073709551617' in summary and '"least":-9223372036854775809' in summary


def test_failures_to_the_deadline_tell_what_the_server_said(server: ScriptedUpstream) -> None:
    server.fail("Run", Status(503, b'{"errors":[{"message":"down for repair"}]}'), times=999)
    with pytest.raises(faults.UpstreamUnavailable, match="down for repair") as caught:
        use(server, lambda upstream: read(upstream, 2.0))
    assert caught.value.metadata["http_status"] == "503" and server.count("Run") > 1


def test_a_pause_longer_than_the_deadline_is_handed_on(server: ScriptedUpstream) -> None:
    server.fail("Run", Status(429, b"{}", {"Retry-After": "3600"}))
    with pytest.raises(faults.RateLimited) as caught:
        use(server, read)
    assert caught.value.retry_after_s == 3600 and server.count("Run") == 1


@pytest.mark.parametrize("failure", [Drip(0.05), Delay(30)], ids=["dripping", "silent"])
def test_the_deadline_holds_and_frees_the_thread(server: ScriptedUpstream, failure: UpstreamFailure) -> None:
    server.fail("Run", failure, times=9)
    began = time.monotonic()
    with pytest.raises(faults.UpstreamTimeout, match="in time"):
        use(server, lambda upstream: read(upstream, 1.0))  # leaving `use` waits for the threads
    assert time.monotonic() - began < 5
    eventually(lambda: server.abandoned == 1, "the server sees the client leave")


@pytest.mark.parametrize("failure", [Drip(0.05), Delay(30)], ids=["dripping", "silent"])
def test_cancelling_ends_the_request(server: ScriptedUpstream, failure: UpstreamFailure) -> None:
    server.fail("Run", failure)

    began = time.monotonic()
    use(server, lambda upstream: given_up(read(upstream, 60), lambda: server.count("Run")))
    assert time.monotonic() - began < 5
    eventually(lambda: server.abandoned == 1, "the server sees the client leave")


def test_what_no_thread_has_taken_up_is_never_sent(server: ScriptedUpstream) -> None:
    server.hold("Run")

    async def crowd(upstream: GraphQLUpstream) -> None:
        tasks = [asyncio.ensure_future(read(upstream, 60)) for _ in range(5)]
        while server.count("Run") < 2:  # as many as there are threads
            await asyncio.sleep(0.01)
        for some in (tasks[2:], tasks[:2]):  # those that wait for a thread first
            for task in some:
                task.cancel()
            await asyncio.gather(*some, return_exceptions=True)

    use(server, crowd)
    assert server.count("Run") == 2


def test_what_is_cancelled_while_it_connects_is_never_sent(
    server: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting, go = threading.Event(), threading.Event()
    connect = socket.create_connection

    def slowly(*args: Any, **options: Any) -> socket.socket:
        connecting.set()
        assert go.wait(20)
        return connect(args[0])

    monkeypatch.setattr("urllib3.util.connection.create_connection", slowly)

    async def give_up(upstream: GraphQLUpstream) -> None:
        task = asyncio.ensure_future(read(upstream, 60))
        await asyncio.to_thread(connecting.wait, 20)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        go.set()

    use(server, give_up)  # leaving it waits for the threads
    monkeypatch.undo()
    assert server.count() == 0
    assert len(use(server, read)) > 3000 and server.count() == 1


def test_a_deadline_that_moves_on_keeps_the_request(server: ScriptedUpstream) -> None:
    gate = server.hold("Run")

    async def joined(upstream: GraphQLUpstream) -> str:
        wait = soon(1.0)
        over = wait.deadline
        task = asyncio.ensure_future(upstream.run("team", "vision", "r1", wait))
        await asyncio.sleep(0)
        wait.join(soon(10))
        await asyncio.sleep(over + 0.1 - asyncio.get_running_loop().time())
        gate.set()
        return (await task).run_id

    assert use(server, joined) == "r1"
    assert server.count("Run") == 1


def test_a_change_is_sent_once(server: ScriptedUpstream) -> None:
    async def change(upstream: GraphQLUpstream) -> None:
        run = await upstream.run("team", "vision", "r1", soon())
        await upstream.change_run(run.storage_id, run, RunChange(notes="n"), soon())

    for failure in (Status(503), ResetInside(), Refuse()):
        server.requests.clear()
        server.fail("UpsertBucket", failure, times=5)
        with pytest.raises(faults.UpstreamFault):
            use(server, change)
        assert server.count("UpsertBucket") == 1
        server.heal()
    use(server, change)
    assert server.projects["team", "vision"]["r1"]["notes"] == "n"


def test_a_server_without_some_fields_is_asked_for_them_once(server: ScriptedUpstream) -> None:
    server.lacks_updated_at = True

    async def thrice(upstream: GraphQLUpstream) -> list[str | None]:
        return [(await upstream.run("team", "vision", "r1", soon())).updated_at for _ in range(3)]

    assert use(server, thrice) == [None] * 3
    assert server.count("Run") == 4
    assert ["updatedAt" in request.document for request in server.requests] == [True, False, False, False]


def test_rows_and_missing_runs(server: ScriptedUpstream) -> None:
    server.add_history("team", "vision", "r1", [{"_step": i} for i in range(3)])

    async def rows(upstream: GraphQLUpstream, name: str = "r1") -> Any:
        path = RunPath("team", "vision", name)
        return await upstream.history(path, min_step=0, max_step=9, samples=9, wait=soon())

    assert len(use(server, rows)) == 3
    with pytest.raises(faults.NotFound, match=r"team/vision/nope at http://.* as user"):
        use(server, lambda upstream: rows(upstream, "nope"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_a_server_that_is_not_there(server: ScriptedUpstream, url: str) -> None:
    with pytest.raises(faults.UpstreamUnavailable, match="cannot be reached"):
        use(server, lambda upstream: read(upstream, 0.5), url=url)


def test_a_server_that_is_not_there_is_not_tried_to_the_end_of_a_long_deadline(
    server: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtapd.upstream.channel.LONGEST_UNREACHED_S", 0.3)
    with pytest.raises(faults.UpstreamUnavailable, match="cannot be reached"):
        use(server, lambda upstream: read(upstream, 3600), url="http://127.0.0.1:9")


def test_the_key_is_in_no_message_and_no_repr(server: ScriptedUpstream) -> None:
    coded = base64.b64encode(f"api:{KEY}".encode()).decode()
    parrot = f'{{"errors":[{{"message":"you sent {KEY}, that is {coded}"}}]}}'.encode()
    for failure in (Status(400, parrot), Status(403, parrot), Status(401, parrot), Status(404, KEY.encode())):
        server.fail("Run", failure, times=2)
        with pytest.raises(faults.Fault) as caught:
            use(server, read)
        told = f"{caught.value!r} {caught.value.message} {caught.value.metadata}"
        assert KEY not in told and coded not in told
        server.heal()
    with ThreadPoolExecutor(1) as threads:
        assert KEY not in repr(Channel(server.url, KEY, "test", threads, Turns(server.url)))


def test_threads_end_with_their_requests(server: ScriptedUpstream) -> None:
    before = threading.active_count()
    use(server, read)
    eventually(lambda: threading.active_count() <= before + 1, "the threads end")
