"""The making of Parquet parts beside those who write, ask and delete meanwhile."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, active_count
from typing import Any, BinaryIO

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Row

from runtap_local.faults import NotFound
from runtap_local.histories.exports import Exports, PartPath, divided
from runtap_local.settings import Settings
from runtap_local.store import lines, projects, runs, users
from runtap_local.store.blobs import DiskBlobs
from runtap_local.store.database import Database
from runtap_local.store.lines import Line, Stream


class HeldBlobs(DiskBlobs):
    """Blobs that can be begun only when they are let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.begun, self.go = Event(), Event()

    def create(self) -> tuple[str, BinaryIO]:
        self.begun.set()
        assert self.go.wait(20)
        return super().create()

    def count(self) -> int:
        """How many there are."""
        return len(list(self.folder.glob("??/*")))


class World:
    """A database with a finished run of ten rows, and its exports."""

    def __init__(self, folder: Path, patience_s: float) -> None:
        settings = Settings(home=folder, parquet=True, parquet_rows=4)
        self.database = Database(folder / "local.db")
        self.blobs = HeldBlobs(folder / "files")
        self.exports = Exports(self.database, self.blobs, settings, patience_s)
        with self.database.write() as connection:
            user = users.add(connection, "ann", "k" * 40, 1)
            project, _ = projects.upsert(connection, "ann", "p", user.pk, 1)
            self.project_pk, self.user_pk = project.pk, user.pk
        self.pk = self.make()

    def make(self) -> int:
        """A finished run."""
        with self.database.write() as connection:
            pk = runs.create(connection, self.project_pk, "r", self.user_pk, 1, {"state": "finished"})
            lines.put(connection, pk, Stream.HISTORY, [Line(n, n, f'{{"a": {n}}}') for n in range(10)])
        return pk

    def run(self) -> Row[Any]:
        """The run as it is."""
        with self.database.read() as connection:
            return runs.by_pk(connection, self.pk)

    def paths(self) -> list[PartPath]:
        """The parts of the run as it is, as a request asks for them."""
        return self.exports.paths(self.run(), self.exports.deadline())

    def append(self) -> None:
        """Another row."""
        with self.database.write() as connection:
            lines.put(connection, self.pk, Stream.HISTORY, [Line(10, 10, '{"a": 10}')])

    def delete(self) -> None:
        """Delete the run and make another one in its place."""
        with self.database.write() as connection:
            runs.remove(connection, self.pk)
        assert self.make() == self.pk

    def steps(self) -> list[int]:
        """The steps in the parts, once there are any."""
        found: list[int] = []
        while not found:
            for path in self.paths():
                found += pq.read_table(self.exports.find(path)).column("_step").to_pylist()
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One in which nobody waits for parts."""
    made = World(tmp_path, patience_s=0.01)
    yield made
    made.blobs.go.set()
    made.database.close()


def test_who_asks_does_not_wait_for_long(world: World) -> None:
    for _ in range(3):
        assert world.paths() == []
    assert world.blobs.begun.wait(20)
    with world.database.write() as connection:  # nor does who writes
        runs.change(connection, world.pk, 5, {"notes": "n"})
    world.blobs.go.set()
    assert world.steps() == list(range(10))
    assert world.blobs.count() == 3
    assert world.paths() == world.paths() != []


def test_many_runs_at_once_make_no_crowd(world: World) -> None:
    with world.database.write() as connection:
        pks = [
            runs.create(connection, world.project_pk, f"r{n}", world.user_pk, 1, {"state": "finished"})
            for n in range(40)
        ]
        for pk in pks:
            lines.put(connection, pk, Stream.HISTORY, [Line(0, 0, '{"a": 1}')])
    before, until = active_count(), world.exports.deadline()
    with world.database.read() as connection:
        rows = [runs.by_pk(connection, pk) for pk in pks]
    assert [world.exports.paths(row, until) for row in rows] == [[]] * 40
    assert active_count() - before <= 8
    world.blobs.go.set()
    for row in rows:
        while not world.exports.paths(row, world.exports.deadline()):
            pass
    assert world.blobs.count() == 40


@pytest.mark.parametrize(("meanwhile", "rows"), [(World.append, 11), (World.delete, 10)])
def test_what_was_written_meanwhile_is_not_missing(
    world: World, meanwhile: Callable[[World], None], rows: int
) -> None:
    assert world.paths() == []
    assert world.blobs.begun.wait(20)
    meanwhile(world)
    world.blobs.go.set()
    assert world.steps() == list(range(rows))
    assert world.blobs.count() == 3  # of the first attempt nothing is left


def test_a_history_that_cannot_be_exported_is_read_line_by_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = World(tmp_path, patience_s=20)
    made.blobs.go.set()
    with made.database.write() as connection:
        lines.put(connection, made.pk, Stream.HISTORY, [Line(9, 9, "no JSON")])
    for _ in range(3):
        assert made.paths() == []
    assert caplog.text.count("exporting a history failed") == 1
    assert made.blobs.count() == 0
    with made.database.write() as connection:
        lines.put(connection, made.pk, Stream.HISTORY, [Line(9, 9, '{"a": 9}')])
    assert made.steps() == list(range(10))
    made.database.close()


def test_a_history_of_too_many_keys_is_read_line_by_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = World(tmp_path, patience_s=20)
    made.blobs.go.set()
    with made.database.write() as connection:
        wide = json.dumps({f"key_{number}": number for number in range(10_000)})
        lines.put(connection, made.pk, Stream.HISTORY, [Line(10, 10, wide)])
    for _ in range(3):
        assert made.paths() == []
    assert caplog.text.count("more than 10000 keys") == 1 and "Traceback" not in caplog.text
    assert made.blobs.count() == 0
    made.database.close()


def test_rows_with_little_in_common_are_divided_among_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtap_local.histories.parquet._MAX_CELLS", 20)
    made = World(tmp_path, patience_s=20)
    made.blobs.go.set()
    with made.database.write() as connection:
        for number in range(10):
            line = Line(number, number, json.dumps({f"key_{number}_{n}": number for n in range(4)}))
            lines.put(connection, made.pk, Stream.HISTORY, [line])
    found = [pq.read_table(made.exports.find(path)) for path in made.paths()]
    assert [table.column("_step").to_pylist() for table in found] == [
        [0, 1], [2, 3], [4, 5], [6, 7], [8, 9],
    ]  # fmt: skip
    assert found[4].column("key_9_3").to_pylist() == [None, 9]
    made.database.close()


def test_parts_are_as_large_as_their_text() -> None:
    rows = [(n, n, "x" * size) for n, size in enumerate((5, 5, 12, 1, 1, 1, 1, 1))]
    found = [[row[0] for row in part] for part in divided(iter(rows), 4, most_text=10)]
    assert found == [[0, 1], [2], [3, 4, 5, 6], [7]]


def test_parts_are_found_by_their_names_only(tmp_path: Path) -> None:
    made = World(tmp_path, patience_s=20)
    made.blobs.go.set()
    path = made.paths()[0]
    assert made.exports.find(path).is_file()
    for changes in ({"name": "x.parquet"}, {"run": "other"}, {"entity": "bob"}, {"name": "../../local.db"}):
        parts = {"entity": "ann", "project": "p", "run": "r", "name": path.name} | changes
        with pytest.raises(NotFound):
            made.exports.find(type(path)(**parts))
    with made.database.write() as connection:
        runs.change(connection, made.pk, 9, {"state": "running"})
    assert made.paths() == []
    made.database.close()
