"""ProjectService: the projects of an entity."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from grpc.aio import ServicerContext

from runtap.v1 import projects_pb2 as pb
from runtapd.cache import keys
from runtapd.model.paths import entity_name
from runtapd.model.project import ProjectData
from runtapd.paging import Sealer
from runtapd.reads.partitions import Partitions
from runtapd.reads.projects import ProjectReads
from runtapd.services import convert, spots
from runtapd.services.calls import Call

Context = ServicerContext[Any, Any]
DEFAULT_PAGE = 200
LARGEST_PAGE = 1000


class ProjectService:
    """Answers for projects."""

    capabilities = ("projects.list", "projects.get")

    def __init__(self, partitions: Partitions, projects: ProjectReads, sealer: Sealer) -> None:
        self._partitions = partitions
        self._projects = projects
        self._sealer = sealer

    async def ListProjects(
        self, request: pb.ListProjectsRequest, context: Context
    ) -> pb.ListProjectsResponse:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        entity = entity_name(request.entity, part.account.viewer.entity)
        purpose = keys.answer_key("projects", account=part.account.account_id, entity=entity)
        size = convert.page_size(request.page_size, DEFAULT_PAGE, LARGEST_PAGE)
        wishes, wait = convert.wishes(request.options), convert.wait(call, request.options)
        page = await spots.given(
            self._sealer,
            request.page_token,
            purpose,
            size,
            lambda spot: self._projects.page(
                part, entity, cursor=spot.cursor, first=spot.first, wishes=spot.wishes(wishes), wait=wait
            ),
            lambda project: _message(project, part.account.app_url),
        )
        return pb.ListProjectsResponse(
            projects=page.messages,
            next_page_token=page.next_page_token,
            freshness=convert.freshness(page.freshness),
        )

    async def GetProject(self, request: pb.GetProjectRequest, context: Context) -> pb.GetProjectResponse:
        call = Call.of(context)
        part = self._partitions.get(call.account_id)
        path = convert.path_of_project(request.path, request.defaults, part.account, field="path")
        wishes, wait = convert.wishes(request.options), convert.wait(call, request.options)
        found = await self._projects.project(part, path, wishes, wait)
        return pb.GetProjectResponse(
            project=_message(found.value, part.account.app_url),
            freshness=convert.freshness(found.freshness),
        )


def _message(project: ProjectData, app_url: str) -> pb.Project:
    place = "/".join([app_url, *(quote(part, safe="") for part in (project.entity, project.name))])
    return pb.Project(
        id=project.id,
        entity=project.entity,
        name=project.name,
        url=f"{place}/workspace",
        description=project.description,
        created_at=project.created_at,
        is_benchmark=project.is_benchmark,
    )
