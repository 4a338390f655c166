"""`make demo`, as a newcomer runs it: twice, in a home of its own, and nothing stays behind."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.local_server import REPOSITORY, base_env


@pytest.mark.timeout(180)
def test_demo_runs_twice_and_stops_what_it_started(tmp_path: Path) -> None:
    env = base_env(tmp_path) | {"RUNTAP_HOME": str(tmp_path / "rt"), "WANDB_DIR": str(tmp_path)}
    for runs_so_far in (2, 4):
        done = subprocess.run(
            [sys.executable, REPOSITORY / "clients/demo/demo.py", "--runs", "2", "--epochs", "5"],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=80,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{runs_so_far} runs in {tmp_path / 'project.csv'}" in done.stdout
        for promised in (
            "best:",
            "accuracy",
            "a histogram of 64 bins",
            "reads from its cache",
            "local start",
        ):
            assert promised in done.stdout
        with open(tmp_path / "project.csv", newline="") as file:
            assert len(list(csv.DictReader(file))) == runs_so_far
    assert [p for p in psutil.process_iter(["environ"]) if _belongs(p, env["RUNTAP_HOME"])] == []


def _belongs(process: psutil.Process, home: str) -> bool:
    environment = process.info["environ"] or {}
    return environment.get("RUNTAP_HOME") == home and process.status() != psutil.STATUS_ZOMBIE
