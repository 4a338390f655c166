"""Runs logged without the server: synced afterwards, once or twice, they are as if logged online."""

import subprocess
import sys
from typing import Any

from tests.local.sdk import Program, check_run


def sync(program: Program, *arguments: str) -> str:
    """Run the SDK's own command."""
    folder = next((program.folder / "sdk" / "dir" / "wandb").glob("offline-run-*"))
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *arguments, str(folder)],
        env=program.environment(WANDB_SILENT="false"),
        cwd=program.folder,
        capture_output=True,
        text=True,
        timeout=50,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def requests(program: Program) -> Any:
    """How many requests the server had so far."""
    return program.client.request("GET", "/runtap/stats").json()["requests"]


def logged(rows: int, word: str) -> dict[str, Any]:
    """What ``offline.py`` logs, but for the table."""
    values = [{word: n, "even": n % 2 == 0} if n % 3 else {word: n} for n in range(rows)]
    return {
        "rows": [{"_step": step, **row} for step, row in enumerate(values)],
        "console": [["", f"{word} {n}"] for n in range(rows)],
        "config": {"lr": 0.5, "word": word},
        "tags": ["t"],
        "name": "ein Name",
        "state": "finished",
        "files": {"saved.txt": "c2F2ZWQgY29udGVudA=="},
    }


def check(program: Program, word: str, rows: int) -> None:
    program.run("reader.py", "offline/off")
    read = program.record("read.json")["offline/off"]
    for found in (read["rows"], read["sampled"]):
        assert found.pop()["table"]["_type"] == "table-file"
    read["last_step"] -= 1
    check_run(logged(rows, word), read)
    assert read["summary"]["best"] == 0.5 and read["summary"][word] == rows - 1
    assert any(name.startswith("media/table/") for name in read["files"])


def test_an_offline_run_is_synced(program: Program) -> None:
    before = requests(program)
    program.run("offline.py", "disabled")
    program.run("offline.py", "word", "20")
    assert requests(program) == before, "neither kind of run asks the server for anything"
    assert "Finished syncing" in sync(program)
    check(program, "word", 20)
    sync(program, "--include-synced")
    check(program, "word", 20)
    program.check_logs(allowed=["artifact", '"status":400'])
