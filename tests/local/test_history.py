"""What is read back of histories, system events and console lines, over the wire and by the real client."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.local.client import Client
from tests.support.local_server import LocalServer, log_run


def texts(client: Client, run: str, arguments: str = "", stream: str = "history") -> list[dict[str, Any]]:
    """Rows of a stream, parsed."""
    return [json.loads(row) for row in client.run(run, stream + arguments)[stream]]


def sampled(client: Client, run: str, *specs: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The rows of each spec."""
    document = "query Q($s: [JSONString!]!, $p: String!, $e: String!, $n: String!) "
    document += "{ project(name: $p, entityName: $e) { run(name: $n) { sampledHistory(specs: $s) } } }"
    sent = [json.dumps(spec) for spec in specs]
    answer = client.query(document, s=sent, p=client.project, e=client.entity, n=run)
    found: list[list[dict[str, Any]]] = answer["project"]["run"]["sampledHistory"]
    return found


def lines(client: Client, run: str, arguments: str) -> tuple[list[int], dict[str, Any]]:
    """(numbers of the console lines, what is said of the page)."""
    page = (
        "{ edges { cursor node { number } } pageInfo { startCursor endCursor hasNextPage hasPreviousPage } }"
    )
    found = client.run(run, f"logLines({arguments}) {page}")["logLines"]
    return [edge["node"]["number"] for edge in found["edges"]], found["pageInfo"]


@pytest.mark.parametrize(
    ("samples", "count"), [(1, 1), (2, 2), (10, 10), (99, 99), (100, 100), (500, 100), (0, 0)]
)
def test_as_many_rows_as_asked_for(client: Client, samples: int, count: int) -> None:
    client.upsert("r1")
    client.log("r1", 0, [{"_step": step * 7, "a": step} for step in range(100)])
    steps = [row["_step"] for row in texts(client, "r1", f"(samples: {samples})")]
    assert len(steps) == count and steps == sorted(set(steps))
    if count > 1:
        assert steps[0] == 0 and steps[-1] == 99 * 7
    if 1 < count < 100:
        gaps = [after - before for before, after in itertools.pairwise(steps)]
        assert max(gaps) - min(gaps) <= 7
    assert texts(client, "r1", f"(samples: {samples})") == texts(client, "r1", f"(samples: {samples})")


def test_samples_are_even_by_step_and_500_unless_said_otherwise(client: Client) -> None:
    client.upsert("r1")
    # Every step at first, every hundredth later on.
    steps = [*range(1000), *range(1000, 100_001, 100)]
    client.log("r1", 0, [{"_step": step} for step in steps])
    found = [row["_step"] for row in texts(client, "r1")]
    assert len(found) == 500 and found[0] == 0 and found[-1] == 100_000
    assert sum(step < 1000 for step in found) < 20
    [rows] = sampled(client, "r1", {"keys": ["_step"]})
    assert [row["_step"] for row in rows] == found
    some = [row["_step"] for row in texts(client, "r1", "(minStep: 500, maxStep: 2000, samples: 11)")]
    assert some[0] == 500 and some[-1] == 1900 and len(some) == 11


def test_rows_of_one_step_and_rows_without_one(client: Client) -> None:
    client.upsert("r1")
    client.log("r1", 0, [{"_step": 5, "a": 1}, {"_step": 5, "a": 2}, {"a": 3}, {"_step": 0, "a": 4}])
    assert [row["a"] for row in texts(client, "r1")] == [4, 3, 1, 2]
    # A row stands at a step, written or not; the real client sorts by it.
    [rows] = sampled(client, "r1", {"keys": ["_step", "a"]})
    assert rows == [{"_step": 0, "a": 4}, {"_step": 2, "a": 3}, {"_step": 5, "a": 1}, {"_step": 5, "a": 2}]
    assert [row["a"] for row in texts(client, "r1", "(minStep: 5, maxStep: 6)")] == [1, 2]
    assert texts(client, "r1", "(minStep: 6, maxStep: 5)") == []


def test_each_spec_has_its_own_answer(client: Client) -> None:
    client.upsert("r1")
    rows: list[Any] = [{"_step": step, "a": step} for step in range(0, 20, 2)]
    rows += [{"_step": step, "b": step, "a": -step} for step in range(1, 20, 2)]
    client.log("r1", 0, rows)
    found = sampled(
        client,
        "r1",
        {"keys": ["a"], "samples": 100},
        {"keys": ["a", "b"], "samples": 100},
        {"keys": ["b", "b", "_step", "b"], "samples": 2},
        {"keys": ["nothing"]},
        {"keys": ["b"], "minStep": 3, "maxStep": 5},
        {"keys": ["a"], "minStep": 18.0, "samples": 5},
        {"keys": [], "samples": 3},
    )
    assert [row["a"] for row in found[0]] == [step if step % 2 == 0 else -step for step in range(20)]
    assert found[1] == [{"a": -step, "b": step} for step in range(1, 20, 2)]
    assert found[2] == [{"b": 1, "_step": 1}, {"b": 19, "_step": 19}]  # among the rows that have the key
    assert found[3] == []
    assert found[4] == [{"b": 3}, {"b": 5}]  # the last step of a spec is one of its own
    assert found[5] == [{"a": 18}, {"a": -19}]
    assert found[6] == [{}, {}, {}]
    assert sampled(client, "r1") == []


def test_keys_of_all_kinds_are_found(client: Client) -> None:
    client.upsert("r1")
    row = {
        "_step": 0,
        "a": {"b": {"c": 1}},
        "a.b.d": 2,
        "train/loss": 3,
        'qu"ote': 4,
        "ü": None,
        "": 5,
        "t\tb": 6,
    }
    client.log("r1", 0, [row])
    client.log("r1", 1, ['{"_step": 1, "\\u0074rain/loss": 7, "x": "train/loss"}'])
    for key, value in (
        ("a.b.c", 1),
        ("a.b.d", 2),
        ("a", {"b": {"c": 1}}),
        ('qu"ote', 4),
        ("ü", None),
        ("", 5),
        ("t\tb", 6),
    ):
        assert sampled(client, "r1", {"keys": [key]}) == [[{key: value}]]
    assert sampled(client, "r1", {"keys": ["a.b"]}) == [[{"a.b": {"c": 1}}]]
    assert sampled(client, "r1", {"keys": ["x"]}) == [[{"x": "train/loss"}]]
    assert sampled(client, "r1", {"keys": ["a.x"]}, {"keys": ["x.y"]}, {"keys": ["train"]}) == [[], [], []]


def test_what_is_known_of_keys_stays_right(client: Client) -> None:
    client.upsert("r1")
    assert client.run("r1", "historyKeys")["historyKeys"] is None

    def counts() -> dict[str, dict[str, int]]:
        keys = client.run("r1", "historyKeys")["historyKeys"]["keys"]
        return {
            key: {one["type"]: one["count"] for one in found["typeCounts"]} for key, found in keys.items()
        }

    client.log("r1", 0, [{"_step": step, "a": step, "d": {"x": 1}} for step in range(10)])
    client.log("r1", 10, [{"_step": 99, "a": "text", "h": {"_type": "histogram", "values": []}}])
    assert client.run("r1", "historyKeys")["historyKeys"]["lastStep"] == 99
    assert counts() == {
        "_step": {"number": 11},
        "a": {"number": 10, "string": 1},
        "d.x": {"number": 10},
        "h": {"histogram": 1},
    }
    # The end is written anew, with an earlier step and without two of the keys.
    client.log("r1", 8, [{"_step": 8, "a": True}, {"_step": 9}, {"_step": 10, "a": [1]}])
    keys = client.run("r1", "historyKeys historyLineCount")
    assert keys["historyKeys"]["lastStep"] == 10 and keys["historyLineCount"] == 11
    assert counts() == {
        "_step": {"number": 11},
        "a": {"number": 8, "bool": 1, "list": 1},
        "d.x": {"number": 8},
    }


def test_events_and_tails(client: Client) -> None:
    client.upsert("r1")
    assert client.run("r1", "historyTail eventsTail") == {"historyTail": "[]", "eventsTail": "[]"}
    rows = [json.dumps({"_wandb": True, "_runtime": n, "system.cpu": n}) for n in range(30)]
    client.stream("r1", files={"wandb-events.jsonl": {"offset": 0, "content": rows}})
    client.log("r1", 0, [{"_step": 9}, {"_step": 3}])
    run = client.run("r1", "historyTail eventsTail eventsLineCount")
    assert json.loads(run["eventsTail"]) == rows[-1:] and run["eventsLineCount"] == 30
    assert json.loads(json.loads(run["historyTail"])[0]) == {
        "_step": 3
    }  # the last line, not the highest step
    assert [row["system.cpu"] for row in texts(client, "r1", stream="events")] == list(range(30))
    few = [row["system.cpu"] for row in texts(client, "r1", "(samples: 4)", "events")]
    assert len(few) == 4 and few[0] == 0 and few[-1] == 29


def test_console_lines_come_in_pages(client: Client) -> None:
    client.upsert("r1")
    empty = {"startCursor": None, "hasNextPage": False, "hasPreviousPage": False}
    numbers, page = lines(client, "r1", "first: 5")
    assert numbers == [] and {key: page[key] for key in empty} == empty
    content = [f"2026-01-01T00:00:00.000000 {number}" for number in range(2345)]
    client.stream("r1", files={"output.log": {"offset": 0, "content": content}})
    found: list[int] = []
    after, more = "", True
    while more:
        numbers, page = lines(client, "r1", "first: 1000, useImprovedPagination: true" + after)
        found += numbers
        after, more = f', after: "{page["endCursor"]}"', page["hasNextPage"]
    assert found == list(range(2345))
    numbers, page = lines(client, "r1", "first: 7" + after)
    assert numbers == [] and page["hasNextPage"] is False and page["hasPreviousPage"] is True
    assert lines(client, "r1", "last: 3")[0] == [2342, 2343, 2344]
    assert lines(client, "r1", "last: 100000")[0] == list(range(2345))
    assert lines(client, "r1", "last: 0")[0] == [] and lines(client, "r1", "first: 0")[0] == []
    client.stream("r1", files={"output.log": {"offset": 2344, "content": ["new end", "and more"]}})
    assert lines(client, "r1", "last: 2")[0] == [2344, 2345]


READER = """
import json, sys, wandb
run = wandb.Api().run(sys.argv[1])
logs = run.console_logs()
scan = lambda **options: [dict(row) for row in run.scan_history(**options)]
print(json.dumps({
    "last step": run.lastHistoryStep,
    "logs": [[line.number, line.level, line.content, str(line.timestamp)] for line in run.console_logs(per_page=30)],
    "tail": [line.content for line in run.console_logs(last=2)],
    "scan": scan(),
    "pages": scan(page_size=13),
    "keys": scan(keys=["loss", "val"]),
    "range": scan(min_step=10, max_step=21),
    "nested": scan(keys=["d.x"]),
    "history": run.history(pandas=False),
    "few": run.history(samples=10, pandas=False),
    "few of a key": run.history(samples=5, keys=["val"], pandas=False),
    "axis": run.history(samples=3, keys=["val"], x_axis="loss", pandas=False),
    "system": run.history(stream="system", pandas=False),
    "not finite": run.history(keys=["odd"], pandas=False),
    "frame": list(run.history(samples=7).columns),
}))
"""


def test_the_real_client_reads_it_all(client: Client, server: LocalServer, tmp_path: Path) -> None:
    client.upsert("r1")
    rows: list[Any] = [
        {"_step": step, "loss": step / 2, **({"val": step, "d": {"x": step}} if step % 4 == 0 else {})}
        for step in range(100)
    ]
    client.log("r1", 0, [*rows, '{"_step": 100, "odd": NaN}', '{"_step": 101, "odd": -Infinity}'])
    console = [f"2026-01-01T00:00:{n:02}.500000 line {n}" for n in range(60)]
    console[7] = "ERROR " + console[7]
    events = ['{"_wandb": true, "_runtime": 1, "system.cpu": 5}']
    files = {
        "output.log": {"offset": 0, "content": [*console, "2026-01-01T00:01:00.000000 "]},
        "wandb-events.jsonl": {"offset": 0, "content": events},
    }
    client.stream("r1", files=files)
    reader = LocalServer(server.url, client.api_key, client.entity, server.pid, server.home)
    script = f"import sys; sys.argv = ['', '{client.entity}/p/r1']" + READER
    done = log_run(reader, tmp_path, script)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["last step"] == 101
    assert [line[0] for line in found["logs"]] == list(range(61))
    assert found["logs"][7] == [7, "error", "line 7", "2026-01-01 00:00:07.500000+00:00"]
    assert found["logs"][60][2] == "" and found["tail"] == ["line 59", ""]
    assert found["scan"][:100] == found["pages"][:100] == found["history"][:100] == rows
    ends = [(row["_step"], str(row["odd"]), len(row)) for row in found["scan"][100:]]
    assert ends == [(100, "nan", 2), (101, "-inf", 2)]
    assert found["keys"] == [{"_step": step, "loss": step / 2, "val": step} for step in range(0, 100, 4)]
    assert found["range"] == rows[10:21]
    assert found["nested"] == [{"_step": step, "d.x": step} for step in range(0, 100, 4)]
    assert len(found["few"]) == 10 and found["few"][0]["_step"] == 0 and found["few"][-1]["_step"] == 101
    assert [row["val"] for row in found["few of a key"]] == [0, 24, 48, 72, 96]
    assert found["axis"] == [{"loss": step / 2, "val": step} for step in (0, 48, 96)]
    assert found["system"] == [json.loads(events[0])]
    assert found["not finite"] == [{"_step": 100, "odd": "NaN"}, {"_step": 101, "odd": "-Infinity"}]
    assert {"_step", "loss"} <= set(found["frame"])
