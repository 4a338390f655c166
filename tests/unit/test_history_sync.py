"""Stored histories become what the server has, with the fewest requests, however it has changed."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.model.freshness import Source
from runtapd.upstream.api import Wait
from tests.support.history_rows import plain_rows
from tests.support.one_history import PATH, Row, World, on_loop
from tests.support.parquet_files import parquet


def rows_of(count: int, begin: int = 0, gap: int = 1, salt: float = 0.0) -> list[Row]:
    return [
        {"_step": begin + i * gap, "loss": 1 / (i + 1) + salt, "_timestamp": 1e9 + i} for i in range(count)
    ]


@on_loop
async def test_what_was_read_once_is_not_fetched_again(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(2500))
    assert await world.read() == world.server.rows
    asked = len(world.server.asked)
    assert asked <= 4
    for query in ({}, {"keys": ("loss",)}, {"min_step": 100, "max_step": 2000}, {"last_rows": 7}):
        assert len(await world.read(**query)) > 0
    assert len(world.server.asked) == asked
    batches = await world.batches()
    assert batches[-1].exact and batches[0].freshness is not None
    assert batches[0].freshness.source is Source.DISK


@on_loop
async def test_growth_costs_the_tail(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(2500), state="running")
    await world.read()
    world.server.asked.clear()
    world.server.rows = rows_of(2600)
    world.server.touched()
    assert await world.read() == world.server.rows
    assert len(world.server.asked) == 1
    assert world.server.asked[0][0] > 2400


CHANGES: dict[str, Any] = {
    "rewound": lambda rows: rows[:1200],
    "rewound and gone on": lambda rows: rows[:1200] + rows_of(1300, 1200, salt=1.0),
    "rewound and gone farther": lambda rows: rows[:1200] + rows_of(2000, 1200, salt=1.0),
    "resumed earlier, rows between rows": lambda rows: sorted(
        rows + rows_of(40, 2400, salt=2.0), key=lambda row: row["_step"]
    ),
    "resumed at the last step": lambda rows: rows + rows_of(10, rows[-1]["_step"], salt=3.0),
    "the last row rewritten": lambda rows: [*rows[:-1], rows[-1] | {"loss": 9.0}],
    "all rows rewritten": lambda rows: [row | {"loss": row["loss"] + 1} for row in rows],
    "the first half rewritten": lambda rows: [
        row | ({"loss": 5.0} if i < len(rows) // 2 else {}) for i, row in enumerate(rows)
    ],
    "emptied": lambda rows: [],
    "a key more": lambda rows: [row | {"acc": 1} for row in rows],
}


@pytest.mark.parametrize("change", CHANGES)
@on_loop
async def test_other_rows_are_noticed(tmp_path: Path, change: str) -> None:
    world = World(tmp_path, rows_of(2500))
    await world.read()
    world.server.rows = CHANGES[change](world.server.rows)
    world.server.touched()
    assert await world.read() == world.server.rows
    world.server.asked.clear()
    assert await world.read() == world.server.rows
    assert not world.server.asked


@on_loop
async def test_the_same_rows_heard_of_again_are_kept(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(2500))
    await world.read()
    before = world.kept
    world.server.asked.clear()
    world.server.touched()
    assert await world.read() == world.server.rows
    assert len(world.server.asked) <= 2
    assert before is not None and world.kept is not None and world.kept.generation == before.generation


@on_loop
async def test_a_run_made_again_has_nothing_of_the_first(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(2500))
    await world.read()
    world.server.storage_id, world.server.rows = "storage-r2", rows_of(2500, salt=4.0)
    assert await world.read() == world.server.rows


@on_loop
async def test_a_fetch_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(60_000))

    def fail_late() -> None:
        if len(world.server.asked) > 3:
            raise faults.UpstreamUnavailable("gone")

    world.server.before_answer = fail_late
    with pytest.raises(faults.UpstreamUnavailable):
        await world.read()
    assert world.kept is not None and 1000 < world.kept.rows < 60_000
    stored = world.kept.rows
    world.server.before_answer = lambda: None
    world.server.asked.clear()
    assert await world.read() == world.server.rows
    assert min(begin for begin, _, _ in world.server.asked) > stored - 100


@on_loop
async def test_many_readers_share_one_fetch(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(5000))
    alone = World(tmp_path / "alone", rows_of(5000))
    await alone.read()
    found = await asyncio.gather(*(world.read() for _ in range(8)))
    assert all(rows == world.server.rows for rows in found)
    assert len(world.server.asked) == len(alone.server.asked)


@on_loop
async def test_when_the_last_reader_leaves_nothing_more_is_asked(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(20_000))
    stream = world.stream()
    await anext(stream)
    await stream.aclose()
    asked = len(world.server.asked)
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert len(world.server.asked) <= asked + 1
    assert await world.read() == world.server.rows


@on_loop
async def test_a_stream_goes_on_behind_any_of_its_messages(tmp_path: Path) -> None:
    rows = [row | ({"rare": 1} if i % 97 == 0 else {}) for i, row in enumerate(rows_of(3000))]
    world = World(tmp_path, [row | {"text": "x" * 2000} for row in rows])
    for query in ({}, {"keys": ("rare", "text")}, {"keys": ("rare",)}, {"min_step": 50, "max_step": 2990}):
        whole = await world.batches(**query)
        expected = await world.read(**query)
        for i, batch in enumerate(whole):
            if batch.resume is not None:
                before = sum(one.rows.length for one in whole[: i + 1])
                assert await world.read(batch.resume, **query) == expected[before:]
    assert len([batch for batch in await world.batches() if batch.resume]) > 2


@on_loop
async def test_a_stream_whose_rows_were_rewritten_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, [row | {"text": "x" * 2000} for row in rows_of(3000)])
    resume = (await world.batches())[0].resume
    world.server.rows = [row | {"loss": 0.5} for row in world.server.rows]
    world.server.touched()
    with pytest.raises(faults.PreconditionFailed) as caught:
        await world.read(resume)
    assert caught.value.reason == "HISTORY_REWRITTEN"


@on_loop
async def test_little_of_much_is_fetched_by_itself(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(50_000))
    assert await world.read(last_rows=10) == world.server.rows[-10:]
    assert await world.read(min_step=100, max_step=300) == world.server.rows[100:300]
    assert len(world.server.asked) <= 4 and world.kept is None


@on_loop
async def test_a_server_that_counts_more_than_it_gives_is_not_exact_nor_asked_for_ever(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, rows_of(2000))
    given = world.server.rows

    class Liar(list[Row]):
        def __len__(self) -> int:
            return super().__len__() + 5

    world.server.rows = Liar(given)
    assert not (await world.batches())[-1].exact
    world.server.asked.clear()
    again = await world.batches()
    assert not again[-1].exact and not world.server.asked


@on_loop
async def test_without_a_store_rows_come_straight_from_the_server(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(2500))
    world.histories.broken = True
    assert await world.read() == world.server.rows
    assert await world.read(keys=("loss",), last_rows=3) == [
        {key: row[key] for key in ("_step", "loss")} for row in world.server.rows[-3:]
    ]


@on_loop
async def test_a_history_that_the_store_lets_go_of_meanwhile_is_given_whole_and_said_to_be(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, rows_of(30_000), cap=500)
    stream = world.stream()
    batches = [await anext(stream)]
    world.histories.broken = True
    batches += [batch async for batch in stream]
    assert [row for batch in batches for row in plain_rows(batch.rows)] == world.server.rows
    assert len(batches) > 5 and all(batch.exact for batch in batches)


@on_loop
async def test_only_the_cache(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(2500))
    only = Wishes(cache_only=True)
    with pytest.raises(faults.NotInCache):
        await world.read(wishes=only)
    await world.read()
    world.server.asked.clear()
    world.server.rows = rows_of(2600)
    assert await world.read(wishes=only) == rows_of(2500)
    assert not world.server.asked


@on_loop
async def test_no_cache_fetches_all_again(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(2500))
    await world.read()
    world.server.rows = [row | {"loss": 7.0} for row in world.server.rows]  # and nothing tells of it
    assert await world.read(wishes=Wishes(no_cache=True)) == world.server.rows


@on_loop
async def test_part_of_a_history_does_not_stand_for_all_of_it_when_the_server_fails(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(60_000))

    def fail_late() -> None:
        if len(world.server.asked) > 3:
            raise faults.UpstreamUnavailable("gone")

    world.server.before_answer = fail_late
    for _ in range(2):
        with pytest.raises(faults.UpstreamUnavailable):
            await world.read(wishes=Wishes(allow_stale_on_error=True))
    assert world.kept is not None and world.kept.rows


@on_loop
async def test_rows_are_no_fresher_than_what_was_heard_before_them(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(2500))

    def pass_time() -> None:
        world.now += 5.0

    world.server.before_answer = pass_time
    begun = world.now
    found = await world.batches()
    assert all(batch.freshness and batch.freshness.fetched_at == begun for batch in found)
    later = await world.batches(wishes=Wishes(cache_only=True))
    assert later[-1].freshness is not None and later[-1].freshness.fetched_at == begun


@on_loop
async def test_rows_that_came_late_are_no_reason_to_miss_others(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(100), state="running")
    world.server.late_steps = 10
    assert not (await world.batches())[-1].exact
    world.server.late_steps = 0
    world.server.touched()
    found = await world.batches()
    assert found[-1].exact and found[-1].done == 100
    world.server.rows = sorted(rows_of(100) + rows_of(10, 20), key=lambda row: row["_step"])
    world.server.touched()
    assert await world.read() == world.server.rows


@on_loop
async def test_a_count_that_comes_late_does_not_hide_rows(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(100), state="running", counted=False)
    await world.read()
    world.server.rows = sorted(rows_of(100) + rows_of(10, 20), key=lambda row: row["_step"])
    world.server.counted = True
    world.server.touched()
    assert await world.read() == world.server.rows


@on_loop
async def test_who_heard_less_does_not_undo_what_was_stored_since(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(2500), state="running")
    await world.read()
    older = await world.run(world, PATH, Wishes(), Wait(0.0))
    world.now += 1
    world.server.rows = rows_of(2600)
    world.server.touched()
    stream = world.stream()
    await anext(stream)
    await asyncio.sleep(0)
    await world.read()
    before = world.kept
    world.slow_answers.append(older)
    assert await world.read() == world.server.rows
    assert before is not None and world.kept == before
    await stream.aclose()


def exported(world: World, rows: list[Row]) -> None:
    """The server offers these rows as a file."""
    world.server.files = [parquet([json.dumps(row) for row in rows])]


@on_loop
async def test_histories_that_were_exported_are_prepared_from_their_files_alone(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(6000))
    exported(world, world.server.rows)
    world.histories.turns = 5
    reading = await world.reading()
    await reading.prepare()
    world.server.asked.clear()
    found = [row for batch in [b async for b in reading.batches()] for row in plain_rows(batch.rows)]
    assert found == world.server.rows and not world.server.asked


@on_loop
async def test_nothing_is_held_of_what_was_brought_up_to_date(tmp_path: Path) -> None:
    world = World(tmp_path, rows_of(6000))
    exported(world, world.server.rows[:5900])
    await world.read()
    assert not len(world.reads.syncs) and not world.reads.syncs.in_memory.bytes
    world.server.touched()
    world.server.rows = [row | {"loss": 3.0} for row in world.server.rows]
    exported(world, world.server.rows[:5900])

    def fail() -> None:
        raise faults.UpstreamUnavailable("gone")

    world.server.before_answer = fail
    with pytest.raises(faults.UpstreamUnavailable):
        await world.read(wishes=Wishes(no_cache=True))
    assert not len(world.reads.syncs) and not world.reads.syncs.in_memory.bytes


@pytest.mark.parametrize("seed", range(25))
@on_loop
async def test_any_life_of_a_run(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    world = World(tmp_path, counted=draw.random() < 0.8)
    step = 0
    for _ in range(12):
        what = draw.random()
        if what < 0.6:
            for _ in range(draw.choice([1, 5, 300, 1500])):
                step += draw.choice([0, 1, 1, 1, 50])
                row: Row = {"_step": step, "_timestamp": draw.random()}
                row |= {
                    key: draw.choice([1, 2.5, None, "NaN", "x", {"a": 1}]) for key in draw.sample("abcde", 2)
                }
                world.server.rows.append(row)
        elif what < 0.75 and world.server.rows:
            del world.server.rows[draw.randrange(len(world.server.rows)) :]
            step = world.server.rows[-1]["_step"] if world.server.rows else 0
        world.server.touched()
        world.server.state = draw.choice(["running", "finished"])
        for _ in range(draw.choice([0, 1, 2])):
            keys = draw.choice([(), ("a", "b")])
            found = await world.read(keys=keys)
            if not keys:
                assert [plain(row) for row in found] == [plain(row) for row in world.server.rows]
        world.server.asked.clear()


def plain(row: Row) -> str:
    """A row as anybody may compare it: numbers by value, NaN by name."""
    spelled = {key: "NaN" if value != value else value for key, value in row.items()}
    return json.dumps({k: float(v) if type(v) is int else v for k, v in sorted(spelled.items())})
