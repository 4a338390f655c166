"""``updatedAt`` of a run moves with every write of any kind and never goes back, whatever the clock does."""

import base64
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from runtap_local import app
from runtap_local.app import LocalServer
from runtap_local.ids import file_id
from runtap_local.settings import Settings
from runtap_local.store import files, projects, runs, users
from runtap_local.store.database import Database

NOW = 1_800_000_000_000_000
KEY = "k" * 40
PROJECTS = itertools.count()


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@dataclass
class Desk:
    """A server in this process, whose clock the test sets."""

    server: LocalServer
    url: str
    http: requests.Session
    clock: Clock
    entity: str


class Place:
    """One run in a project of its own, and all the ways to write to it."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.clock, self.project = desk, desk.clock, f"p{next(PROJECTS)}"
        self.clock.now = NOW
        self.upsert(name="r", modelName=self.project)
        with desk.server.database.read() as connection:
            found = runs.by_path(connection, desk.entity, self.project, "r")
        assert found is not None
        self.pk, self.project_pk = found.pk, found.project_pk
        self.id = base64.b64encode(f"Run:v1:r:{self.project}:{desk.entity}".encode()).decode()

    def send(self, method: str, path: str, **options: Any) -> Any:
        """Send a request that must succeed."""
        response = self.desk.http.request(method, self.desk.url + path, timeout=10, **options)
        assert response.status_code == 200, response.text
        return response

    def query(self, document: str, **variables: Any) -> Any:
        """Execute a document."""
        answer = self.send("POST", "/graphql", json={"query": document, "variables": variables}).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def upsert(self, **fields: Any) -> None:
        """Make or change the run."""
        self.query("mutation U($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }", i=fields)

    def stream(self, **body: Any) -> None:
        """Send a file_stream request."""
        self.send("POST", f"/files/{self.desk.entity}/{self.project}/r/file_stream", json=body)

    def lines(self, name: str, *texts: str) -> None:
        """Stream lines of a file, in place of those sent before."""
        self.stream(files={name: {"offset": 0, "content": list(texts)}})

    def upload(self) -> None:
        """Put a file."""
        self.send("PUT", f"/files/{self.desk.entity}/{self.project}/r/a.txt", data=b"x")

    def by_names(self, mutation: str, **fields: Any) -> None:
        """Send a mutation that names the run."""
        names = {"entityName": self.desk.entity, "projectName": self.project, "runName": "r", **fields}
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
        with self.desk.server.database.read() as connection:
            row = files.find(connection, self.pk, "a.txt")
        assert row is not None
        self.query(
            "mutation D($f: [ID!]!) { deleteFiles(input: {files: $f}) { success } }", f=[file_id(row.pk)]
        )

    def crash(self) -> None:
        """Look for runs that fell silent, long after."""
        with self.desk.server.database.write() as connection:
            assert (
                runs.crash_silent(connection, runs.silent(self.clock.now + 10**12, 2**62), self.clock.now)
                >= 1
            )

    def latest_project(self) -> Any:
        """The name of the first project in the list."""
        listed = self.query("{ models(first: 1) { edges { node { name } } } }")["models"]["edges"]
        return listed[0]["node"]["name"]

    def moments(self) -> tuple[int, int]:
        """``updated_at`` of the run and of its project."""
        with self.desk.server.database.read() as connection:
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


@contextmanager
def serving(server: LocalServer) -> Iterator[str]:
    """Serve from a thread of this process; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(server.app(), lifespan="off", ws="none", http="h11", log_config=None)
    web = uvicorn.Server(config)
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        web.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A data folder, and somebody to write to it."""
    home: Path = tmp_path_factory.mktemp("moments")
    database = Database(home / "local.sqlite")
    with database.write() as connection:
        user = users.add(connection, "ann", KEY, NOW)
    server, clock = LocalServer(database, Settings(home=home)), Clock()
    with pytest.MonkeyPatch.context() as patch, requests.Session() as http, serving(server) as url:
        patch.setattr(app, "now_us", clock)
        http.auth = ("api", KEY)
        yield Desk(server, url, http, clock, user.entity)
    database.close()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(WRITES)), st.sampled_from(STEPS)), min_size=1, max_size=10))
def test_every_write_moves_both_moments_forward(desk: Desk, steps: list[tuple[str, int]]) -> None:
    place = Place(desk)
    for name, step in steps:
        place.clock.now += step
        before, write = WRITES[name]
        if before is not None:
            before(place)
        run, project = place.moments()
        write(place)
        run_after, project_after = place.moments()
        assert run_after > run and project_after > project, name
        assert run_after >= place.clock.now, name


@pytest.mark.parametrize("name", sorted(WRITES))
def test_each_write_within_a_tick_of_the_clock(desk: Desk, name: str) -> None:
    place = Place(desk)
    before, write = WRITES[name]
    seen = []
    for _ in range(3):
        if before is not None:
            before(place)
        write(place)
        seen.append(place.moments())
    assert len(set(seen)) == 3 and seen == sorted(seen)


def test_projects_are_listed_by_the_latest_write_to_any_of_their_runs(desk: Desk) -> None:
    first, second = Place(desk), Place(desk)
    desk.clock.now += 10**12
    first.stream()
    assert first.latest_project() == first.project
    desk.clock.now += 10**12
    second.upload()
    assert first.latest_project() == second.project


def test_a_deleted_run_moves_its_project(desk: Desk) -> None:
    place = Place(desk)
    _, project = place.moments()
    place.query("mutation D($i: ID!) { deleteRun(input: {id: $i}) { success } }", i=place.id)
    with desk.server.database.read() as connection:
        assert projects.by_pk(connection, place.project_pk).updated_at > project
