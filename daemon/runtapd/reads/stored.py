"""Rows out of the store; what cannot be read there any more is fetched once more and put back."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from runtapd.history import fetch
from runtapd.history.kept import Kept, Lost
from runtapd.history.store import HistoryStore
from runtapd.history.table import NONE, Rows, joined
from runtapd.model.paths import RunPath
from runtapd.reads.partitions import Partition
from runtapd.upstream.api import Waits

log = logging.getLogger(__name__)


class Unkept(Exception):
    """The store does not hold this history now: no room, a damaged file, dropped or begun anew meanwhile."""


async def stored_rows(
    part: Partition,
    path: RunPath,
    kept: Kept,
    first: int,
    *,
    keys: tuple[str, ...] = (),
    waits: Waits | None,
) -> Rows:
    """Returns stored rows from that one on, as many as lie together; raises Unkept when they are gone.

    Without `waits` the server is not asked for what cannot be read.
    """
    part.histories.used([kept.storage_id])
    try:
        return await _rows(part, kept, first, keys)
    except Lost as lost:
        await _recover(part, path, kept, lost, waits)
    return await _rows(part, kept, first, keys)


async def row_of_step(part: Partition, path: RunPath, kept: Kept, step: int, *, waits: Waits | None) -> int:
    """Returns the number of the first stored row at that step or behind it; raises Unkept as `stored_rows` does."""
    if step <= 0:
        return 0
    try:
        return await _row_of_step(part, kept, step)
    except Lost as lost:
        await _recover(part, path, kept, lost, waits)
    return await _row_of_step(part, kept, step)


async def _rows(part: Partition, kept: Kept, first: int, keys: tuple[str, ...]) -> Rows:
    stretch = await part.histories.read(
        lambda store: store.stretch(kept.storage_id, kept.generation, first, keys or None), None
    )
    # Decoding takes milliseconds: not in the thread in which others ask for their rows.
    rows = await asyncio.to_thread(stretch.decoded) if stretch is not None else NONE
    if not rows.length:
        raise Unkept
    return rows


async def _row_of_step(part: Partition, kept: Kept, step: int) -> int:
    row = await part.histories.read(
        lambda store: store.row_of_step(kept.storage_id, kept.generation, step), None
    )
    if row is None:
        raise Unkept
    return row


async def _recover(part: Partition, path: RunPath, kept: Kept, lost: Lost, waits: Waits | None) -> None:
    """Puts lost rows back; where that cannot be done, forgets the history and raises Unkept."""
    try:
        restored = waits is not None and await _restored(part, path, kept, lost, waits)
    except Lost:
        restored = False  # what lies before them is lost as well
    if not restored:
        await part.histories.read(lambda store: store.drop(kept.storage_id), None)
        raise Unkept from lost


async def _restored(part: Partition, path: RunPath, kept: Kept, lost: Lost, waits: Waits) -> bool:
    """Fetches a lost stretch of rows anew; says whether it is in its place again."""
    log.warning("stored rows are damaged and fetched anew", extra={"run": str(path), "lost": str(lost)})
    # Rows of its first step may lie in the stretch before.
    begin = await _row_of_step(part, kept, lost.first_step)
    pages = fetch.steps(
        part.upstream,
        path,
        begin=lost.first_step,
        end=lost.last_step + 1,
        line_count=lost.rows,
        page_rows=0,
        waits=waits,
    )
    async with aclosing(pages):
        fetched = await asyncio.to_thread(joined, [page async for page, _ in pages])
    rows = fetched.slice(lost.first - begin, lost.first - begin + lost.rows)
    if rows.length < lost.rows:
        return False

    def put_back(store: HistoryStore) -> bool:
        store.replace(kept.storage_id, kept.generation, lost, rows)
        return True

    return await part.histories.read(put_back, False)
