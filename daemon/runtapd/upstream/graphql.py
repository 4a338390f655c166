"""`Upstream` over GraphQL: one method per remote operation, one page per call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from runtapd import faults
from runtapd.model.paths import ProjectPath, RunPath, SweepPath
from runtapd.model.project import ProjectData
from runtapd.model.run import RunData
from runtapd.model.sweep import SweepData
from runtapd.upstream import decode, documents
from runtapd.upstream.api import (
    NO_EXPORTS,
    UNBOUNDED,
    Bounds,
    Exports,
    GlancePage,
    Listed,
    Listing,
    Page,
    RunChange,
    RunPage,
    ViewerData,
    Wait,
)
from runtapd.upstream.channel import Channel
from runtapd.upstream.downloads import Downloads
from runtapd.upstream.features import ServerFeatures

T = TypeVar("T")

INTROSPECTION_S = 5.0
"""Who the viewer is must not wait for long because a server does not like to be asked for its fields."""


@dataclass
class GraphQLUpstream:
    """One server as one account sees it."""

    channel: Channel
    username: str = ""
    """Whom to name when something is not found or not allowed."""
    features: ServerFeatures = field(default_factory=ServerFeatures, repr=False)
    """What this server can do; shared by all its accounts."""
    _downloads: Downloads = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._downloads = Downloads(self.channel.base_url, self.channel.user_agent, self.channel.threads)

    async def viewer(self, wait: Wait) -> ViewerData:
        """See Upstream."""
        data = await self._viewer_and_types(wait)
        if data is None:
            data = await self._viewer(documents.VIEWER, wait)
            if self.features.wants_introspection(self.channel.base_url):
                self.features.told(self.channel.base_url, {})
        found = decode.viewer(data)
        if found is None:
            raise faults.NeedsLogin(
                f"{self.channel.base_url} does not know this API key",
                reason="API_KEY_REJECTED",
                metadata={"server": self.channel.base_url},
            )
        return found

    async def _viewer_and_types(self, wait: Wait) -> dict[str, Any] | None:
        """Asks for the viewer, and in the same request for this server's fields; None when it does not tell them."""
        server = self.channel.base_url
        if not self.features.wants_introspection(server):
            return None
        try:
            data = await self._viewer(
                documents.VIEWER_AND_TYPES, wait, Bounds(tries=1, within_s=INTROSPECTION_S)
            )
        except (faults.UpstreamRefused, faults.UpstreamForbidden):
            return None
        except (faults.UpstreamUnavailable, faults.UpstreamTimeout, faults.InvalidAnswer):
            if wait.once:
                raise
            return None  # not every server that cannot be introspected says so
        self.features.told(server, decode.fields_by_type(data, documents.OPTIONAL_FIELDS))
        return data

    async def _viewer(self, document: str, wait: Wait, bounds: Bounds = UNBOUNDED) -> dict[str, Any]:
        beside = decode.viewer_beside_errors
        return await self.channel.graphql("Viewer", document, {}, wait, bounds=bounds, salvage=beside)

    async def run(self, entity: str, project: str, run_id: str, wait: Wait) -> RunData:
        """See Upstream."""
        variables = {"entity": entity, "project": project, "name": run_id}
        data = await self._ask("Run", documents.run, variables, wait)
        found = decode.inside(data, "project", "run")
        if found is None:
            raise self._no_run(f"{entity}/{project}/{run_id}")
        return decode.run(found, entity, project, "project.run")

    async def runs(self, listing: Listing, wait: Wait, bounds: Bounds = UNBOUNDED) -> RunPage:
        """See Upstream."""
        return await self._listed("Runs", documents.runs, decode.run_page, listing, wait, bounds)

    async def glance(self, listing: Listing, wait: Wait, bounds: Bounds = UNBOUNDED) -> GlancePage:
        """See Upstream."""
        return await self._listed("RunsGlance", documents.glance, decode.glance_page, listing, wait, bounds)

    async def _listed(
        self,
        operation: str,
        document: Callable[[documents.Fields], str],
        read: Callable[[dict[str, Any], str, str], Listed[T] | None],
        listing: Listing,
        wait: Wait,
        bounds: Bounds,
    ) -> Listed[T]:
        entity, project = listing.project.entity, listing.project.project
        variables = {
            "entity": entity,
            "project": project,
            "filters": listing.filters or "{}",
            "order": listing.order,
            "cursor": listing.cursor,
            "first": listing.first,
        }
        salvage = decode.runs_beside_errors
        data = await self._ask(operation, document, variables, wait, bounds=bounds, salvage=salvage)
        page = await asyncio.to_thread(read, data, entity, project)
        if page is None:
            raise self._not_found("PROJECT_NOT_FOUND", "project", str(listing.project))
        return page

    async def project(self, path: ProjectPath, wait: Wait) -> ProjectData:
        """See Upstream."""
        variables = {"entity": path.entity, "project": path.project}
        data = await self._ask("Project", documents.project, variables, wait, kind="Project")
        if data.get("project") is None:
            raise self._not_found("PROJECT_NOT_FOUND", "project", str(path))
        return decode.project(data["project"], path.entity, "project")

    async def projects(self, entity: str, *, cursor: str, first: int, wait: Wait) -> Page[ProjectData]:
        """See Upstream."""
        variables = {"entity": entity, "cursor": cursor or None, "first": first}
        data = await self._ask("Projects", documents.projects, variables, wait, kind="Project")
        if data.get("models") is None:
            raise self._not_found("PROJECT_NOT_FOUND", "projects of", entity)
        return decode.page(
            data["models"], "models", cursor, lambda node, where: decode.project(node, entity, where)
        )

    async def sweep(self, path: SweepPath, wait: Wait) -> SweepData:
        """See Upstream."""
        variables = {"entity": path.entity, "project": path.project, "name": path.sweep_id}
        data = await self._ask("Sweep", documents.sweep, variables, wait, kind="Sweep")
        found = decode.inside(data, "project", "sweep")
        if found is None:
            raise self._not_found("SWEEP_NOT_FOUND", "sweep", str(path))
        return await asyncio.to_thread(decode.sweep, found, path.entity, path.project, "project.sweep")

    async def sweeps(self, project: ProjectPath, *, cursor: str, first: int, wait: Wait) -> Page[SweepData]:
        """See Upstream."""
        variables = {
            "entity": project.entity,
            "project": project.project,
            "cursor": cursor or None,
            "first": first,
        }
        data = await self._ask("Sweeps", documents.sweeps, variables, wait, kind="Sweep")
        if data.get("project") is None:
            raise self._not_found("PROJECT_NOT_FOUND", "project", str(project))

        def one(node: Any, where: str) -> SweepData:
            return decode.sweep(node, project.entity, project.project, where)

        return await asyncio.to_thread(
            decode.page, decode.inside(data, "project", "sweeps"), "project.sweeps", cursor, one
        )

    async def change_run(self, storage_id: str, before: RunData, change: RunChange, wait: Wait) -> RunData:
        """See Upstream."""
        variables = {
            "id": storage_id,
            "displayName": change.display_name,
            "notes": change.notes,
            "description": change.description,
            "groupName": change.group,
            "jobType": change.job_type,
            "tags": None if change.tags is None else list(change.tags),
            "config": change.config,
            "summaryMetrics": change.summary,
        }
        data = await self._ask("UpsertBucket", documents.change_run, variables, wait, once=True)
        bucket = decode.inside(data, "upsertBucket", "bucket")
        return decode.run(bucket, before.entity, before.project, "upsertBucket.bucket")

    async def history(
        self,
        path: RunPath,
        *,
        min_step: int,
        max_step: int,
        samples: int,
        wait: Wait,
        bounds: Bounds = UNBOUNDED,
    ) -> Sequence[str]:
        """See Upstream."""
        variables = {"minStep": min_step, "maxStep": max_step, "samples": samples}
        document = documents.HISTORY_PAGE
        return await self._rows("HistoryPage", document, "history", path, variables, wait, bounds)

    async def events(
        self, path: RunPath, *, samples: int, wait: Wait, bounds: Bounds = UNBOUNDED
    ) -> Sequence[str]:
        """See Upstream."""
        variables = {"samples": samples}
        return await self._rows("RunEvents", documents.EVENTS, "events", path, variables, wait, bounds)

    async def exports(self, path: RunPath, wait: Wait) -> Exports:
        """See Upstream."""
        field_of = self.channel.base_url, "Run", "parquetHistory"
        if not self.features.may_have(*field_of):
            return NO_EXPORTS
        operation, text = "RunParquetHistory", documents.PARQUET_HISTORY
        where = {"entity": path.entity, "project": path.project, "name": path.run_id, "liveKeys": ["_step"]}
        salvage = decode.exports_beside_errors
        try:
            data = await self.channel.graphql(operation, text, where, wait, salvage=salvage)
        except faults.UpstreamRefused:
            self.features.refused(*field_of)  # histories can be read without it
            return NO_EXPORTS
        self.features.gave(*field_of)
        found = decode.exports(data)
        if found is None:
            raise self._no_run(str(path))
        return found

    async def download(self, url: str, file: Path, wait: Wait, *, most_bytes: int) -> None:
        """See Upstream."""
        await self._downloads.fetch(url, file, wait, most_bytes)

    async def _rows(
        self,
        operation: str,
        text: str,
        name: str,
        path: RunPath,
        variables: dict[str, Any],
        wait: Wait,
        bounds: Bounds,
    ) -> list[str]:
        where = {"entity": path.entity, "project": path.project, "name": path.run_id}
        data = await self.channel.graphql(operation, text, where | variables, wait, bounds=bounds)
        found = decode.rows(data, name)
        if found is None:
            raise self._no_run(str(path))
        return found

    async def _ask(
        self,
        operation: str,
        document: Callable[[documents.Fields], str],
        variables: dict[str, Any],
        wait: Wait,
        *,
        kind: str = "Run",
        once: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """Executes a document with the fields this server has; learns by one refusal that it lacks some.

        `kind` says whose fields they are: a server may have all of runs and lack some of sweeps. The other options are
        those of `Channel.graphql`.

        Only while that is not known is a refused document sent again without those fields. Changes never are: they ask
        only for fields that are known to be there, which a read of the same server before them has shown.
        """
        server = self.channel.base_url
        more = self.features.optional(server, kind, sure=once)
        try:
            data = await self.channel.graphql(
                operation, document(more), variables, wait, once=once, **options
            )
        except faults.UpstreamRefused:
            if not more or once or self.features.proven(server, kind):
                raise
            data = await self.channel.graphql(operation, document(()), variables, wait, **options)
            self.features.took_base_only(server, kind)
            return data
        except faults.UpstreamForbidden as fault:
            raise faults.UpstreamForbidden(
                f"{fault.message} (asked as user {self.username or '(unknown)'})",
                metadata=fault.metadata | {"username": self.username},
            ) from fault
        if more:
            self.features.took_all(server, kind)
        return data

    def _no_run(self, path: str) -> faults.NotFound:
        return self._not_found("RUN_NOT_FOUND", "run", path)

    def _not_found(self, reason: str, kind: str, path: str) -> faults.NotFound:
        server = self.channel.base_url
        return faults.NotFound(
            f"Could not find {kind} {path} at {server} as user {self.username or '(unknown)'}",
            reason=reason,
            metadata={"resource": path, "server": server, "username": self.username},
        )
