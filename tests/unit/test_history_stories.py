"""Several readers of one run that lives on meanwhile, at random: what each is given is what the server had.

RUNTAP_STORIES=500 tells more of them.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.history import kept as pieces
from runtapd.reads.reading import Position
from tests.support.history_rows import plain_rows
from tests.support.one_history import Row, World, on_loop

STORIES = int(os.environ.get("RUNTAP_STORIES", "15"))


@dataclass(frozen=True)
class Question:
    """What a reader asks for."""

    keys: tuple[str, ...] = ()
    inner: bool = False
    min_step: int | None = None
    max_step: int | None = None
    last_rows: int = 0
    page_rows: int = 0

    @staticmethod
    def drawn(draw: random.Random) -> Question:
        low, high = sorted((draw.randrange(3000), draw.randrange(3000)))
        return Question(
            keys=draw.choice([(), (), ("a",), ("a", "b"), ("b.c", "a"), ("never", "b")]),
            inner=draw.random() < 0.3,
            min_step=draw.choice([None, None, low]),
            max_step=draw.choice([None, None, high]),
            last_rows=draw.choice([0, 0, 0, 1, 40]),
            page_rows=draw.choice([0, 0, 100]),
        )

    @property
    def whole(self) -> bool:
        return self.min_step is None and self.max_step is None and not self.last_rows

    def answer(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that are asked for."""
        low, high = self.min_step or 0, 2**62 if self.max_step is None else self.max_step
        found = [row for row in rows if low <= row["_step"] < high and self._chosen(row)]
        return found[-self.last_rows :] if self.last_rows else found

    def _chosen(self, row: Row) -> bool:
        if not self.keys:
            return True
        has = [key in row or (key == "b.c" and isinstance(row.get("b"), dict)) for key in self.keys]
        return all(has) if self.inner else any(has)


class Story:
    """A run's life, step by step, and what was read of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        self.world = World(folder, counted=self.draw.random() < 0.8)
        self.world.histories.turns = self.draw.choice([0, 1, 3])
        self.versions: list[list[Row]] = [[]]
        self.step = 0
        self.number = 0
        self.fails = False
        """Whether the server fails at times."""
        plain = self.world.server.history

        async def slowly(*args: Any, **options: Any) -> Sequence[str]:
            for _ in range(self.draw.choice([0, 1, 5])):
                await asyncio.sleep(0)
            if self.fails and self.draw.random() < 0.5:
                raise faults.UpstreamUnavailable("gone")
            return await plain(*args, **options)

        self.world.server.history = slowly  # type: ignore[method-assign]

    def row(self, step: int) -> Row:
        """A row like no other."""
        self.number += 1
        row: Row = {"_step": step, "n": self.number, "_timestamp": 1e9 + self.number}
        for key in self.draw.sample(("a", "b", "d"), self.draw.randrange(3)):
            row[key] = self.draw.choice([1, 2.5, None, "NaN", True, {"c": self.number}, self.number])
        return row

    def logs(self) -> None:
        """Rows are added behind."""
        rows = list(self.world.server.rows)
        for _ in range(self.draw.choice([1, 5, 300, 1200])):
            self.step += self.draw.choice([0, 1, 1, 1, 3])
            rows.append(self.row(self.step))
        self._is(rows)

    def changes(self) -> None:
        """Rows go, or come in between; of the latter a server that does not count tells nothing."""
        rows, draw = list(self.world.server.rows), self.draw
        if not self.world.server.counted or draw.random() < 0.5:
            del rows[draw.randrange(len(rows) + 1) :]
            self.step = rows[-1]["_step"] if rows else 0
        else:
            rows += [self.row(draw.randrange(self.step + 1)) for _ in range(draw.choice([1, 20]))]
            rows.sort(key=lambda row: row["_step"])
        self._is(rows)

    def _is(self, rows: list[Row]) -> None:
        self.world.now += 1
        self.world.server.rows = rows
        self.world.server.state = self.draw.choice(["running", "finished"])
        self.world.server.touched()
        self.versions.append(rows)

    def goes_on(self, readers: Sequence[asyncio.Task[None]]) -> None:
        """Something happens while the run is read."""
        what, histories = self.draw.random(), self.world.histories
        if what < 0.3:
            self.logs()
        elif what < 0.5:
            histories.store.drop(self.world.server.storage_id)
        elif what < 0.8:
            histories.broken = not histories.broken
        else:
            self.draw.choice(readers).cancel()

    async def read(self) -> None:
        """One reader; it may leave early, or go on behind any message."""
        draw, question = self.draw, Question.drawn(self.draw)
        wishes = Wishes(no_cache=draw.random() < 0.1, allow_stale_on_error=draw.random() < 0.2)
        first = len(self.versions) - 1
        rows: list[Row] = []
        resume: Position | None = None
        ends: list[Any] = []
        leaves = draw.random() < 0.2
        try:
            for attempt in range(3):
                part: list[Row] = []
                async with aclosing(self.world.stream(resume, wishes, **vars(question))) as stream:
                    async for batch in stream:
                        part += plain_rows(batch.rows)
                        ends.append(batch)
                        if leaves and draw.random() < 0.5:
                            return
                        if draw.random() < 0.3:
                            await asyncio.sleep(0)
                        if attempt < 2 and batch.resume is not None and draw.random() < 0.2:
                            resume = batch.resume
                            break
                    else:
                        self.judge(question, first, rows + part, ends[-1])
                        return
                rows += part
        except (faults.UpstreamUnavailable, faults.PreconditionFailed) as fault:
            if isinstance(fault, faults.UpstreamUnavailable):
                assert self.fails
            else:
                assert fault.reason == "HISTORY_REWRITTEN"

    def judge(self, question: Question, first: int, rows: list[Row], end: Any) -> None:
        """All that was given must have been there, and all that was there all the time must be given."""
        if end.freshness.stale:
            first = 0
        candidates = self.versions[first:]
        name = "_step" if question.keys else "n"
        given = [row[name] for row in rows]
        wanted = [[row[name] for row in question.answer(version)] for version in candidates]
        if end.freshness.stale or question.last_rows:
            assert len(candidates) > 1 or given == wanted[0]
            return
        if len(candidates) == 1:
            assert given == wanted[0]
            assert end.exact
            if question.keys and question.whole:
                logged = {key for key in question.keys if Question((key,)).answer(candidates[0])}
                assert set(end.unknown_keys) == set(question.keys) - logged
        else:  # rows were added meanwhile
            assert given[: len(wanted[0])] == wanted[0], "rows that were there are missing"
            assert given == wanted[-1][: len(given)], "rows are there that were not"


@pytest.mark.parametrize("seed", range(STORIES))
@on_loop
async def test_readers_of_a_run_that_lives_on(tmp_path: Path, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "GROUP_ROWS", 400)
        story = Story(tmp_path, seed)
        draw, world = story.draw, story.world
        for _ in range(8):
            draw.choice([story.logs, story.logs, story.changes])()
            story.fails = draw.random() < 0.2
            readers = [asyncio.create_task(story.read()) for _ in range(draw.choice([1, 2, 4]))]
            for _ in range(draw.choice([0, 1, 3])):
                await asyncio.sleep(draw.choice([0.0, 0.002, 0.01]))
                story.goes_on(readers)
            for found in await asyncio.gather(*readers, return_exceptions=True):
                if isinstance(found, BaseException) and not isinstance(found, asyncio.CancelledError):
                    raise found
            world.histories.broken = False
            world.server.asked.clear()
        story.fails = False
        assert [row["n"] for row in await world.read()] == [row["n"] for row in world.server.rows]
        assert not len(world.reads.syncs) and not world.reads.syncs.in_memory.bytes
        assert asyncio.all_tasks() == {asyncio.current_task()}
