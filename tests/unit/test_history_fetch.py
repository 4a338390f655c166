"""Whole histories from servers that give samples, with few requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtapd.faults import InvalidAnswer
from runtapd.history import fetch
from runtapd.history.columns import parse_rows
from runtapd.history.rows import Row
from runtapd.model.paths import RunPath
from runtapd.upstream.api import Wait
from tests.support.history_rows import plain_rows

PATH = RunPath("team", "vision", "r1")


class Server:
    """Rows of one run, sampled when more than asked for match; `cap` never gives more."""

    def __init__(self, rows: list[Row], cap: int = 10**9) -> None:
        self.rows, self.cap = rows, cap
        self.asked: list[tuple[int, int, int]] = []

    async def history(
        self, path: RunPath, *, min_step: int, max_step: int, samples: int, wait: Wait
    ) -> Sequence[str]:
        self.asked.append((min_step, max_step, samples))
        assert len(self.asked) < 500, "this does not end"
        found = [row for row in self.rows if min_step <= row["_step"] < max_step]
        return [json.dumps(row) for row in self._sampled(found, min(samples, self.cap))]

    async def events(self, path: RunPath, *, samples: int, wait: Wait) -> Sequence[str]:
        return [json.dumps(row) for row in self._sampled(self.rows, min(samples, self.cap))]

    @staticmethod
    def _sampled(rows: list[Row], samples: int) -> list[Row]:
        if len(rows) <= samples:
            return rows
        return [rows[i * len(rows) // samples] for i in range(samples)]

    def fetched(self, *, page_rows: int = 1000, counted: bool = True, begin: int = 0) -> list[Row]:
        async def all_rows() -> list[Row]:
            end = self.rows[-1]["_step"] + 1 if self.rows else 0
            pages = fetch.steps(
                self,  # type: ignore[arg-type]  # of Upstream, what histories need
                PATH,
                begin=begin,
                end=end,
                line_count=len(self.rows) if counted else None,
                page_rows=page_rows,
                waits=lambda: Wait(0.0),
            )
            return [row async for page, _ in pages for row in plain_rows(page)]

        return asyncio.run(all_rows())


def rows_at(*steps: int) -> list[Row]:
    return [{"_step": step, "loss": 1 / (step + 1)} for step in steps]


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(
    ("steps", "page_rows", "most"),
    [
        (range(5000), 1000, 10),
        (range(1000), 1000, 3),  # as many rows as asked for, and no sample
        (range(999), 1000, 3),
        (range(0, 10**12, 10**10), 1000, 1),
        ([0, 10**12], 1000, 1),
        (range(0, 10**7, 10**4), 1000, 8),
        ([*range(2500), 10**9, *range(10**12, 10**12 + 2500)], 1000, 30),
        (range(30), 1, 60),
        (range(30), 2, 60),
        ([0], 1, 1),
        ([], 1000, 0),
    ],
    ids=[
        "dense", "a page", "under a page", "1e12 steps", "two rows", "sparse", "clusters", "pages of one",
        "pages of two", "one row", "none",
    ],
)  # fmt: skip
def test_every_row_once_with_few_requests(
    steps: Sequence[int], page_rows: int, most: int, counted: bool
) -> None:
    server = Server(rows_at(*steps))
    assert server.fetched(page_rows=page_rows, counted=counted) == server.rows
    assert len(server.asked) <= most + 12 * (not counted)


@given(
    st.sets(st.integers(0, 3000), max_size=60) | st.sets(st.integers(0, 2**50), max_size=60),
    st.integers(1, 40),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_any_steps_at_any_page_size(steps: set[int], page_rows: int, counted: bool) -> None:
    server = Server(rows_at(*sorted(steps)))
    assert server.fetched(page_rows=page_rows, counted=counted) == server.rows


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("page_rows", [1, 2, 3, 5, 15, 30, 1000])
@pytest.mark.parametrize("per_step", [2, 3, 40])
def test_several_rows_of_one_step_are_kept(page_rows: int, per_step: int, counted: bool) -> None:
    server = Server([{"_step": step, "i": i} for step in range(10) for i in range(per_step)])
    assert server.fetched(page_rows=page_rows, counted=counted) == server.rows


def test_as_many_rows_as_steps_prove_nothing() -> None:
    server = Server([{"_step": step, "i": i} for step in range(50) for i in range(2)][:99])
    assert server.fetched(page_rows=50, counted=False) == server.rows


def test_large_rows_come_fewer_at_a_time() -> None:
    server = Server([{"_step": i, "image": "x" * 10_000} for i in range(2500)])
    assert server.fetched() == server.rows
    largest = max(sum(low <= row["_step"] < high for row in server.rows) for low, high, _ in server.asked[1:])
    assert largest * 10_000 <= fetch.PAGE_BYTES


@pytest.mark.parametrize(
    "text", ["[1]", "7", "null", '{"_step": "x"}', '{"_step": 1.5}', '{"_step": true}', "{", "[" * 5000]
)
def test_rows_that_are_none_are_an_invalid_answer(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        asyncio.run(parse_rows(['{"_step": 1}', text]))


def test_rows_as_servers_write_them() -> None:
    texts = ['{"_step": 2.0, "a": NaN}', '{"_step": 1, "n": 123456789012345678901}', '{"_step": null}']
    rows = plain_rows(asyncio.run(parse_rows(texts)))
    assert [row.get("_step") for row in rows] == [None, 1, 2]
    assert rows[1]["n"] == 123456789012345678901
