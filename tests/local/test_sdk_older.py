"""Older SDKs log to this server; what they logged is read by the newest."""

import subprocess

import pytest

from tests.local.older import older_sdk
from tests.local.sdk import Program, check_run, finish

# One that logs from Python, and one whose logging half is a Go program, as that of the newer ones is.
VERSIONS = ("0.17.0", "0.19.11")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# What 0.19 says of itself, whatever the server.
HARMLESS = (
    "GraphQL client is nil, skipping feature loading",
    "error creating symlink",
)
MEDIA = ("html", "hist", "image", "table")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_sdk_logs(program: Program, version: str) -> None:
    python = older_sdk(version)
    for way in ("log", "offline"):
        program.run("older.py", way, python=str(python))
    finish(program.start("older.py", "fail", python=str(python)), code=3)
    sync(program, str(python))
    program.run("reader.py", "older/first", "older/bad", "older/off")
    logged, read = program.record("logged.json"), program.record("read.json")
    first = read["older/first"]
    assert first["config"] == logged["config"]
    media = [row for row in first["rows"] if row.keys() & set(MEDIA)]
    later = first["rows"][-1]
    assert logged.pop("told") == {"resumed": True, "step": 74} and later == {"_step": 74, "later": 1}
    assert {key: row[key]["_type"] for row in media for key in row if key in MEDIA} == {
        "html": "html-file",
        "hist": "histogram",
        "image": "image-file",
        "table": "table-file",
    }
    for rows in (first["rows"], first["sampled"]):
        rows[:] = [row for row in rows if row["_step"] < 71]
    first["last_step"] = 70
    check_run(logged, first)
    summary = first["summary"]
    assert summary["n"] in ({"best": 49}, 49)  # the Go half of 0.19 knows no "best"
    assert (summary["best"], summary["acc"], summary["later"]) == (0.5, {"max": 6}, 1)
    assert (read["older/bad"]["state"], read["older/bad"]["rows"]) == ("failed", [{"_step": 0, "a": 1}])
    off = {"rows": [{"_step": n, "n": n} for n in range(5)], "config": {"a": 1}, "state": "finished"}
    check_run({**off, "console": [["", f"line {n}"] for n in range(5)]}, read["older/off"])
    program.check_logs(allowed=["rtifact", '"status":400', *HARMLESS])


def sync(program: Program, python: str) -> None:
    """The older SDK's own ``wandb sync``."""
    folder = next((program.folder / "sdk" / "dir" / "wandb").glob("offline-run-*"))
    done = subprocess.run(
        [python, "-m", "wandb", "sync", str(folder)],
        env=program.environment(),
        cwd=program.folder,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
