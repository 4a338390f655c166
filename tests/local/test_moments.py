"""``updatedAt`` of a run moves with every write of any kind and never goes back, whatever the clock does."""

import base64
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from runtap_local import filestream, transfer
from runtap_local.app import LocalServer
from runtap_local.ids import file_id
from runtap_local.resolvers.context import RequestContext
from runtap_local.settings import Settings
from runtap_local.signing import FilePath
from runtap_local.store import files, projects, runs, users
from runtap_local.store.database import Database

NOW = 1_800_000_000_000_000
PROJECTS = itertools.count()


class Place:
    """A server without its sockets, one run in a project of its own, and a clock that the test sets."""

    def __init__(self, server: LocalServer, user: Any, project: str) -> None:
        self.server, self.user, self.project, self.now = server, user, project, NOW
        self.upsert(name="r", modelName=project)
        with server.database.read() as connection:
            found = runs.by_path(connection, user.entity, project, "r")
        assert found is not None
        self.pk, self.project_pk = found.pk, found.project_pk
        self.id = base64.b64encode(f"Run:v1:r:{project}:{user.entity}".encode()).decode()

    def query(self, document: str, **variables: Any) -> Any:
        """Execute a document at the present moment of the clock."""

        def context(connection: Connection) -> RequestContext:
            return RequestContext(
                self.user,
                connection,
                "http://h",
                self.server.signer,
                self.now,
                self.server.settings,
                delete_blob=self.server.blobs.delete,
            )

        body = {"query": document, "variables": variables, "operationName": ""}
        status, answer = self.server.engine.execute(body, context, lambda name: None)
        assert status == 200 and "errors" not in answer, answer
        return answer["data"]

    def upsert(self, **fields: Any) -> None:
        """Make or change the run."""
        self.query("mutation U($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }", i=fields)

    def stream(self, **body: Any) -> None:
        """Send a file_stream request."""
        with self.server.database.write() as connection:
            run = runs.by_path(connection, self.user.entity, self.project, "r", heavy=filestream.READS)
            assert run is not None
            filestream.apply(connection, run, filestream.understand(body), self.now)

    def lines(self, name: str, *texts: str) -> None:
        """Stream lines of a file, in place of those sent before."""
        self.stream(files={name: {"offset": 0, "content": list(texts)}})

    def upload(self) -> None:
        """Put a file."""
        name, target = self.server.blobs.create()
        target.close()
        path = FilePath(self.user.entity, self.project, "r", "a.txt")
        transfer.register(
            self.server.database, self.server.blobs, path, transfer.Upload(name, 0, ""), self.now
        )

    def by_names(self, mutation: str, **fields: Any) -> None:
        """Send a mutation that names the run."""
        names = {"entityName": self.user.entity, "projectName": self.project, "runName": "r", **fields}
        kind = mutation[0].upper() + mutation[1:] + "Input"
        self.query(f"mutation M($i: {kind}!) {{ {mutation}(input: $i) {{ success }} }}", i=names)

    def by_id(self, mutation: str, **fields: Any) -> None:
        """Send a mutation that has the run's id."""
        kind = mutation[0].upper() + mutation[1:] + "Input"
        self.query(
            f"mutation M($i: {kind}!) {{ {mutation}(input: $i) {{ success }} }}", i={"id": self.id, **fields}
        )

    def delete_file(self) -> None:
        """Delete the file that was put."""
        with self.server.database.read() as connection:
            row = files.find(connection, self.pk, "a.txt")
        assert row is not None
        self.query(
            "mutation D($f: [ID!]!) { deleteFiles(input: {files: $f}) { success } }", f=[file_id(row.pk)]
        )

    def crash(self) -> None:
        """Look for runs that fell silent, long after."""
        with self.server.database.write() as connection:
            assert runs.crash_silent(connection, self.now + 10**12, self.now) >= 1

    def latest_project(self) -> Any:
        """The name of the first project in the list."""
        listed = self.query("{ models(first: 1) { edges { node { name } } } }")["models"]["edges"]
        return listed[0]["node"]["name"]

    def moments(self) -> tuple[int, int]:
        """``updated_at`` of the run and of its project."""
        with self.server.database.read() as connection:
            return (
                runs.by_pk(connection, self.pk).updated_at,
                projects.by_pk(connection, self.project_pk).updated_at,
            )


def running(place: Place) -> None:
    """Before a write that only a running run takes."""
    place.upsert(name="r", modelName=place.project)


Write = Callable[[Place], None]
WRITES: dict[str, tuple[Write | None, Write]] = {
    "set up again": (None, running),
    "upsert by id": (None, lambda place: place.upsert(id=place.id, notes="n")),
    "config": (None, lambda place: place.upsert(id=place.id, config='{"a": {"value": 1}}')),
    "summary": (None, lambda place: place.upsert(id=place.id, summaryMetrics='{"a": 1}')),
    "nothing new": (None, lambda place: place.upsert(id=place.id)),
    "history": (None, lambda place: place.lines("wandb-history.jsonl", json.dumps({"_step": 1, "a": 1}))),
    "events": (None, lambda place: place.lines("wandb-events.jsonl", json.dumps({"system.cpu": 1}))),
    "console": (None, lambda place: place.lines("output.log", "2026-01-01T00:00:00.000 hello")),
    "streamed summary": (None, lambda place: place.lines("wandb-summary.json", '{"a": 2}')),
    "heartbeat": (None, lambda place: place.stream()),
    "preempting": (None, lambda place: place.stream(preempting=True)),
    "end": (None, lambda place: place.stream(complete=True, exitcode=1)),
    "upload": (None, Place.upload),
    "file deleted": (Place.upload, Place.delete_file),
    "marked": (None, lambda place: place.by_names("markRunFilesUploaded", files=["a.txt"])),
    "stop": (running, lambda place: place.by_id("stopRun")),
    "state": (running, lambda place: place.by_id("updateRunState", state="failed")),
    "crash": (running, Place.crash),
}
STEPS = [0, 1, 1_000_000, -1, -3_600_000_000]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A data folder that nobody serves."""
    home: Path = tmp_path_factory.mktemp("moments")
    database = Database(home / "local.sqlite")
    yield LocalServer(database, Settings(home=home))
    database.close()


@pytest.fixture(scope="module")
def user(server: LocalServer) -> Any:
    """Somebody to write."""
    with server.database.write() as connection:
        return users.add(connection, "ann", "k" * 40, NOW)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(WRITES)), st.sampled_from(STEPS)), min_size=1, max_size=12))
def test_every_write_moves_both_moments_forward(
    server: LocalServer, user: Any, steps: list[tuple[str, int]]
) -> None:
    place = Place(server, user, f"p{next(PROJECTS)}")
    for name, step in steps:
        place.now += step
        before, write = WRITES[name]
        if before is not None:
            before(place)
        run, project = place.moments()
        write(place)
        run_after, project_after = place.moments()
        assert run_after > run and project_after > project, name
        assert run_after >= place.now, name


@pytest.mark.parametrize("name", sorted(WRITES))
def test_each_write_within_a_tick_of_the_clock(server: LocalServer, user: Any, name: str) -> None:
    place = Place(server, user, f"p{next(PROJECTS)}")
    before, write = WRITES[name]
    seen = []
    for _ in range(3):
        if before is not None:
            before(place)
        write(place)
        seen.append(place.moments())
    assert len(set(seen)) == 3 and seen == sorted(seen)


def test_projects_are_listed_by_the_latest_write_to_any_of_their_runs(server: LocalServer, user: Any) -> None:
    first, second = (Place(server, user, f"p{next(PROJECTS)}") for _ in range(2))
    first.now += 10**12
    first.stream()
    assert first.latest_project() == first.project
    second.now += 2 * 10**12
    second.upload()
    assert first.latest_project() == second.project


def test_a_deleted_run_moves_its_project(server: LocalServer, user: Any) -> None:
    place = Place(server, user, f"p{next(PROJECTS)}")
    _, project = place.moments()
    place.query("mutation D($i: ID!) { deleteRun(input: {id: $i}) { success } }", i=place.id)
    with server.database.read() as connection:
        assert projects.by_pk(connection, place.project_pk).updated_at > project
