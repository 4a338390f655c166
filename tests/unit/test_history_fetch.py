"""Whole histories from servers that give samples, with few requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtapd.history import windows
from runtapd.history.columns import parse_rows
from tests.support.history_rows import plain_rows
from tests.support.sampling_server import Server, rows_at


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
    assert largest * 10_000 <= windows.PAGE_BYTES * 1.1


@pytest.mark.parametrize(
    "text",
    ["[1]", "7", "null", '{"_step": "x"}', '{"_step": 1.5}', '{"_step": true}', "{", "[" * 5000, "", "1,2"],
)
def test_rows_that_are_none_do_not_take_the_others_with_them(text: str) -> None:
    rows = asyncio.run(parse_rows(['{"_step": 2}', text, '{"_step": 1}']))
    assert plain_rows(rows) == [{"_step": 1}, {"_step": 2}]
    assert asyncio.run(parse_rows([text])).length == 0


def test_rows_as_servers_write_them() -> None:
    texts = ['{"_step": 2.0, "a": NaN}', '{"_step": "1", "n": 123456789012345678901}', '{"_step": null}']
    rows = plain_rows(asyncio.run(parse_rows(texts)))
    assert [row.get("_step") for row in rows] == [None, 1, 2]
    assert rows[1]["n"] == 123456789012345678901


def test_rows_of_one_step_stay_in_the_order_of_the_server() -> None:
    texts = [f'{{"_step": {i // 10}, "i": {i}, "loss": {"NaN" if i % 3 else i / 2}}}' for i in range(100)]
    for written in (texts, [*texts, "{"], [*texts[:5], "1,2", *texts[5:], "NaN,NaN", ""]):
        rows = plain_rows(asyncio.run(parse_rows(written)))
        assert [row["i"] for row in rows] == list(range(100))


def test_steps_beyond_64_bits_are_no_steps() -> None:
    texts = ['{"_step": 9223372036854775807}', '{"_step": 9223372036854775808}', '{"_step": 1e300}']
    assert plain_rows(asyncio.run(parse_rows(texts))) == [{"_step": 2**63 - 1}]
