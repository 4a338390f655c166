"""How near eight exports at once come to the least time a server's limit allows, and how often it had to refuse."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from runtap.v1 import accounts_pb2, accounts_pb2_grpc, runs_pb2, runs_pb2_grpc
from tests.support.daemon import Daemon
from tests.support.limited_upstream import FixedWindow, LimitedUpstream, Limiter, TokenBucket
from tests.support.upstream import ENTITY, KEY

EXPORTS = 8
RUNS_A_PAGE = 2
LIMITS: list[tuple[str, float, int, Callable[[], Limiter]]] = [
    ("50 a second", 50, 50, lambda: FixedWindow(50, 1.0)),
    ("a bucket of 25, 50 a second", 50, 25, lambda: TokenBucket(50, 25)),
]
"""What people call it, requests a second, requests at once, and the limiter."""


def rows(fresh_daemon: Callable[[], Daemon], pages: int) -> list[str]:
    """Returns the table as lines of Markdown; `pages` requests for each export."""
    lines = [
        "### Eight exports of eight projects from a server that limits",
        "",
        f"{EXPORTS} streams through one daemon, {pages} requests each. The least time is what the limit allows to a "
        "client that knows it.",
        "",
        "| limit | RateLimit headers | requests | refused | time | least | ratio |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, rate, at_once, make in LIMITS:
        for tells in (True, False):
            seconds, requests, refused = _measure(fresh_daemon(), make(), tells, pages)
            least = (requests - refused - at_once) / rate
            lines.append(
                f"| {name} | {'yes' if tells else 'no'} | {requests} | {refused} | {seconds:.2f} s | {least:.2f} s "
                f"| {seconds / least:.2f}x |"
            )
    return [*lines, ""]


def _measure(daemon: Daemon, limiter: Limiter, tells: bool, pages: int) -> tuple[float, int, int]:
    with LimitedUpstream(page_cap=RUNS_A_PAGE, tells=tells) as server:
        for project in range(EXPORTS):
            for run in range(pages * RUNS_A_PAGE):
                server.add_run(ENTITY, f"p{project}", f"p{project}r{run}")
        login = accounts_pb2_grpc.AccountServiceStub(daemon.channel()).Login(
            accounts_pb2.LoginRequest(base_url=server.url, api_key=KEY)
        )
        server.arrivals.clear()
        server.limiters[KEY] = limiter

        def export(project: int) -> int:
            channel = daemon.channel(f"bench/1/{project}", account=login.account.account_id)
            request = runs_pb2.StreamRunsRequest(project=f"{ENTITY}/p{project}")
            return sum(
                len(answer.runs) for answer in runs_pb2_grpc.RunServiceStub(channel).StreamRuns(request)
            )

        began = time.perf_counter()
        with ThreadPoolExecutor(EXPORTS) as threads:
            found = sum(threads.map(export, range(EXPORTS)))
        seconds = time.perf_counter() - began
        if found != EXPORTS * pages * RUNS_A_PAGE:
            raise SystemExit(f"the exports found {found} runs")
        return seconds, len(server.arrivals), server.refused
