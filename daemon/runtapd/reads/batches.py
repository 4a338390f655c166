"""Reading many runs that are known by name: what is fresh enough comes from the cache, the rest in few requests.

Runs of one project come in one request by their names. What makes such a request fail is asked for in halves, until
what cannot be read stands alone; the others are delivered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.model.paths import ProjectPath, RunPath
from runtapd.reads.overlay import ShownRun
from runtapd.reads.pages import FAILING, Pages
from runtapd.reads.partitions import Partition
from runtapd.reads.runs import RunReads
from runtapd.upstream.api import Wait

_Found = dict[RunPath, ShownRun | faults.Fault]
_AS_CACHED: Final = Wishes(cache_only=True)
_AT_ONCE: Final = 250
"""Runs asked for by name in one request; a whole page may hold large ones."""


class Batches:
    """Answers questions about several runs."""

    def __init__(self, runs: RunReads, pages: Pages) -> None:
        self._runs = runs
        self._pages = pages

    async def runs(
        self, part: Partition, paths: Sequence[RunPath], wishes: Wishes, wait: Wait
    ) -> list[ShownRun | faults.Fault]:
        """Returns, for each path, the run or why it could not be read.

        Raises what the server as a whole fails with when not a single run could be read.
        """
        found: _Found = {}
        absent: dict[ProjectPath, list[RunPath]] = {}
        for path in dict.fromkeys(paths):
            if shown := await self._runs.held(part, path, wishes):
                found[path] = shown
            else:
                absent.setdefault(ProjectPath(path.entity, path.project), []).append(path)
        for project, there in absent.items():
            found |= await self._of_project(part, project, there, wishes, wait)
        failed = [fault for fault in found.values() if isinstance(fault, FAILING)]
        if failed and len(failed) == len(found):
            raise failed[0]
        return [found[path] for path in paths]

    async def _of_project(
        self, part: Partition, project: ProjectPath, paths: list[RunPath], wishes: Wishes, wait: Wait
    ) -> _Found:
        found: _Found = {}
        todo = [paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)]
        while todo:
            batch = todo.pop()
            if len(paths) == 1 or wishes.cache_only or not part.by_name:
                for path in batch:
                    found[path] = await self._single(part, path, wishes, wait)
            else:
                todo += await self._by_name(part, project, batch, found, wishes, wait)
        return found

    async def _by_name(
        self,
        part: Partition,
        project: ProjectPath,
        batch: list[RunPath],
        found: _Found,
        wishes: Wishes,
        wait: Wait,
    ) -> list[list[RunPath]]:
        """Asks for a batch; adds to what was found, and returns the pieces to ask for next."""
        try:
            page, records = await self._pages.by_name(part, project, [path.run_id for path in batch], wait)
        except FAILING as fault:
            if len(batch) > 1:
                return _halves(batch)
            found[batch[0]] = fault
            return []
        except faults.UpstreamRefused:
            part.by_name = False
            return [batch]
        part.misses += len(records)
        ids = {record.run_id for record in records}
        left = [path for path in batch if path.run_id not in ids]
        for path in batch:
            if path.run_id in ids:
                found[path] = await self._single(part, path, _AS_CACHED, wait)
        if left and page.unread:
            if len(batch) > 1:
                return _halves(left)
            found[left[0]] = faults.InvalidAnswer(
                f"{part.account.base_url} lists the run {left[0]} but does not give it",
                metadata={"server": part.account.base_url},
            )
        elif left and page.has_next and ids:
            return [left]
        elif left:
            found |= await self._absent(part, left, wishes, wait)
        return []

    async def _absent(self, part: Partition, paths: list[RunPath], wishes: Wishes, wait: Wait) -> _Found:
        """Tells what a server left out: if the first is not there, the others are not either."""
        first = paths[0]
        told = await self._single(part, first, wishes, wait)
        if not isinstance(told, faults.NotFound):
            part.by_name = False
            return {first: told} | {path: await self._single(part, path, wishes, wait) for path in paths[1:]}
        return {
            path: faults.NotFound(
                told.message.replace(str(first), str(path)),
                reason=told.reason,
                metadata=told.metadata | {"resource": str(path)},
            )
            for path in paths
        }

    async def _single(
        self, part: Partition, path: RunPath, wishes: Wishes, wait: Wait
    ) -> ShownRun | faults.Fault:
        try:
            return await self._runs.run(part, path, wishes, wait)
        except (faults.NotFound, faults.NotInCache, faults.UpstreamFault) as fault:
            return fault


def _halves(batch: list[RunPath]) -> list[list[RunPath]]:
    half = (len(batch) + 1) // 2
    return [piece for piece in (batch[:half], batch[half:]) if piece]
