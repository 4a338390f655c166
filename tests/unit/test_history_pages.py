"""Pages of histories: as large as the server bears, several under way, and never fooled by what a server leaves out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtapd import faults
from runtapd.history import fetch, growth, windows
from runtapd.history.rows import Row
from runtapd.model.paths import RunPath
from runtapd.upstream.api import Upstream, Wait
from tests.support.history_rows import plain_rows
from tests.support.sampling_server import PATH, Asked, Server, rows_at
from tests.support.upstream import ScriptedUpstream
from tests.support.upstream_client import soon, use
from tests.support.upstream_faults import ResetInside, Status, UpstreamFailure


@pytest.mark.parametrize(
    ("rows", "most"),
    [
        (rows_at(*range(100_000)), 15),
        (rows_at(*range(0, 300_000, 3)), 19),  # two of them to prove a page that nothing else proves
        (rows_at(*range(7000, 17_000)), 5),
        (rows_at(*range(0, 1_000_000, 1000)), 1),
        (rows_at(*range(1900)), 1),
        ([{"_step": 3, "i": i} for i in range(20_000)], 8),
    ],
    ids=["dense", "every third step", "not from 0", "sparse", "small", "one step"],
)
def test_few_requests_by_large_pages(rows: list[Row], most: int) -> None:
    server = Server(rows)
    assert server.fetched() == server.rows
    assert len(server.asked) <= most


def test_a_run_that_is_not_counted_costs_a_few_more() -> None:
    server = Server(rows_at(*range(0, 1_000_000, 1000)))
    assert server.fetched(counted=False) == server.rows
    assert len(server.asked) <= 5


def test_callers_bound_pages() -> None:
    server = Server(rows_at(*range(5000)))
    assert server.fetched(page_rows=700) == server.rows
    assert max(samples for _, _, samples in server.asked) == 700


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("over", [0.0, 0.05])
@pytest.mark.parametrize("gap", [1, 3, 1000])
def test_a_server_that_never_gives_more_than_500(gap: int, over: float, counted: bool) -> None:
    server = Server(rows_at(*range(0, 10_000 * gap, gap)), cap=500, over=over)
    assert server.fetched(counted=counted) == server.rows
    assert len(server.asked) <= 12 + 2 * 10_000 / 500


@pytest.mark.parametrize("size", [1, 2, 10, 125, 500])
def test_what_fails_is_asked_for_in_smaller_pages_that_stay_small(size: int) -> None:
    """Each page that is too large costs one more, and at most three times it is taken for an outage."""
    server = Server(rows_at(*range(2000)))
    server.most_requests = 4000
    failed: list[Asked] = []

    def fails(asked: Asked, found: int) -> faults.Fault | None:
        if min(found, asked[2]) <= size:
            return None
        failed.append(asked)
        return faults.UpstreamUnavailable("HTTP 524", metadata={"http_status": "524"})

    server.fails = fails
    assert server.fetched() == server.rows
    assert len(failed) <= 16
    assert len(server.asked) <= 20 + 8 * 2000 / size


@pytest.mark.parametrize(
    "fault", [faults.AnswerTooLarge("x"), faults.UpstreamTimeout("x"), faults.InvalidAnswer("x")]
)
def test_any_fault_that_size_may_cause_makes_pages_smaller(fault: faults.Fault) -> None:
    server = Server(rows_at(*range(3000)))
    server.fails = lambda asked, found: fault if found > 300 else None
    assert server.fetched() == server.rows


def test_a_row_that_fails_even_alone_is_the_answers_fault() -> None:
    server = Server(rows_at(*range(3000)))
    server.fails = lambda asked, found: (
        faults.UpstreamUnavailable("HTTP 500") if asked[0] <= 2345 < asked[1] else None
    )
    got: list[int] = []

    async def read() -> None:
        async for page, _ in server.pages():
            got.extend(page.steps.tolist())

    with pytest.raises(faults.UpstreamUnavailable, match="500"):
        asyncio.run(read())
    assert got == list(range(2345)), "what lies before it was given"
    assert len(server.asked) < 60


@pytest.mark.parametrize(
    "fault", [faults.UpstreamRefused("no"), faults.RateLimited("no"), faults.NeedsLogin("no")]
)
def test_other_faults_are_not_tried_again(fault: faults.Fault) -> None:
    server = Server(rows_at(*range(3000)))
    server.fails = lambda asked, found: fault
    with pytest.raises(type(fault)):
        server.fetched()
    assert len(server.asked) == 1


def test_after_an_outage_pages_grow_again() -> None:
    server = Server(rows_at(*range(60_000)))
    server.fails = lambda asked, found: (
        faults.UpstreamUnavailable("HTTP 503") if 3 < len(server.asked) < 10 else None
    )
    assert server.fetched() == server.rows
    assert len(server.asked) < 60


STEPS = st.sets(st.integers(0, 400), max_size=120) | st.sets(st.integers(0, 2**50), max_size=60)


@given(
    STEPS,
    st.integers(2, 60),
    st.integers(1, 60),
    st.sampled_from([0.0, 0.05, 0.5]),
    st.sampled_from([None, 1, 7, 40]),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_all_rows_once_whatever_the_server_does(
    steps: set[int], cap: int, fails_above: int, over: float, page_rows: int | None, counted: bool
) -> None:
    """At most 60 requests to find out what the server can do, and per page of what it can do as many as halvings lead
    to it."""
    server = Server(rows_at(*sorted(steps)), cap, over=over if over < 0.1 else 0.0)
    server.most_requests = 100_000
    server.fails = lambda asked, found: (
        faults.UpstreamUnavailable("HTTP 502") if min(found, asked[2]) > fails_above else None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "LOWEST_CEILING", 1)
        assert server.fetched(page_rows=page_rows, counted=counted) == server.rows
    page = min(cap, fails_above, page_rows or cap)
    halvings = max(server.end, 1).bit_length()
    assert len(server.asked) <= 60 + halvings * (1 + 2 * len(steps) / page)


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(9, 60), st.sampled_from([None, 7, 40]))
@settings(max_examples=150, deadline=None)
def test_several_rows_of_a_step_and_a_ceiling(per_step: list[int], cap: int, page_rows: int | None) -> None:
    server = Server([{"_step": s, "i": i} for s, count in enumerate(per_step) for i in range(count)], cap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "LOWEST_CEILING", 1)
        assert server.fetched(page_rows=page_rows) == server.rows


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def test_ranges_are_asked_for_ahead_and_cancelled_with_the_reader() -> None:
    server = Server(rows_at(*range(100_000)))

    async def read() -> None:
        async with aclosing(server.pages()) as pages:
            for _ in range(3):
                await anext(pages)
            await _until(lambda: server.under_way == 0)
            server.open.clear()
            asked = len(server.asked)
            await anext(pages)
            await _until(lambda: server.under_way > 0)
            assert len(server.asked) <= asked + fetch.AT_ONCE
        assert server.under_way == 0 and server.cancelled > 0

    asyncio.run(read())


def test_a_reader_that_does_not_come_is_not_read_ahead_for_without_end() -> None:
    server = Server([{"_step": i, "text": "x" * 1000} for i in range(60_000)])

    async def read() -> None:
        async with aclosing(server.pages()) as pages:
            await anext(pages)
            asked = 0
            while asked < len(server.asked):
                asked = len(server.asked)
                await asyncio.sleep(0.1)
            assert server.asked[-1][1] * 1000 <= fetch.AHEAD_BYTES + 2 * windows.PAGE_BYTES

    asyncio.run(read())


def test_nothing_is_asked_for_beyond_the_last_row() -> None:
    server = Server(rows_at(*range(30_000)))

    async def read() -> None:
        seen = 0
        async with aclosing(server.pages(end=growth.BEYOND_ALL_STEPS)) as pages:
            async for page, _ in pages:
                seen += page.length
                if seen == 30_000:
                    return

    asyncio.run(read())
    assert all(begin < 30_000 for begin, _, _ in server.asked)


class _Garbled(Server):
    """Some rows are not what they should be, wherever pages are cut."""

    garbled: Callable[[int], bool] = staticmethod(lambda step: step == 1500)

    async def history(self, path: RunPath, **asked: Any) -> Sequence[str]:
        texts = await super().history(path, **asked)
        return ['{"_step": 0.5}' if self.garbled(json.loads(text)["_step"]) else text for text in texts]


@pytest.mark.parametrize("page_rows", [None, 1, 1000])
def test_a_row_that_cannot_be_read_is_left_out_wherever_pages_are_cut(page_rows: int | None) -> None:
    server = _Garbled(rows_at(*range(1490, 1510)))
    assert server.fetched(page_rows=page_rows) == [row for row in server.rows if row["_step"] != 1500]
    server.garbled = lambda step: True
    with pytest.raises(faults.InvalidAnswer, match="none of 20 rows"):
        server.fetched(page_rows=page_rows)


def test_system_metrics_that_are_too_much_come_as_a_sample() -> None:
    server = Server([{"_timestamp": i} for i in range(5000)])
    server.fails = lambda asked, found: faults.AnswerTooLarge("x") if asked[2] > 1000 else None

    async def read() -> tuple[int, bool]:
        rows, exact = await fetch.system(server, PATH, waits=lambda: Wait(0.0))  # type: ignore[arg-type]
        return rows.length, exact

    assert asyncio.run(read()) == (625, False)
    server.fails = lambda asked, found: None
    assert asyncio.run(read()) == (5000, False), "as round as a ceiling"
    server.rows = server.rows[:4321]
    assert asyncio.run(read()) == (4321, True)
    server.fails = lambda asked, found: faults.UpstreamTimeout("x")
    with pytest.raises(faults.UpstreamTimeout):
        asyncio.run(read())


@pytest.mark.parametrize("failure", [Status(524), Status(502), ResetInside()])
def test_over_http_pages_that_fail_twice_come_smaller(failure: UpstreamFailure) -> None:
    rows = rows_at(*range(3000))
    with ScriptedUpstream() as server:
        server.add_run("team", "vision", "r1")
        server.add_history("team", "vision", "r1", rows)
        server.fail("HistoryPage", failure, times=2)

        async def read(upstream: Upstream) -> list[Row]:
            pages = fetch.steps(
                upstream, PATH, begin=0, end=3000, line_count=3000, page_rows=None, waits=soon
            )
            return [row async for page, _ in pages for row in plain_rows(page)]

        assert use(server, read) == rows
        asked = [request.variables["samples"] for request in server.requests]
    assert asked[:3] == [1000, 1000, 250] and max(asked[2:]) == 250
