"""The stubs run on the lowest and the newest grpcio and protobuf we allow, each in an environment of its own."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUBS = ROOT / "clients/python"
VERSIONS = {
    # As pyproject.toml says: the lowest there, and whatever the index has below the upper bound.
    "lowest": ["grpcio==1.76.0", "protobuf==6.31.1"],
    "lowest grpcio, newest protobuf": ["grpcio==1.76.0", "protobuf<8"],
    "newest": ["grpcio", "protobuf<8"],
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("versions", VERSIONS.values(), ids=VERSIONS)
def test_stubs_import_without_a_warning(versions: list[str], tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *versions], check=True, timeout=240)
    modules = sorted(f"runtap.v1.{path.stem}" for path in (STUBS / "runtap/v1").glob("*_pb2*.py"))
    assert len(modules) >= 20
    code = (
        f"import sys; sys.path.insert(0, {str(STUBS)!r}); import {', '.join(modules)};"
        " from runtap.v1 import runs_pb2 as pb; run = pb.Run(run_id='x', config_json='{}');"
        " assert pb.Run.FromString(run.SerializeToString()) == run"
    )
    done = subprocess.run([python, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_bounds_tested_are_the_bounds_declared() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert '"grpcio>=1.76"' in text
    assert '"protobuf>=6.31.1,<8"' in text
    assert f'"grpcio-tools=={VERSIONS["lowest"][0].split("==")[1]}"' in text
