"""Rows that the server chooses from a history: some of very many, or its sample of system metrics. Nothing is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from runtapd.history import fetch
from runtapd.history.choose import Choice
from runtapd.history.columns import parse_rows
from runtapd.history.growth import Told
from runtapd.model.freshness import Freshness
from runtapd.model.paths import RunPath
from runtapd.reads.partitions import Partition
from runtapd.reads.supplies import Resumed, Stretch, last
from runtapd.reads.syncing import end_of
from runtapd.upstream.api import Waits


@dataclass
class ServersChoice:
    """Rows from all over a history, as the server chooses them."""

    part: Partition
    path: RunPath
    told: Told
    enough: int
    waits: Waits
    freshness: Freshness
    storage_id: str = ""
    generation: str = ""
    exact: bool = False
    seen: int = 0

    async def prepare(self) -> None:
        """There is nothing to prepare."""

    async def stretches(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        texts = await self.part.upstream.history(
            self.path, min_step=0, max_step=end_of(self.told), samples=self.enough, wait=self.waits()
        )
        picked = await asyncio.to_thread(choice.of, await parse_rows(texts))
        yield Stretch(picked.rows, None, had=picked.had)


@dataclass
class System:
    """System metrics, as the server samples them."""

    part: Partition
    path: RunPath
    last_rows: int
    waits: Waits
    freshness: Freshness
    storage_id: str = ""
    generation: str = ""
    exact: bool = True
    seen: int = 0

    async def prepare(self) -> None:
        """There is nothing to prepare."""

    async def stretches(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        rows, self.exact = await fetch.system(self.part.upstream, self.path, waits=self.waits)
        yield last([await asyncio.to_thread(choice.of, rows)], self.last_rows)
