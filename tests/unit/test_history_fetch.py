"""Whole histories from servers that give samples, with few requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtapd.faults import InvalidAnswer
from runtapd.history import windows
from runtapd.history.columns import parse_rows
from runtapd.history.rows import Row
from runtapd.model import encode
from runtapd.model.freshness import Freshness, Source
from runtapd.reads.histories import Batch, HistoryQuery, Position, _Reader
from runtapd.upstream.api import Wait
from tests.support.history_rows import plain_rows
from tests.support.runs import make_run
from tests.support.sampling_server import PATH, Server, rows_at


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
    with pytest.raises(InvalidAnswer):
        asyncio.run(parse_rows([text, text]))


def test_rows_as_servers_write_them() -> None:
    texts = ['{"_step": 2.0, "a": NaN}', '{"_step": "1", "n": 123456789012345678901}', '{"_step": null}']
    rows = plain_rows(asyncio.run(parse_rows(texts)))
    assert [row.get("_step") for row in rows] == [None, 1, 2]
    assert rows[1]["n"] == 123456789012345678901


class _Part:
    """A partition, as far as histories need one."""

    def __init__(self, server: Server) -> None:
        self.upstream = server


def batches(server: Server, query: HistoryQuery, resume: Position | None = None, **run: Any) -> list[Batch]:
    steps = [row["_step"] for row in server.rows if "_step" in row]
    fields: dict[str, Any] = {"history_line_count": len(server.rows)} | run
    record = encode.record_of(
        make_run(**{k: v for k, v in fields.items() if k != "last_step"}),
        app_url="https://x",
        fetched_at=1,
        last_step=fields.get("last_step", max(steps, default=None)),
    )

    async def read() -> list[Batch]:
        reader = _Reader(
            _Part(server),  # type: ignore[arg-type]
            query,
            record,
            Freshness(1.0, Source.UPSTREAM),
            lambda: Wait(0.0),
        )
        return [batch async for batch in reader.batches(resume)]

    return asyncio.run(read())


def cells(found: list[Batch], key: str) -> list[Any]:
    return [row.get(key) for batch in found if key in batch.rows.columns for row in plain_rows(batch.rows)]


def test_the_end_says_how_much_there_was() -> None:
    server = Server(rows_at(*range(2500)))
    found = batches(server, HistoryQuery(PATH))
    assert cells(found, "_step") == list(range(2500))
    end = found[-1]
    assert (end.rows.length, end.done, end.total, end.exact, end.unknown_keys) == (0, 2500, 2500, True, ())
    assert [batch.total for batch in found] == [2500] * len(found)


def test_a_server_that_gives_less_than_it_counts_is_not_exact() -> None:
    server = Server(rows_at(*range(0, 9000, 3)), cap=400)
    assert batches(server, HistoryQuery(PATH))[-1].exact, "what it holds back can be had in small pieces"
    server.rows = server.rows[:-1] + server.rows[-1:] * 500  # of a single step there are no pieces
    found = batches(server, HistoryQuery(PATH))
    assert not found[-1].exact and found[-1].done == 2999 + 400
    assert batches(Server(server.rows), HistoryQuery(PATH))[-1].exact


def test_an_interrupted_read_goes_on_with_all_it_knew() -> None:
    server = Server([{"_step": i} | ({"early": 1} if i < 3 else {"late": 2}) for i in range(40)])
    query = HistoryQuery(PATH, keys=("early", "late", "never"), page_rows=7)
    whole = batches(server, query)
    assert whole[-1].unknown_keys == ("never",)
    places = [i for i, batch in enumerate(whole) if batch.resume]
    assert len(places) > 3
    for i in places:
        rest = batches(server, query, whole[i].resume)
        assert cells(whole[: i + 1], "_step") + cells(rest, "_step") == list(range(40))
        assert (rest[0].group, rest[-1].done, rest[-1].exact) == (whole[i].group + 1, 40, True)
        assert rest[-1].unknown_keys == ("never",)


@pytest.mark.parametrize("last_rows", [1, 10, 39, 40, 1000])
@pytest.mark.parametrize("gap", [1, 7, 10**9])
def test_the_last_rows_of_a_range(last_rows: int, gap: int) -> None:
    server = Server(rows_at(*range(0, 40 * gap, gap)))
    found = batches(server, HistoryQuery(PATH, last_rows=last_rows))
    assert cells(found, "_step") == [row["_step"] for row in server.rows[-last_rows:]]
    assert len(server.asked) < 8
    within = batches(server, HistoryQuery(PATH, last_rows=last_rows, min_step=10 * gap, max_step=20 * gap))
    assert cells(within, "_step") == [step * gap for step in range(10, 20)][-last_rows:]


def test_a_range() -> None:
    server = Server(rows_at(*range(100)))
    found = batches(server, HistoryQuery(PATH, min_step=20, max_step=30))
    assert cells(found, "_step") == list(range(20, 30))
    assert (found[0].total, found[-1].total, found[-1].exact) == (None, 10, True)
    assert cells(batches(server, HistoryQuery(PATH, min_step=500)), "_step") == []


@pytest.mark.parametrize("lines", [25, None])
def test_without_a_last_step_the_rows_are_found_all_the_same(lines: int | None) -> None:
    server = Server(rows_at(*range(0, 2500, 100)))
    found = batches(server, HistoryQuery(PATH, page_rows=10), last_step=None, history_line_count=lines)
    assert cells(found, "_step") == list(range(0, 2500, 100))


def test_nothing_was_logged() -> None:
    server = Server([])
    found = batches(server, HistoryQuery(PATH, keys=("a",)))
    assert [batch.rows.length for batch in found] == [0] and not server.asked
    assert found[0].unknown_keys == ("a",)


def test_system_metrics_say_when_they_are_a_sample() -> None:
    rows: list[Row] = [{"_timestamp": i, "cpu": i} for i in range(50)]
    found = batches(Server(rows), HistoryQuery(PATH, system=True))
    assert cells(found, "cpu") == list(range(50)) and found[-1].exact
    many: list[Row] = [{"_timestamp": i} for i in range(windows.MOST_ROWS + 5)]
    assert not batches(Server(many), HistoryQuery(PATH, system=True))[-1].exact
    last = batches(Server(rows), HistoryQuery(PATH, system=True, last_rows=3, keys=("cpu",)))
    assert cells(last, "cpu") == [47, 48, 49] and cells(last, "_timestamp") == [47, 48, 49]


def test_a_position_is_only_values() -> None:
    position = Position(1, "s", 2, 3, 4, 5, (6,))
    assert replace(position) == position
