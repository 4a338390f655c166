"""Programs that log at once: two to their end, one killed and continued, one stopped from the server."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.client import Client
from tests.local.sdk import Program, check_run, finish, kill, wait_until
from tests.support.local_server import local_server

STOP = "mutation S($id: ID!) { stopRun(input: {id: $id}) { success } }"


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Program]:
    """Programs on a server that calls a run crashed after three silent seconds."""
    with local_server(tmp_path / "home", crash_after_s=3) as server:
        made = Program(server, Client(server.url, server.entity, server.api_key, "side"), tmp_path)
        yield made
        made.close()


def test_programs_side_by_side(impatient: Program) -> None:
    client = impatient.client
    programs = {which: impatient.start("side_by_side.py", which) for which in ("stopped", "one", "two")}
    apart = impatient.beside("apart")
    victim = apart.start("side_by_side.py", "doomed")
    wait_until(lambda: (apart.folder / "doomed.json").exists())
    doomed = apart.record("doomed.json")
    counts = {"historyLineCount": 5, "logLineCount": 5}
    wait_until(lambda: bool(client.run(doomed["id"], " ".join(counts)) == counts))
    kill(victim)
    stopped = client.run("stopped", "id state")
    assert stopped["state"] == "running"
    assert client.query(STOP, id=stopped["id"]) == {"stopRun": {"success": True}}
    for which in ("one", "two"):
        finish(programs[which])
    wait_until(lambda: bool(client.run(doomed["id"], "state")["state"] == "crashed"))
    apart.run("side_by_side.py", "heir")
    heir = apart.record("heir.json")
    assert heir == {"id": doomed["id"], "resumed": True, "starting_step": 5}
    assert "KeyboardInterrupt" in finish(programs["stopped"], code=-signal.SIGINT)
    assert client.run("stopped", "state exitcode") == {"state": "failed", "exitcode": 255}

    impatient.run("reader.py", "side/one", "side/two", f"side/{heir['id']}")
    read = impatient.record("read.json")
    for which in ("one", "two"):
        rows = [{"_step": step, which: step, "both": step} for step in range(60)]
        console = [["", f"{which} {number}"] for number in range(60)]
        logged = {"rows": rows, "console": console, "config": {"name": which}, "state": "finished"}
        check_run({**logged, "monitored": True, "summary": {which: 59, "both": 59}}, read[f"side/{which}"])
    before = [{"_step": step, "before": step} for step in range(5)]
    after = [{"_step": step + 5, "after": step} for step in range(3)]
    console = [["", f"before {n}"] for n in range(5)] + [["", f"after {n}"] for n in range(3)]
    logged = {"rows": before + after, "console": console, "summary": {"before": 4, "after": 2}}
    check_run({**logged, "state": "finished"}, read[f"side/{heir['id']}"])
    impatient.check_logs()
    apart.check_logs()
