"""Histories out of Parquet exports: the rows as they are, each file fetched once and believed as long as it is right.

The failures named F5 to F8 are those of the real client's own cache of such files. Histories are long here: of short
ones nobody asks for exports.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

from runtap.v1 import history_pb2 as pb
from tests.support.daemon import start_daemon
from tests.support.history_shapes import SHAPES, rows
from tests.support.history_world import FORMATS, HistoryWorld, HistoryWorlds, history_worlds
from tests.support.parquet_files import exported
from tests.support.scripted_world import options
from tests.support.upstream_faults import CutShort, ShortBody, Status, UpstreamFailure
from tests.support.upstream_histories import Line, step_of, text_of

NOW = options(max_age=Duration())
LONG = 5000


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryWorlds]:
    with start_daemon(tmp_path_factory.mktemp("parquet") / "home") as daemon, history_worlds(daemon) as make:
        yield make


def in_files(lines: Sequence[Line]) -> list[Line]:
    """The rows as they can be in a file."""
    return [json.dumps(exported(text_of(line))) for line in lines]


def long(count: int = LONG, **more: Any) -> list[Line]:
    return in_files(rows(range(count), **more))


def exporting(worlds: HistoryWorlds, lines: Sequence[Line], *cuts: int) -> tuple[HistoryWorld, str]:
    """A server with a run that is exported in parts."""
    world = worlds(exports=True)
    path = world.server.run(lines)
    world.server.export(path, *cuts)
    return world, path


@pytest.mark.parametrize(
    ("live", "wanted"), [(0, "arrow"), (40, "columns"), (LONG + 1, "arrow")], ids=["none", "some", "many"]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_with_so_many_live_rows(
    worlds: HistoryWorlds, shape: str, live: int, wanted: str
) -> None:
    lines = in_files(SHAPES[shape]())
    count, last = len(lines), max((step_of(text_of(line)) for line in lines), default=0)
    lines += [f'{{"_step":{last + 1 + i}}}' for i in range(LONG)]
    cuts = sorted(
        {cut for cut in (count // 3, count // 2, count, len(lines) - live) if 0 < cut <= len(lines) - live}
    )
    world, path = exporting(worlds, lines, *cuts)
    world.check(path, format=FORMATS[wanted])
    storage = world.server.storage
    assert storage.downloads() == {f"part-{i}.parquet": 1 for i in range(len(cuts))}
    assert storage.with_credentials() == [], "the key is for the server alone"
    if not live:
        assert world.server.rows_asked == 0
    asked = world.server.rows_asked
    world.check(path, keys=["loss", "a", "odd"], format=FORMATS[wanted])
    world.check(path, keys=["loss", "_runtime"], join=pb.HISTORY_JOIN_INNER, format=FORMATS[wanted])
    world.check(path, max_step=last // 2, format=FORMATS[wanted])
    world.check(path, max_step=last + 1, last_rows=3, format=FORMATS[wanted])
    assert len(storage.seen) == len(cuts) and world.server.rows_asked == asked, "fetched once"


def test_a_grown_file_is_noticed(worlds: HistoryWorlds) -> None:
    """F5."""
    world, path = exporting(worlds, long(), LONG)
    world.check(path)
    world.server.rewrite(path, long(2 * LONG))
    world.server.export(path, 2 * LONG)
    world.check(path, options=NOW)
    world.server.log(
        path, in_files(rows(range(2 * LONG, 2 * LONG + 10)))
    )  # behind the file, which grows later
    world.check(path, options=NOW)
    world.server.export(path, 2 * LONG + 10)
    world.check(path, options=NOW)


@pytest.mark.parametrize(
    "arranged", [lambda urls: urls[::-1], lambda urls: [*urls[2:], *urls[:2]]], ids=["back", "third first"]
)
def test_parts_in_any_order(worlds: HistoryWorlds, arranged: Callable[[list[str]], list[str]]) -> None:
    """F6: with a third part named first the real client gives some rows twice, and others not at all."""
    world, path = exporting(worlds, long(), 3000, LONG)
    world.check(path)
    world.server.arranged = arranged
    world.server.rewrite(path, long(LONG + 3000))
    world.server.export(path, 3000, LONG, LONG + 3000)
    world.check(path, options=NOW)
    other = world.server.run(long(LONG + 3000), "other")
    world.server.export(other, 3000, LONG, LONG + 3000)
    asked = world.server.rows_asked
    world.check(other)
    assert world.server.rows_asked == asked, "read from the files"


def test_another_server_has_other_files(worlds: HistoryWorlds) -> None:
    """F7."""
    here, path = exporting(worlds, long(who="here"), 3000, LONG)
    there, same = exporting(worlds, long(who="there"), 3000, LONG)
    assert path == same
    for world in (here, there, here, there):
        world.check(path)
    assert here.server.rows_asked == there.server.rows_asked == 0


def test_a_truncated_file_is_not_believed(worlds: HistoryWorlds) -> None:
    """F8: the real client fails for ever; here the rows come, and files are read again as soon as they are whole."""
    world, path = exporting(worlds, long(), 3000, LONG)
    files = world.server.storage.files
    place = world.server.parts[path][1]
    files[place] = files[place][: len(files[place]) // 2]
    world.check(path)
    asked = world.server.rows_asked
    assert asked
    world.server.export(path, 3000, LONG)
    world.check(path, options=options(no_cache=True))
    assert world.server.rows_asked == asked


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize("failure", [CutShort(), ShortBody(), Status(403), Status(404), Status(503)], ids=str)
def test_a_download_that_goes_wrong_costs_no_row(
    worlds: HistoryWorlds, failure: UpstreamFailure, times: int
) -> None:
    world, path = exporting(worlds, long(), 1000, 4000, LONG)
    world.server.storage.fail("part-1.parquet", failure, times)
    world.check(path)


def test_addresses_that_expire_are_asked_for_again(worlds: HistoryWorlds) -> None:
    world, path = exporting(worlds, long(), 3000, LONG)
    told: list[list[str]] = []

    def first_ones_run_out(urls: list[str]) -> list[str]:
        if not told:
            world.server.storage.expire()
        told.append(urls)
        return urls

    world.server.arranged = first_ones_run_out
    world.check(path)
    assert len(told) == 2 and world.server.rows_asked == 0, "read from the files"


def test_files_that_lag_behind_are_completed(worlds: HistoryWorlds) -> None:
    """Rows that are in no file and of which nobody tells as live: behind the last file, and before the live ones."""
    for told_live_from in (LONG, 4500):
        world, path = exporting(worlds, long(), 1000, 4000)
        world.server.exported[path] = told_live_from
        world.check(path)


def test_a_resumed_run_with_rows_among_those_exported(worlds: HistoryWorlds) -> None:
    world, path = exporting(worlds, long(), 3000, LONG)
    world.check(path)
    world.server.log(path, in_files(rows(range(4500, 6000), again=1)))
    world.check(path, options=NOW)
    other = world.server.run(world.server.lines[path], "other")
    for run in (path, other):
        world.server.export(run, 3000, LONG + 1500)
        world.check(run, options=NOW)


@pytest.mark.parametrize("change", ["fewer rows", "another run", "other values"])
def test_exports_of_what_was(worlds: HistoryWorlds, change: str) -> None:
    """The run becomes another one, and its files vanish and come again."""
    world, path = exporting(worlds, long(2 * LONG), LONG, 2 * LONG)
    world.check(path)
    if change == "another run":
        world.server.recreate(path, in_files(rows(range(0, 5 * LONG, 5))))
    else:
        world.server.rewrite(path, long(LONG + 1) if change == "fewer rows" else long(2 * LONG, again=1))
    world.server.withdraw(path)
    world.check(path, options=NOW)
    world.server.export(path, len(world.server.lines[path]))
    world.check(path, options=NOW)
    world.check(path, options=options(no_cache=True))


def test_a_server_without_files_is_read_by_pages(worlds: HistoryWorlds) -> None:
    world, path = exporting(worlds, long())
    world.check(path)
    assert world.server.rows_asked


@pytest.fixture(scope="module")
def shared(worlds: HistoryWorlds) -> HistoryWorld:
    return worlds(exports=True)


places = st.sampled_from([0, 1, 2, 7, 1000, 3000, 4999, LONG])


@settings(max_examples=20)
@given(
    cuts=st.lists(places.filter(bool), max_size=4, unique=True).map(sorted),
    data=st.data(),
    doubled=st.lists(st.integers(0, LONG), max_size=3),
    broken=st.sampled_from([None, None, CutShort(), ShortBody(), Status(403)]),
)
def test_any_files(
    shared: HistoryWorld,
    cuts: list[int],
    data: st.DataObject,
    doubled: list[int],
    broken: UpstreamFailure | None,
) -> None:
    """Cut anywhere (also within a step), in any order, one of them broken for a while."""
    server, storage = shared.server, shared.server.storage
    lines: list[Line] = [f'{{"_step":{i},"a":{i}.5}}' for i in range(LONG)]
    lines += [f'{{"_step":{step},"twice":true}}' for step in doubled]
    path = server.run(lines, f"any{len(server.lines)}")
    server.export(path, *cuts)
    order = data.draw(st.permutations(range(len(cuts))))
    server.arranged = lambda urls: [urls[i] for i in order]
    if broken is not None and cuts:
        storage.fail(
            f"part-{data.draw(st.integers(0, len(cuts) - 1))}.parquet",
            broken,
            data.draw(st.sampled_from([1, 9])),
        )
    shared.check(path)
    storage.heal()
    server.log(path, [f'{{"_step":{LONG + 5 + i}}}' for i in range(3)])
    shared.check(path, options=NOW)
