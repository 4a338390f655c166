"""The scripted upstream that offers histories as files, which lie on a storage host.

    with StorageHost() as storage, ExportingUpstream(storage=storage) as server:
        server.add_run("team", "vision", "r1")
        server.add_parts("team/vision/r1", [first, second])
        storage.fail("part-1.parquet", Status(500), times=2)

Owns which files a run has and what is told of them; how they are given is `storage_host`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.storage_host import StorageHost
from tests.support.upstream import Request, ScriptedUpstream


@dataclass
class ExportingUpstream(ScriptedUpstream):
    """A server with `Run.parquetHistory`."""

    storage: StorageHost = field(default_factory=StorageHost)
    """Enter it when there are to be files."""
    arranged: Callable[[list[str]], list[str]] = lambda urls: urls
    """In which order addresses are named."""
    parts: dict[str, list[str]] = field(default_factory=dict)
    """Paths of files on the storage host, by `entity/project/run_id`."""
    live: dict[str, list[Any] | None] = field(default_factory=dict)
    """Rows that are in no file, by the same."""
    cannot_export: set[str] = field(default_factory=set)
    """Runs for which the field fails."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._unscripted = self._unscripted - {("Run", "parquetHistory")}

    def add_parts(self, path: str, bodies: Sequence[bytes]) -> None:
        """Gives a run these files, beside those it has: `part-0.parquet`, and so on."""
        with self._lock:
            places = self.parts.setdefault(path, [])
            for body in bodies:
                place = f"/{path}/part-{len(places)}.parquet"
                self.storage.files[place] = body
                places.append(place)

    def withdraw(self, path: str) -> None:
        """The files of a run are gone."""
        with self._lock:
            for place in self.parts.pop(path, []):
                del self.storage.files[place]

    def _answer_runparquethistory(self, request: Request) -> dict[str, Any]:
        assert request.variables["liveKeys"] == ["_step"]
        path = self._path(request)
        project = self._project(request)
        if project is None or request.variables["name"] not in project:
            return {"data": {"project": {"run": None}}}
        if path in self.cannot_export:
            wrong = {"message": "internal error", "path": ["project", "run", "parquetHistory"]}
            return {"data": {"project": {"run": {"parquetHistory": None}}}, "errors": [wrong]}
        return {"data": {"project": {"run": {"parquetHistory": self._parquet_history(path)}}}}

    def _parquet_history(self, path: str) -> dict[str, Any]:
        urls = [self.storage.signed(place) for place in self.parts.get(path, ())]
        return {"parquetUrls": self.arranged(urls), "liveData": self._live(path)}

    def _live(self, path: str) -> list[Any] | None:
        return self.live.get(path, [])
