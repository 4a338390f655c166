"""Histories against a model: whatever is sent in whatever order, each way of reading gives what the model says."""

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from runtap_local.histories import parquet
from runtap_local.store import lines, projects, runs, users
from runtap_local.store.chunks import MAX_LINES, Line, cut, pack, steps_of
from runtap_local.store.database import Database
from runtap_local.store.lines import Stream
from runtap_local.store.sampling import evenly


@contextmanager
def writing() -> Iterator[tuple[Connection, int]]:
    """A connection that writes, and a run."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "local.db")
        with database.write() as connection:
            user = users.add(connection, "ann", "k" * 40, 1)
            project, _ = projects.upsert(connection, "ann", "p", user.pk, 1)
            yield connection, runs.create(connection, project.pk, "r", user.pk, 1, {})
        database.close()


# Long pieces, so that they reach over chunks; gaps; steps that repeat, go back, or are far apart.
pieces = st.tuples(
    st.integers(0, 700),
    st.sampled_from([1, 1, 2, 17, MAX_LINES - 1, MAX_LINES, MAX_LINES + 1, 600]),
    st.sampled_from(["as numbered", "all the same", "back", "far"]),
    st.integers(0, 10**6),
)


def lines_of(piece: tuple[int, int, str, int]) -> list[Line]:
    """The lines that a piece stands for."""
    first, count, kind, seed = piece
    steps: dict[str, Callable[[int], int]] = {
        "as numbered": lambda n: n,
        "all the same": lambda n: seed % 50,
        "back": lambda n: 2000 - n * 2,
        "far": lambda n: -(2**62) + n * 10**12 + seed,
    }
    return [Line(n, steps[kind](n), f'{{"n": {n}, "s": {seed}}}') for n in range(first, first + count)]


@settings(max_examples=25, deadline=None)
@given(st.lists(pieces, min_size=1, max_size=8), st.data())
def test_every_way_of_reading_gives_what_was_written_last(
    sent: list[tuple[int, int, str, int]], data: st.DataObject
) -> None:
    model: dict[int, Line] = {}
    with writing() as (connection, pk):
        for piece in sent:
            new = lines_of(piece)
            for _ in range(data.draw(st.integers(1, 2))):
                lines.put(connection, pk, Stream.HISTORY, new)
            lines.put(connection, pk, Stream.OUTPUT, new[:1])  # other streams are not disturbed
            model.update((line.number, line) for line in new)
        ordered = sorted(model.values(), key=lambda line: (line.step, line.number))
        numbers = sorted(model)
        assert list(lines.placed(connection, pk, Stream.HISTORY)) == [
            (o.step, o.number, o.text) for o in ordered
        ]
        assert lines.last_step(connection, pk) == ordered[-1].step
        assert lines.last_text(connection, pk, Stream.HISTORY) == model[numbers[-1]].text
        first = data.draw(st.integers(0, 1300))
        limit = data.draw(st.integers(1, 700))
        page = lines.numbered(connection, pk, Stream.HISTORY, first, limit)
        assert page == [model[n] for n in numbers if n >= first][:limit]
        stored = lines.between(connection, pk, Stream.HISTORY, first, first + limit)
        assert stored == {n: model[n].text for n in numbers if first <= n <= first + limit}
        low, high = sorted(
            data.draw(st.sampled_from(ordered)).step + data.draw(st.integers(-1, 1)) for _ in "ab"
        )
        inside = [line.text for line in ordered if low <= line.step < high]
        assert list(lines.texts(connection, pk, Stream.HISTORY, low, high)) == inside
        samples = data.draw(st.integers(0, 40))
        found = lines.sampled_texts(connection, pk, Stream.HISTORY, samples)
        assert found == [ordered[n].text for n in evenly([line.step for line in ordered], samples)]
        assert lines.sampled_texts(connection, pk, Stream.HISTORY, len(inside), low, high) == inside
        rows = list(lines.placed(connection, pk, Stream.HISTORY))
    sink = io.BytesIO()
    parquet.write(parquet.table([step for step, _, _ in rows], [text for _, _, text in rows]), sink)
    exported = pq.read_table(sink).to_pylist()
    assert exported == [{"_step": o.step, **json.loads(o.text)} for o in ordered]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5)), min_size=1, max_size=40))
def test_chunks_keep_numbers_and_steps(parts: list[tuple[int, int]]) -> None:
    number, wanted = 0, []
    for gap, step in parts:
        number += 1 + gap
        wanted.append(Line(number, step, "x"))
    pieces = list(cut(wanted))
    assert [line for piece in pieces for line in piece] == wanted
    for piece in pieces:
        packed = pack(piece)
        chunk = type("Chunk", (), packed)
        assert packed["last_line"] - packed["first_line"] + 1 == len(piece)
        assert list(steps_of(chunk)) == [line.step for line in piece]


@given(st.lists(st.integers(-(2**62), 2**62), max_size=60), st.integers(-1, 70))
def test_samples_are_the_first_the_last_and_as_many_as_asked_for(steps: list[int], samples: int) -> None:
    steps.sort()
    chosen = list(evenly(steps, samples))
    assert chosen == sorted(set(chosen)) and set(chosen) <= set(range(len(steps)))
    assert len(chosen) == min(max(0, samples), len(steps))
    if steps and samples >= 2:
        assert chosen[0] == 0 and chosen[-1] == len(steps) - 1
    assert chosen == list(evenly(steps, samples))


def test_samples_lie_evenly_by_step() -> None:
    dense = list(range(1000)) + list(
        range(1000, 100_001, 1000)
    )  # the first hundredth was logged at every step
    chosen = [dense[place] for place in evenly(dense, 101)]
    assert chosen == list(range(0, 100_001, 1000))
    clustered = [0, 1, 2, 3, 10**9]
    assert [clustered[place] for place in evenly(clustered, 4)] == [0, 1, 3, 10**9]
