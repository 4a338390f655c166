"""One run's history at a server and in a store of its own, without sockets: for tests of what is fetched when."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtapd.cache.policy import Wishes
from runtapd.history.kept import Kept
from runtapd.history.store import HistoryStore
from runtapd.model import encode
from runtapd.model.freshness import Freshness, Source
from runtapd.model.paths import RunPath
from runtapd.reads.histories import HistoryReads
from runtapd.reads.overlay import ShownRun
from runtapd.reads.reading import Batch, HistoryQuery, Position, Reading
from runtapd.reads.standing import Standing
from runtapd.upstream.api import NO_EXPORTS, Exports, Wait
from tests.support.history_rows import plain_rows
from tests.support.runs import make_run

Row = dict[str, Any]


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Lets pytest run a coroutine function."""

    @functools.wraps(test)
    def run(*args: Any, **options: Any) -> None:
        asyncio.run(test(*args, **options))

    return run


PATH = RunPath("team", "vision", "r1")


@dataclass
class Server:
    """Rows of one run, sampled when more than asked for match; `cap` never gives more."""

    rows: list[Row] = field(default_factory=list)
    cap: int = 10**9
    state: str = "finished"
    heartbeat_at: str = "2026-01-01T00:00:00"
    storage_id: str = "storage-r1"
    counted: bool = True
    """Whether it tells how many rows there are."""
    stepped: bool = True
    """Whether it tells which step is the last."""
    late_steps: int = 0
    """By how much that is less than it is."""
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    before_answer: Callable[[], None] = lambda: None
    files: Sequence[bytes] = ()
    """What it has exported, as Parquet."""

    async def history(
        self, path: RunPath, *, min_step: int, max_step: int, samples: int, wait: Wait, **more: Any
    ) -> Sequence[str]:
        self.asked.append((min_step, max_step, samples))
        assert len(self.asked) < 500, "this does not end"
        self.before_answer()
        found = [row for row in self.rows if min_step <= row["_step"] < max_step]
        most = min(samples, self.cap)
        if len(found) > most:
            found = [found[i * len(found) // most] for i in range(most)]
        return [json.dumps(row) for row in found]

    async def events(self, path: RunPath, *, samples: int, wait: Wait, **more: Any) -> Sequence[str]:
        return [json.dumps(row) for row in self.rows[:samples]]

    async def exports(self, path: RunPath, wait: Wait) -> Exports:
        return Exports(tuple(map(str, range(len(self.files))))) if self.files else NO_EXPORTS

    async def download(self, url: str, file: Path, wait: Wait, *, most_bytes: int) -> None:
        file.write_bytes(self.files[int(url)])

    def touched(self) -> None:
        """The run was heard of again."""
        self.heartbeat_at += "0"


@dataclass
class Histories:
    """The store, asked in the same thread."""

    folder: Path
    broken: bool = False
    turns: int = 0
    """How often others have their turn before it answers."""

    def __post_init__(self) -> None:
        self.store = HistoryStore(self.folder)

    async def read(self, question: Callable[[HistoryStore], Any], otherwise: Any) -> Any:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        return otherwise if self.broken else question(self.store)

    def used(self, names: Sequence[str]) -> None:
        """Of no interest here."""


class _Account:
    account_id = "a"


class World:
    """A server, a store, and the reads between them."""

    def __init__(self, folder: Path, rows: Sequence[Row] = (), **server: Any) -> None:
        self.server = Server(list(rows), **server)
        self.histories = Histories(folder)
        self.account = _Account()
        self.now = 1000.0
        self.slow_answers: list[ShownRun] = []
        """What is heard of the run next, though it is older."""
        self.reads = HistoryReads(self, lambda: self.now)  # type: ignore[arg-type]  # of RunReads, one method

    @property
    def upstream(self) -> Server:
        return self.server

    @property
    def kept(self) -> Kept | None:
        return self.histories.store.kept(self.server.storage_id)

    async def run(self, part: Any, path: RunPath, wishes: Wishes, wait: Wait) -> ShownRun:
        """What RunReads would give: the run as the server has it now."""
        if self.slow_answers:
            return self.slow_answers.pop()
        server = self.server
        steps = [row["_step"] for row in server.rows if "_step" in row and server.stepped]
        record = encode.record_of(
            make_run(
                storage_id=server.storage_id,
                state=server.state,
                heartbeat_at=server.heartbeat_at,
                history_line_count=len(server.rows) if server.counted else None,
            ),
            app_url="https://x",
            fetched_at=self.now,
            last_step=max(steps) - server.late_steps if steps else None,
        )
        return ShownRun(record, Freshness(self.now, Source.UPSTREAM), {})

    async def reading(self, wishes: Wishes | None = None, **query: Any) -> Reading:
        """A read that has been begun."""
        shown = await self.run(None, PATH, wishes or Wishes(), Wait(0.0))
        return await self.reads.reading(
            self,  # type: ignore[arg-type]  # of Partition, what histories need
            HistoryQuery(PATH, **query),
            Standing.of(shown),
            None,
            wishes or Wishes(),
            lambda: Wait(0.0),
        )

    async def stream(
        self, resume: Position | None = None, wishes: Wishes | None = None, **query: Any
    ) -> AsyncGenerator[Batch, None]:
        """The batches of a read."""
        reads = self.reads.read(
            self,  # type: ignore[arg-type]  # of Partition, what histories need
            HistoryQuery(PATH, **query),
            resume,
            wishes or Wishes(),
            lambda: Wait(0.0),
        )
        async with aclosing(reads):
            async for batch in reads:
                yield batch

    async def batches(
        self, resume: Position | None = None, wishes: Wishes | None = None, **query: Any
    ) -> list[Batch]:
        """All of them."""
        return [batch async for batch in self.stream(resume, wishes, **query)]

    async def read(
        self, resume: Position | None = None, wishes: Wishes | None = None, **query: Any
    ) -> list[Row]:
        """The rows as plain dicts."""
        batches = await self.batches(resume, wishes, **query)
        return [row for batch in batches for row in plain_rows(batch.rows)]
