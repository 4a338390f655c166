"""file_stream against a model: whatever is sent in whatever order, each line number holds what was sent to it last."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runtap_local.histories import filestream
from runtap_local.histories.keystats import Keys, add_rows, remove_rows
from runtap_local.jsontext import dumps, loads
from runtap_local.store import lines, projects, runs, users
from runtap_local.store.database import Database
from runtap_local.store.lines import Stream

values = (
    st.integers(-3, 3)
    | st.floats(allow_nan=True)
    | st.text("ab", max_size=2)
    | st.booleans()
    | st.none()
    | st.lists(st.integers(0, 3), max_size=2)
    | st.fixed_dictionaries({"x": st.integers(0, 3)})
    | st.just({"_type": "histogram", "values": [1]})
)
rows = st.fixed_dictionaries({}, optional={"_step": st.integers(0, 60), "a": values, "b": values})
chunks = st.lists(
    st.tuples(st.integers(0, 12), st.lists(rows, min_size=1, max_size=6)), min_size=1, max_size=8
)


def kinds(rows: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """How many values of each type each key has, counted from nothing."""
    keys: Keys = {}
    add_rows(keys, rows)
    return counted(keys)


def counted(keys: Keys) -> dict[str, Counter[str]]:
    """The counts of known keys."""
    return {
        key: Counter({one["type"]: one["count"] for one in stats["typeCounts"]})
        for key, stats in keys.items()
    }


@settings(max_examples=20, deadline=None)
@given(chunks)
def test_lines_hold_what_was_sent_last(sent: list[tuple[int, list[dict[str, Any]]]]) -> None:
    model: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "local.db")
        with database.write() as connection:
            user = users.add(connection, "ann", "k" * 40, 1)
            project, _ = projects.upsert(connection, "ann", "p", user.pk, 1)
            pk = runs.create(connection, project.pk, "r", user.pk, 1, {})
        now = 2
        for offset, found in sent:
            texts = [dumps(row) for row in found]
            body = {"files": {"wandb-history.jsonl": {"offset": offset, "content": texts}}}
            for _ in range(2):  # everything is sent twice
                with database.write() as connection:
                    filestream.apply(connection, runs.by_pk(connection, pk), filestream.understand(body), now)
                now += 1
            model.update((offset + index, text) for index, text in enumerate(texts))
        with database.read() as connection:
            run = runs.by_pk(connection, pk)
            stored = lines.between(connection, pk, Stream.HISTORY, 0, 10**6)
            ordered = list(lines.texts(connection, pk, Stream.HISTORY))
        database.close()
    assert stored == model
    assert run.history_line_count == max(model) + 1
    steps = {number: loads(text).get("_step", number) for number, text in model.items()}
    assert run.last_step == max(steps.values())
    assert ordered == [model[number] for number in sorted(model, key=lambda number: (steps[number], number))]
    assert counted(json.loads(run.history_keys)) == kinds([loads(text) for text in model.values()])
    assert run.updated_at >= now - 1


@given(st.lists(rows, max_size=8), st.lists(rows, max_size=8))
def test_rows_taken_back_leave_the_rest(kept: list[dict[str, Any]], removed: list[dict[str, Any]]) -> None:
    keys: Keys = {}
    add_rows(keys, kept + removed)
    remove_rows(keys, removed)
    assert counted(keys) == kinds(kept)
