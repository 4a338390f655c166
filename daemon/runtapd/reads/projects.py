"""Reading projects: one, or a page of an entity's."""

from __future__ import annotations

from runtapd.cache import keys
from runtapd.cache.policy import Wishes
from runtapd.model.paths import ProjectPath
from runtapd.model.project import ProjectData
from runtapd.reads.partitions import Partition, Partitions
from runtapd.reads.small import Found
from runtapd.upstream.api import Page, Wait


class ProjectReads:
    """Answers questions about projects."""

    def __init__(self, partitions: Partitions) -> None:
        self._limits = partitions.limits

    async def project(
        self, part: Partition, path: ProjectPath, wishes: Wishes, wait: Wait
    ) -> Found[ProjectData]:
        """Returns one project; raises NotFound, NotInCache or an UpstreamFault."""
        return await part.small_answer(
            keys.answer_key("project", path=str(path)),
            lambda shared: part.upstream.project(path, shared),
            what=f"project {path}",
            soft_limit_s=self._limits.list_s,
            wishes=wishes,
            wait=wait,
        )

    async def page(
        self, part: Partition, entity: str, *, cursor: str, first: int, wishes: Wishes, wait: Wait
    ) -> Found[Page[ProjectData]]:
        """Returns up to `first` projects of an entity behind the server's cursor (empty: from the first on)."""
        return await part.small_answer(
            keys.answer_key("projects", entity=entity, cursor=cursor, first=str(first)),
            lambda shared: part.upstream.projects(entity, cursor=cursor, first=first, wait=shared),
            what=f"this page of the projects of {entity}",
            soft_limit_s=self._limits.list_s,
            wishes=wishes,
            wait=wait,
        )
