"""The server is killed again and again under load: what it said it has, it has, once, and its database is whole."""

import contextlib
import hashlib
import io
import json
import os
import random
import signal
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from tests.local.client import Client
from tests.local.conftest import alive
from tests.support.local_server import LocalServer, local_server, start_local_server

RUN = "historyLineCount logLineCount notes summaryMetrics historyKeys files(first: 100) { edges { node { name md5 } } }"
EXPORT = "historyLineCount parquetHistory { parquetUrls }"
PAUSE_S = 0.002


class Power:
    """Whether the server is there."""

    def __init__(self) -> None:
        self.on = threading.Event()
        self.on.set()
        self.over = threading.Event()


class Worker(threading.Thread, ABC):
    """Works while the server is there, and rests, seen by others, while it is not."""

    def __init__(self, client: Client, power: Power) -> None:
        super().__init__(daemon=True)
        self.client, self.power = client, power
        self.resting = threading.Event()
        self.failed: str | None = None

    def rest(self) -> None:
        """Wait for the server where it is gone."""
        if not self.power.on.is_set():
            self.resting.set()
            self.power.on.wait()

    def run(self) -> None:
        """Work until told that it is enough."""
        try:
            while not self.power.over.is_set():
                self.rest()
                self.work()
        except AssertionError as error:
            self.failed = str(error) or "failed"

    @abstractmethod
    def work(self) -> None:
        """What is done again and again."""


class Writer(Worker):
    """Writes to a run of its own, and keeps what was acknowledged, and what may or may not have been."""

    def __init__(self, client: Client, number: int, power: Power) -> None:
        super().__init__(client, power)
        self.session = requests.Session()
        self.session.auth = ("api", client.api_key)
        self.rng = random.Random(number)
        self.name = f"w{number}"
        self.rows: dict[int, str] = {}
        self.notes = ""
        self.files: dict[str, str] = {}
        self.asked: tuple[str, Any] | None = None
        client.upsert(self.name)

    def work(self) -> None:
        """One write, sent as often as it takes."""
        self.rng.choice((self._stream, self._stream, self._stream, self._note, self._upload))()

    def _send(self, method: str, path: str, **options: Any) -> None:
        """Send a request until it is answered; it is answered well."""
        while True:
            self.rest()
            try:
                response = self.session.request(method, self.client.url + path, timeout=20, **options)
            except requests.RequestException:
                time.sleep(PAUSE_S)  # killed: by the time it is back the switch says so
                continue
            if response.status_code == 503:
                continue  # it was about to stop
            assert response.status_code == 200, (response.status_code, response.text)
            return

    def _stream(self) -> None:
        count = len(self.rows)
        first = max(0, count - self.rng.choice((0, 0, 0, 1, 40)))
        texts = [
            json.dumps({"_step": step, "noise": self.rng.random()})
            for step in range(first, count + self.rng.choice((1, 20, 200)))
        ]
        new = dict(enumerate(texts, first))
        self.asked = ("rows", new)
        files = {
            "wandb-history.jsonl": {"offset": first, "content": texts},
            "output.log": {"offset": first, "content": texts},
            "wandb-summary.json": {"offset": 0, "content": texts[-1:]},
        }
        path = f"/files/{self.client.entity}/p/{self.name}/file_stream"
        self._send("POST", path, json={"files": files})
        self.rows.update(new)
        self.asked = None

    def _note(self) -> None:
        notes = str(self.rng.random())
        self.asked = ("notes", notes)
        document = "mutation M($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }"
        values = {"name": self.name, "modelName": "p", "notes": notes}
        self._send("POST", "/graphql", json={"query": document, "variables": {"i": values}})
        self.notes, self.asked = notes, None

    def _upload(self) -> None:
        name, content = f"f{self.rng.randrange(4)}", self.rng.randbytes(self.rng.choice((100, 300_000)))
        digest = hashlib.md5(content).hexdigest()
        self.asked = ("file", (name, digest))
        self._send("PUT", f"/files/{self.client.entity}/p/{self.name}/{name}", data=content)
        self.files[name], self.asked = digest, None

    def check(self) -> None:
        """What was acknowledged is there; what was not may be, whole."""
        kind: str
        asked: Any
        kind, asked = self.asked or ("", None)
        found = self.client.run(self.name, RUN)
        count = found["historyLineCount"]
        stored: list[str] = []
        while len(stored) < count:
            begin = len(stored)
            page = f"history(minStep: {begin}, maxStep: {begin + 1000}, samples: 1000)"
            part = self.client.run(self.name, page)["history"]
            assert part, (begin, count)
            stored += part
        rows = self.rows | asked if kind == "rows" and _is_part(asked, stored) else self.rows
        assert dict(enumerate(stored)) == rows and found["logLineCount"] == count
        assert json.loads(found["summaryMetrics"]) == (json.loads(stored[-1]) if stored else {})
        if count:
            (counted,) = found["historyKeys"]["keys"]["_step"]["typeCounts"]
            assert counted["count"] == count
        assert (found["notes"] or "") in {self.notes, asked if kind == "notes" else self.notes}
        files = {
            edge["node"]["name"]: b64decode(edge["node"]["md5"]).hex() for edge in found["files"]["edges"]
        }
        perhaps = self.files | dict([asked]) if kind == "file" else self.files
        assert files in (self.files, perhaps)
        for name, digest in files.items():
            address = f"/files/{self.client.entity}/p/{self.name}/{name}"
            assert hashlib.md5(self.client.request("GET", address).content).hexdigest() == digest


def _is_part(asked: dict[int, str], stored: list[str]) -> bool:
    return all(number < len(stored) and stored[number] == text for number, text in asked.items())


class Finisher(Worker):
    """Makes finished runs of a known length, and reads the Parquet parts of the earlier ones, which are whole."""

    def __init__(self, client: Client, power: Power) -> None:
        super().__init__(client, power)
        self.done: dict[str, int] = {}
        self.begun = self.parts = 0

    def work(self) -> None:
        """One run; cut off, it is left as it is."""
        self.begun += 1
        name, length = f"finished{self.begun}", random.randrange(1, 900)
        with contextlib.suppress(requests.RequestException):
            self.client.upsert(name)
            self.client.log(name, 0, [{"_step": step, "n": step} for step in range(length)])
            self.client.stream(name, complete=True, exitcode=0)
            self.done[name] = length
            self.read(random.choice(list(self.done)))

    def read(self, name: str) -> None:
        """All parts of a run hold all of its rows, or there are none."""
        run = self.client.run(name, EXPORT)
        steps: list[int] = []
        for address in run["parquetHistory"]["parquetUrls"]:
            content = requests.get(address, timeout=20)
            assert content.status_code == 200, content.text
            steps += pq.read_table(io.BytesIO(content.content)).column("_step").to_pylist()
            self.parts += 1
        assert not steps or steps == list(range(self.done[name])), name


def check_blobs(home: Path) -> None:
    """Every file and part in the database has its bytes, and every blob belongs to one of them."""
    with contextlib.closing(sqlite3.connect(home / "local.db")) as connection:
        used = {row[0] for row in connection.execute("SELECT blob FROM files UNION SELECT blob FROM exports")}
    assert {path.name for path in (home / "files").glob("??/*")} == used


def check_database(home: Path) -> None:
    """The database says itself that it is whole."""
    with contextlib.closing(sqlite3.connect(home / "local.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[LocalServer]:
    """A server to be killed."""
    with local_server(tmp_path / "home", parquet=1, parquet_rows=200) as server:
        yield server


def kill(server: LocalServer) -> None:
    """End the server as a crash does."""
    os.kill(server.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while alive(server.pid):
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("kills", "writers"),
    [(3, 4), pytest.param(30, 8, marks=[pytest.mark.slow, pytest.mark.timeout(300)])],
    ids=["a few times", "often"],
)
def test_whoever_kills_the_server_loses_nothing(mortal: LocalServer, kills: int, writers: int) -> None:
    client = Client(mortal.url, mortal.entity, mortal.api_key)
    power = Power()
    at_work = [Writer(client, number, power) for number in range(writers)]
    finisher = Finisher(client, power)
    for thread in (*at_work, finisher):
        thread.start()
    running = mortal
    for _ in range(kills):
        time.sleep(random.uniform(0.05, 0.8))
        power.on.clear()
        kill(running)
        running = start_local_server(mortal.home, **mortal.settings)
        assert (running.url, running.api_key) == (mortal.url, mortal.api_key)
        for thread in (*at_work, finisher):
            assert thread.resting.wait(30), thread.failed
            thread.resting.clear()
        check_blobs(mortal.home)
        check_database(mortal.home)
        for writer in at_work:
            writer.check()
        power.on.set()
    power.over.set()
    for thread in (*at_work, finisher):
        thread.join(30)
        assert not thread.is_alive() and thread.failed is None, thread.failed
    for writer in at_work:
        assert writer.asked is None and writer.rows
        writer.check()
    for name in finisher.done:
        finisher.read(name)
    assert finisher.parts
    check_database(mortal.home)
