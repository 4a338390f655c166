"""What a read of a history tells besides its rows, and reads of parts of one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.history import kept as pieces
from runtapd.history import windows
from runtapd.reads.reading import Batch
from tests.support.history_rows import plain_rows
from tests.support.one_history import Row, World, on_loop


def rows_at(*steps: int) -> list[Row]:
    return [{"_step": step, "loss": 1 / (step + 1)} for step in steps]


@on_loop
async def test_the_end_says_how_much_there_was(tmp_path: Path) -> None:
    found = await World(tmp_path, rows_at(*range(2500))).batches()
    end = found[-1]
    assert (end.rows.length, end.done, end.total, end.exact, end.unknown_keys) == (0, 2500, 2500, True, ())
    assert [batch.total for batch in found] == [2500] * len(found)


@on_loop
async def test_an_interrupted_read_goes_on_with_all_it_knew(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"_step": i, "text": "x" * 50_000} | ({"early": 1} if i < 3 else {"late": 2}) for i in range(400)
    ]
    world = World(tmp_path, rows)
    keys = ("early", "late", "never", "text")
    whole = await world.batches(keys=keys)
    assert whole[-1].unknown_keys == ("never",)
    places = [i for i, batch in enumerate(whole) if batch.resume]
    assert len(places) > 3
    for i in places:
        rest = await world.batches(whole[i].resume, keys=keys)
        steps = [row["_step"] for batch in [*whole[: i + 1], *rest] for row in plain_rows(batch.rows)]
        assert steps == list(range(400))
        assert [(b.done, b.exact) for b in rest][-1] == (400, True)
        assert rest[-1].unknown_keys == ("never",) and rest[0].group == whole[i].group + 1


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("last_rows", [1, 10, 39, 40, 1000])
@pytest.mark.parametrize("gap", [1, 7, 10**9])
@on_loop
async def test_the_last_rows_of_a_range(tmp_path: Path, last_rows: int, gap: int, kept: bool) -> None:
    world = World(tmp_path, rows_at(*range(0, 40 * gap, gap)))
    world.histories.broken = not kept
    assert await world.read(last_rows=last_rows) == world.server.rows[-last_rows:]
    assert len(world.server.asked) < 8
    within = await world.read(last_rows=last_rows, min_step=10 * gap, max_step=20 * gap, keys=("loss",))
    assert [row["_step"] for row in within] == [step * gap for step in range(10, 20)][-last_rows:]


@pytest.mark.parametrize("kept", [False, True])
@on_loop
async def test_a_range(tmp_path: Path, kept: bool) -> None:
    world = World(tmp_path, rows_at(*range(100)))
    world.histories.broken = not kept
    found = await world.batches(min_step=20, max_step=30)
    assert [row["_step"] for batch in found for row in plain_rows(batch.rows)] == list(range(20, 30))
    assert (found[0].total, found[-1].total, found[-1].exact) == (None, 10, True)
    assert await world.read(min_step=500) == []
    assert await world.read(max_step=0) == []


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("counted", [True, False])
@on_loop
async def test_without_a_last_step_the_rows_are_found_all_the_same(
    tmp_path: Path, counted: bool, kept: bool
) -> None:
    world = World(tmp_path, rows_at(*range(0, 2500, 100)), stepped=False, counted=counted)
    world.histories.broken = not kept
    for _ in range(2):
        assert await world.read(page_rows=10) == world.server.rows


@on_loop
async def test_nothing_was_logged(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = await world.batches(keys=("a",))
    assert [batch.rows.length for batch in found] == [0] and not world.server.asked
    assert found[0].unknown_keys == ("a",) and found[0].exact


@pytest.mark.parametrize("kept", [False, True])
@on_loop
async def test_of_a_server_that_does_not_count_all_rows_are_all_that_come(tmp_path: Path, kept: bool) -> None:
    world = World(tmp_path, rows_at(*range(300)), counted=False)
    world.histories.broken = not kept
    found = await world.batches()
    assert found[-1].done == 300 and all(batch.exact for batch in found)


@pytest.mark.parametrize("min_step", [None, 0])
@on_loop
async def test_rows_that_are_counted_and_not_given_are_missed_also_where_the_store_lets_go(
    tmp_path: Path, min_step: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "GROUP_ROWS", 300)
        world = World(tmp_path, rows_at(*range(3000)), late_steps=7)
        await world.read()
        found: list[Batch] = []
        async for batch in world.stream(min_step=min_step):
            found.append(batch)
            is_broken(world)
        assert found[-1].done == 2993 and not found[-1].exact


@on_loop
async def test_system_metrics_say_when_they_are_a_sample(tmp_path: Path) -> None:
    world = World(tmp_path, [{"_timestamp": i, "cpu": i} for i in range(50)])
    found = await world.batches(system=True)
    assert [row["cpu"] for batch in found for row in plain_rows(batch.rows)] == list(range(50))
    assert found[-1].exact
    assert await world.read(system=True, last_rows=3, keys=("cpu",)) == [
        {"_timestamp": i, "cpu": i} for i in (47, 48, 49)
    ]
    world.server.rows = [{"_timestamp": i} for i in range(windows.MOST_ROWS + 5)]
    assert not (await world.batches(system=True))[-1].exact


def is_gone(world: World) -> None:
    """The history is dropped: the cache is over its limit."""
    world.histories.store.drop(world.server.storage_id)


def is_broken(world: World) -> None:
    """The disk fails."""
    world.histories.broken = True


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("trouble", [is_gone, is_broken])
@pytest.mark.parametrize("keys", [(), ("even",)])
@on_loop
async def test_a_history_that_cannot_be_kept_any_more_is_still_read_whole(
    tmp_path: Path, stored: bool, trouble: Callable[[World], None], keys: tuple[str, ...]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "GROUP_ROWS", 300)
        # Three rows a step, so that a step begins in one stretch and ends in the next.
        rows: list[Row] = [
            {"_step": i // 3, "i": i} | ({"even": i} if i % 2 == 0 else {}) for i in range(3000)
        ]
        world = World(tmp_path, rows)
        if stored:
            await world.read()
        found: list[Row] = []
        async for batch in world.stream(keys=keys):
            found += plain_rows(batch.rows)
            if found:
                trouble(world)
        wanted = [row for row in rows if "even" in row] if keys else rows
        assert [row.get("i", row.get("even")) for row in found] == [row["i"] for row in wanted]
        assert batch.exact and batch.done == len(wanted)


@on_loop
async def test_a_history_that_was_begun_anew_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "GROUP_ROWS", 300)
        world = World(tmp_path, rows_at(*range(3000)))
        await world.read()
        with pytest.raises(faults.PreconditionFailed, match="was rewritten"):
            async for _ in world.stream():
                held = world.kept
                assert held is not None
                world.histories.store.begin(held.storage_id, held.mark)


@on_loop
async def test_keys_that_never_occur_together_are_known_keys(tmp_path: Path) -> None:
    rows = [{"_step": i, ("odd" if i % 2 else "even"): i} for i in range(200)]
    world = World(tmp_path, rows)
    cases: list[dict[str, Any]] = [{}, {"last_rows": 5}, {"min_step": 10}]
    for more in cases:
        found = await world.batches(keys=("odd", "even", "never"), inner=True, **more)
        assert [batch.rows.length for batch in found] == [0]
        assert found[-1].unknown_keys == ("never",)


@on_loop
async def test_a_stream_resumed_amid_a_step_gives_no_row_twice(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "GROUP_ROWS", 8)
        # Rows of one step in several messages and several stretches of the store.
        rows: list[Row] = [{"_step": i // 10, "i": i, "text": "x" * 2**18} for i in range(30)]
        world = World(tmp_path, rows)
        whole = await world.batches()
        for place, batch in enumerate(whole):
            if batch.resume is None:
                continue
            found = [row["i"] for one in whole[: place + 1] for row in plain_rows(one.rows)]
            await world.read(wishes=Wishes(cache_only=True))
            stream = world.stream(batch.resume)
            try:
                async for one in stream:
                    found += [row["i"] for row in plain_rows(one.rows)]
                    world.histories.broken = True
            except faults.PreconditionFailed as fault:
                assert fault.reason == "HISTORY_REWRITTEN"
            else:
                assert found == list(range(30))
            assert found == list(range(len(found)))
            world.histories.broken = False


@on_loop
async def test_a_stream_that_went_on_without_the_store_can_be_resumed(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "GROUP_ROWS", 300)
        world = World(tmp_path, rows_at(*range(3000)))
        await world.read()
        found: list[Batch] = []
        async for batch in world.stream():
            found.append(batch)
            is_broken(world)
        for place, batch in enumerate(found):
            if batch.resume is not None and not batch.resume.generation:
                before = sum(one.rows.length for one in found[: place + 1])
                assert batch.resume.rows_seen == before
                rest = await world.batches(batch.resume)
                assert [row["_step"] for one in rest for row in plain_rows(one.rows)] == list(
                    range(before, 3000)
                )
                assert rest[-1].exact


@on_loop
async def test_a_reader_that_leaves_a_stream_from_the_server_leaves_nothing_behind(tmp_path: Path) -> None:
    world = World(tmp_path, rows_at(*range(60_000)))
    world.histories.broken = True
    stream = world.stream()
    await anext(stream)
    await stream.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
