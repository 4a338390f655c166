"""The local server of this machine is known, and given whole queries; what it gives is what we would judge."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_server import LocalServer, local_server, log_run, sdk_env

LOG = """
import wandb
for i in range(4):
    with wandb.init(project="digits", id=f"r{i}", config={"a.b": i, "opt": {"name": "adam"}}) as run:
        run.log({"val/loss": (i * 3) % 4})
"""
READ = """
import runtap
runs = runtap.Api().runs("digits", {"config.a.b": {"$ne": 1}, "config.opt.name": "adam"}, "+summary.val/loss")
print([run.id for run in runs])
print(runs.explain())
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    with local_server(tmp_path / "home" / "local") as server:
        yield server


def test_the_local_server_is_given_everything(server: LocalServer, tmp_path: Path) -> None:
    logged = log_run(server, tmp_path, LOG)
    assert logged.returncode == 0, logged.stderr
    env = sdk_env(server, tmp_path) | {"RUNTAP_HOME": str(tmp_path / "home")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=50
        )
    finally:
        subprocess.run([sys.executable, "-m", "runtap", "stop"], env=env, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    ids, *explained = done.stdout.splitlines()
    assert ids == "['r0', 'r3', 'r2']"
    assert explained[1].endswith(
        '{"config.a.b":{"$ne":1},"config.opt.name":"adam"} +summary_metrics.val/loss'
    )
    assert explained[2] == "in the daemon  nothing"
