"""Reading sweeps: one, or a page of a project's."""

from __future__ import annotations

from runtapd.cache import keys
from runtapd.cache.policy import Wishes
from runtapd.model.paths import ProjectPath, SweepPath
from runtapd.model.sweep import SweepData
from runtapd.reads.partitions import Partition, Partitions
from runtapd.reads.small import Found
from runtapd.upstream.api import Page, Wait


class SweepReads:
    """Answers questions about sweeps."""

    def __init__(self, partitions: Partitions) -> None:
        self._limits = partitions.limits

    async def sweep(self, part: Partition, path: SweepPath, wishes: Wishes, wait: Wait) -> Found[SweepData]:
        """Returns one sweep; raises NotFound, NotInCache or an UpstreamFault."""
        return await part.small_answer(
            keys.answer_key("sweep", path=str(path)),
            lambda shared: part.upstream.sweep(path, shared),
            what=f"sweep {path}",
            soft_limit_s=self._limits.list_s,
            wishes=wishes,
            wait=wait,
        )

    async def page(
        self, part: Partition, project: ProjectPath, *, cursor: str, first: int, wishes: Wishes, wait: Wait
    ) -> Found[Page[SweepData]]:
        """Returns up to `first` sweeps of a project behind the server's cursor (empty: from the first on)."""
        return await part.small_answer(
            keys.answer_key("sweeps", project=str(project), cursor=cursor, first=str(first)),
            lambda shared: part.upstream.sweeps(project, cursor=cursor, first=first, wait=shared),
            what=f"this page of the sweeps of {project}",
            soft_limit_s=self._limits.list_s,
            wishes=wishes,
            wait=wait,
        )
