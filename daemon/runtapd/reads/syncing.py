"""Bringing the stored history of a run up to date with its server, once for everybody who reads it meanwhile.

What has to be done is decided by `history/growth.py`. Rows go to the store as they come, so that readers can follow.
What ends early (nobody reads any more, the daemon is killed) goes on where it was the next time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TypeVar

from runtapd import faults
from runtapd.history import fetch, growth
from runtapd.history.columns import parse_rows
from runtapd.history.exports import exported
from runtapd.history.growth import Need, Told
from runtapd.history.kept import Kept, Mark
from runtapd.history.store import HistoryStore
from runtapd.history.table import NONE, Rows, joined
from runtapd.model.paths import RunPath
from runtapd.reads.partitions import Partition
from runtapd.reads.standing import Standing
from runtapd.reads.stored import Unkept, row_of_step, stored_rows
from runtapd.reads.unstored import InMemory, Unstored
from runtapd.upstream.api import Wait, Waits

T = TypeVar("T")
WORTH_EXPORTS = 5_000
"""A history of fewer rows comes in a few pages; asking whether it was exported would only be one request more."""
log = logging.getLogger(__name__)


@dataclass(eq=False)
class Sync:
    """One history being brought up to date. Readers see its rows as soon as they are known to be right."""

    part: Partition
    standing: Standing
    """What the server says of it."""
    clock: Callable[[], float]
    unstored: Unstored
    page_rows: int = 0
    anew: bool = False
    """Whether what is stored does not count."""
    kept: Kept | None = None
    """What readers may read; None while that is not known yet."""
    shown: bool = False
    """Whether readers may read all there is; what is left to do is keeping it."""
    task: asyncio.Task[None] = field(init=False)
    _holds: bool = False
    """Whether rows wait in memory to be stored."""
    _readers: list[Waits] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def path(self) -> RunPath:
        """The run's."""
        return self.standing.path

    @property
    def told(self) -> Told:
        """How the history is to be in the end."""
        return self.standing.told

    def begin(self) -> None:
        """Starts, on the loop."""
        self.task = asyncio.create_task(self._run())
        # Looked at here, so that nobody complains about what went wrong when all readers have left.
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self.task.add_done_callback(lambda _: self._ended())

    def join(self, waits: Waits) -> None:
        """Takes in a reader: requests may take as long as the most patient of them says."""
        self._readers.append(waits)

    def leave(self, waits: Waits) -> bool:
        """Lets a reader go; says whether it was the last one."""
        self._readers.remove(waits)
        return not self._readers

    async def more_than(self, rows: int) -> Kept:
        """Waits until there are more rows than so many, or all are there. Raises what went wrong."""
        while not self.task.done() and not (self.kept is not None and (self.shown or self.kept.rows > rows)):
            await self._news.wait()
        if self.kept is None or not (self.shown or self.kept.rows > rows):
            return await self.end()
        return self.kept

    async def end(self) -> Kept:
        """Waits until all rows are there."""
        while not self.task.done():
            await self._news.wait()
        self.task.result()
        assert self.kept is not None
        return self.kept

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _ended(self) -> None:
        self.unstored.write_off()
        self._tell()

    def _show(self, kept: Kept) -> None:
        self.kept = kept
        self._tell()

    async def _finish(self, kept: Kept, shortfall: int) -> None:
        """Shows that these are all rows, and keeps them as such."""
        mark = self._final(kept, shortfall)
        self.shown = True
        self._show(replace(kept, mark=mark))
        await self._store_held(kept)
        self._show(await self._append(kept, NONE, mark))

    def _waits(self) -> Wait:
        first, *rest = [waits() for waits in self._readers]
        shared = Wait(first.deadline, first.urgency)
        for wait in rest:
            shared.join(wait)
        return shared

    # The work

    async def _run(self) -> None:
        kept = None if self.anew else await self._ask(lambda store: store.kept(self.standing.storage_id))
        if kept is not None and growth.is_younger(kept, self.standing.current_at, self.clock()):
            self._show(kept)
            return
        need = growth.need(kept, self.told)
        if kept is not None and await self._is_whole(kept, need):
            await self._finish(kept, kept.mark.shortfall)
        elif kept is None or need is not Need.MORE or not await self._extended(kept):
            await self._all()

    async def _is_whole(self, kept: Kept, need: Need) -> bool:
        return need is Need.NOTHING or (need is Need.COMPARING and await self._is_same(kept))

    async def _is_same(self, kept: Kept) -> bool:
        """Whether the rows at the end, and a sample of all of an ended run, are what is stored."""
        begin, stored = await self._stored_end(kept, growth.LAST_ROWS)
        async with aclosing(self._pages(begin, kept.mark.next_step, stored.length)) as pages:
            fetched = [page async for page, _ in pages]
        if not await asyncio.to_thread(lambda: growth.same_rows(stored, joined(fetched))):
            return False
        return not self.told.ended or stored.length == kept.rows or await self._sample_is_same(kept)

    async def _sample_is_same(self, kept: Kept) -> bool:
        """Whether rows from all over the history, as the server chooses them, are what is stored."""
        texts = await self.part.upstream.history(
            self.path,
            min_step=0,
            max_step=kept.mark.next_step,
            samples=growth.SAMPLED_ROWS,
            wait=self._waits(),
        )
        sample, at, parts = await parse_rows(texts), 0, []
        while at < kept.rows:
            rows = await self._stored(kept, at)
            parts.append(await asyncio.to_thread(growth.at_steps_of, sample, rows))
            at += rows.length
        return await asyncio.to_thread(lambda: growth.agree(joined(parts), sample))

    async def _extended(self, kept: Kept) -> bool:
        """Adds what is missing behind; says whether that made it whole. Otherwise other rows changed as well."""
        before = kept.mark if growth.is_whole(kept) else None
        begin, stored = await self._stored_end(kept, growth.OVERLAP)
        checked, seen, next_step = not stored.length, list[Rows](), kept.mark.next_step
        missing = growth.missing_rows(kept, self.told)
        lines = None if missing is None else missing + stored.length
        async with aclosing(self._pages(begin, self.told.end, lines)) as pages:
            async for page, behind in pages:
                if not checked:
                    seen.append(page.between(None, next_step))
                    if behind < next_step:
                        continue
                    overlap = await asyncio.to_thread(joined, seen)
                    if not await asyncio.to_thread(growth.same_rows, stored, overlap):
                        return False
                    checked = True
                kept = await self._add(kept, page.between(next_step, None))
        if not checked or not growth.adds_up(kept, before, self.told):
            return False
        await self._finish(kept, growth.shortfall(kept, self.told))
        return True

    async def _all(self) -> None:
        """Fetches all rows."""
        kept = await self._exported()
        if kept is not None:
            # What was exported may lack rows among others, so nobody reads it before it adds up.
            async for page in self._rest(kept):
                kept = await self._add(kept, page)
            if growth.adds_up(kept, None, self.told):
                return await self._finish(kept, 0)
        self._drop_held()
        kept = await self._begun()
        self._show(kept)
        async for page in self._rest(kept):
            kept = await self._add(kept, page)
            self._show(kept)
        await self._finish(kept, growth.shortfall(kept, self.told))

    async def _exported(self) -> Kept | None:
        """Stores the rows that the server has exported; None when that cannot be done, or is not worth asking."""
        if (self.told.line_count or 0) < WORTH_EXPORTS:
            return None
        kept, self._holds = None, True
        try:
            async with aclosing(exported(self.part.upstream, self.path, self._waits)) as portions:
                async for rows in portions:
                    kept = await self._add(kept or await self._begun(), rows)
        except (faults.InvalidAnswer, faults.UpstreamRefused, faults.UpstreamUnavailable) as fault:
            log.warning(
                "an exported history cannot be used", extra={"run": str(self.path), "error": fault.message}
            )
            return None
        return kept

    async def _rest(self, kept: Kept) -> AsyncGenerator[Rows, None]:
        """Yields the rows behind those that are stored, in order."""
        seen, rest = kept.rows, growth.missing_rows(kept, self.told)
        async with aclosing(self._pages(kept.mark.next_step, self.told.end, rest)) as pages:
            async for page, _ in pages:
                seen += page.length
                yield page
                if self.told.last_step is None and seen >= (self.told.line_count or seen + 1):
                    return  # there is no last step to stop at, but all rows have come

    def _pages(self, begin: int, end: int, rows: int | None) -> AsyncGenerator[tuple[Rows, int], None]:
        return fetch.steps(
            self.part.upstream,
            self.path,
            begin=begin,
            end=end,
            line_count=rows,
            page_rows=self.page_rows,
            waits=self._waits,
        )

    # The store

    async def _begun(self) -> Kept:
        mark = self.told.mark(next_step=0, now=0.0, whole=False)
        kept = await self._ask(
            lambda store: store.begin(self.standing.storage_id, replace(mark, line_count=None))
        )
        if kept is None:
            raise Unkept
        return kept

    async def _add(self, kept: Kept, rows: Rows) -> Kept:
        """Stores rows; they are not the last ones as far as anybody knows."""
        if not rows.length:
            return kept
        behind = max(kept.mark.next_step, int(rows.steps[-1]) + 1)
        mark = replace(kept.mark, next_step=behind, checked_at=0.0, settled=False)
        if not self._holds:
            return await self._append(kept, rows, mark)
        self.unstored.add(kept.rows, rows)
        kept = replace(kept, rows=kept.rows + rows.length, mark=mark)
        if self.unstored.too_much:
            await self._store_held(kept)
        return kept

    async def _store_held(self, kept: Kept) -> None:
        for rows in self.unstored:
            await self._append(kept, rows, replace(kept.mark, next_step=int(rows.steps[-1]) + 1))
        self._drop_held()

    def _drop_held(self) -> None:
        self._holds = False
        self.unstored.clear()

    def _final(self, kept: Kept, shortfall: int) -> Mark:
        next_step = kept.mark.next_step
        if self.told.last_step is not None:
            next_step = max(next_step, self.told.last_step + 1)
        return self.told.mark(
            next_step=next_step, now=self.standing.current_at, whole=True, shortfall=shortfall
        )

    async def _append(self, kept: Kept, rows: Rows, mark: Mark) -> Kept:
        now = await self._ask(lambda store: store.append(kept.storage_id, kept.generation, rows, mark))
        if now is None:
            raise Unkept
        return now

    async def _stored_end(self, kept: Kept, count: int) -> tuple[int, Rows]:
        """Returns the last rows that are stored, about so many, and their first step."""
        if not kept.rows:
            return 0, NONE
        begin = int((await self._stored(kept, max(0, kept.rows - count))).steps[0])
        # All rows of that step, if there are several.
        parts, at = list[Rows](), await row_of_step(self.part, self.path, kept, begin, waits=self._waits)
        while at < kept.rows:
            rows = await self._stored(kept, at)
            parts.append(rows)
            at += rows.length
        return begin, await asyncio.to_thread(joined, parts)

    async def _stored(self, kept: Kept, first: int) -> Rows:
        return await stored_rows(self.part, self.path, kept, first, waits=self._waits)

    async def _ask(self, question: Callable[[HistoryStore], T]) -> T | None:
        return await self.part.histories.read(question, None)


class Syncs:
    """The histories being brought up to date, by run."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.in_memory = InMemory()
        self._syncs: dict[tuple[str, str], Sync] = {}

    def __len__(self) -> int:
        return len(self._syncs)

    async def join(
        self, part: Partition, standing: Standing, waits: Waits, *, page_rows: int, anew: bool
    ) -> Sync:
        """Returns the one that makes a run's history what its server tells of; `leave` it in any case."""
        key = part.account.account_id, standing.storage_id
        while (sync := self._under_way(key)) is not None and (anew or sync.told != standing.told):
            await asyncio.wait([sync.task])  # what it finds is of use for this one
        if sync is None:
            sync = Sync(part, standing, self._clock, Unstored(self.in_memory), page_rows, anew)
            sync.join(waits)
            self._syncs[key] = sync
            sync.begin()
            sync.task.add_done_callback(lambda _: self._forget(key, sync))
        else:
            sync.join(waits)
        return sync

    def leave(self, sync: Sync, waits: Waits) -> None:
        """Lets a reader go. With the last one fetching ends, and whoever comes next starts anew."""
        if not sync.leave(waits) or sync.shown:
            return
        sync.task.cancel()
        self._forget((sync.part.account.account_id, sync.standing.storage_id), sync)

    def _forget(self, key: tuple[str, str], sync: Sync) -> None:
        if self._syncs.get(key) is sync:
            del self._syncs[key]

    def _under_way(self, key: tuple[str, str]) -> Sync | None:
        sync = self._syncs.get(key)
        return None if sync is None or sync.task.done() else sync
