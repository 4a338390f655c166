"""Reading one run.

The order of a read: 1. look into the cache; 2. decide whether that is fresh enough (`cache/policy.py`); 3. else fetch,
once for everybody who waits; 4. keep; 5. lay own writes over it that the server has not confirmed yet.
"""

from __future__ import annotations

import asyncio

from runtapd import faults
from runtapd.cache import policy
from runtapd.cache.policy import Wishes
from runtapd.cache.records import Held
from runtapd.model.freshness import Source
from runtapd.model.paths import RunPath
from runtapd.model.run import Record
from runtapd.reads.overlay import Overlay, ShownRun
from runtapd.reads.pages import Pages
from runtapd.reads.partitions import Partition, Partitions
from runtapd.upstream.api import Wait

STALE_AFTER_S = 3.0
"""How long a server is tried for those who would rather have an older answer than none."""


class RunReads:
    """Answers questions about single runs."""

    def __init__(self, partitions: Partitions, overlay: Overlay) -> None:
        self._partitions = partitions
        self._overlay = overlay
        self._pages = Pages(partitions.clock)

    async def run(self, part: Partition, path: RunPath, wishes: Wishes, wait: Wait) -> ShownRun:
        """Returns one run; raises NotFound, NotInCache or an UpstreamFault."""
        held = await part.cache.by_path(str(path))
        if held is not None and self._usable(part, held.record, wishes):
            part.hits += 1
            return await self._overlay.shown(part, held.record, source_of(held))
        if wishes.cache_only:
            raise faults.NotInCache(f"run {path} is not in the cache, and the server was not to be asked")
        part.misses += 1
        if held is not None and wishes.allow_stale_on_error:
            wait = wait.no_later_than(asyncio.get_running_loop().time() + STALE_AFTER_S)
        try:
            record = await part.flights.join(
                path,
                wait,
                lambda shared: self._fetch(part, path, None if wishes.no_cache else held, shared),
                not_before=max(part.cache.floor_of(str(path)), wishes.not_before),
            )
        except faults.NotFound:
            if held is not None:
                part.cache.forget(held.record.storage_id)
            raise
        except faults.UpstreamFault:
            if held is None or not wishes.allow_stale_on_error:
                raise
            return await self._overlay.shown(part, held.record, source_of(held), stale=True)
        return await self._overlay.shown(part, record, Source.UPSTREAM)

    async def held(self, part: Partition, path: RunPath, wishes: Wishes) -> ShownRun | None:
        """Returns one run if the cache may answer for it."""
        held = await part.cache.by_path(str(path))
        if held is None or not self._usable(part, held.record, wishes):
            return None
        part.hits += 1
        return await self._overlay.shown(part, held.record, source_of(held))

    async def _fetch(self, part: Partition, path: RunPath, held: Held | None, wait: Wait) -> Record:
        if held is not None and (record := await self._unchanged(part, path, held.record, wait)):
            return record
        sent_at, generation = self._partitions.clock(), part.cache.generation
        run = await part.upstream.run(path.entity, path.project, path.run_id, wait)
        return (await part.cache.absorb_page([run], sent_at=sent_at, generation=generation))[0]

    async def _unchanged(self, part: Partition, path: RunPath, record: Record, wait: Wait) -> Record | None:
        """Returns a record with large documents when a glance tells that it is still right: megabytes less to read."""
        if not (record.oversize and part.by_name and policy.vouched(record.updated_at, record.fetched_at)):
            return None
        sent_at = self._partitions.clock()
        try:
            glance = await self._pages.glance_at_run(part, path, wait)
        except faults.UpstreamRefused:
            part.by_name = False
            return None
        if glance is None or glance.sign != record.sign:
            return None
        return part.cache.check([record], sent_at)[0]

    def _usable(self, part: Partition, record: Record, wishes: Wishes) -> bool:
        limit = self._partitions.limits.of_run(record.state)
        if record.lacks_write and not wishes.cache_only:
            return False
        floor = part.cache.floor_of(record.path)
        return policy.usable(record.current_at, self._partitions.clock(), limit, wishes, floor)


def source_of(held: Held) -> Source:
    """Returns which part of the cache a record comes from."""
    return Source.DISK if held.from_disk else Source.MEMORY
