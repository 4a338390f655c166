"""The contract is what it says: stubs match, buf is content, everything is commented, unstable means not built."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf import descriptor_pb2

from runtapd.server import SERVICES
from runtapd.services import unbuilt
from runtapd.services.accounts import AccountService
from runtapd.services.daemon import DaemonService
from runtapd.services.history import HistoryService
from runtapd.services.projects import ProjectService
from runtapd.services.runs import RunService
from runtapd.services.sweeps import SweepService
from runtapd.services.writes import WriteService

ROOT = Path(__file__).parents[2]
BUILT = {
    "runtap.v1.AccountService": AccountService,
    "runtap.v1.DaemonService": DaemonService,
    "runtap.v1.HistoryService": HistoryService,
    "runtap.v1.ProjectService": ProjectService,
    "runtap.v1.RunService": RunService,
    "runtap.v1.SweepService": SweepService,
    "runtap.v1.WriteService": WriteService,
}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(
    generate: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> list[descriptor_pb2.FileDescriptorProto]:
    out = tmp_path_factory.mktemp("descriptors") / "all.binpb"
    generate.run_protoc("--include_source_info", f"--descriptor_set_out={out}")
    return list(descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file)


def test_stubs_are_what_the_contract_gives(generate: ModuleType) -> None:
    assert generate.drift() == []


def test_drift_is_noticed(generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate.generate(tmp_path)
    edited = tmp_path / "runtap" / "v1" / "runs_pb2.py"
    edited.write_text(edited.read_text() + "# edited\n")
    monkeypatch.setattr(generate, "STUBS", tmp_path)
    assert generate.drift() == ["runtap/v1/runs_pb2.py"]


@pytest.mark.parametrize("arguments", [["lint"], ["breaking", "--against", "baseline.binpb"]])
def test_buf_is_content(generate: ModuleType, arguments: list[str]) -> None:
    done = subprocess.run([generate.BUF, *arguments], cwd=ROOT / "proto", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_buf_notices_a_break(generate: ModuleType, tmp_path: Path) -> None:
    copy = tmp_path / "proto"
    (copy / "runtap" / "v1").mkdir(parents=True)
    for path in (ROOT / "proto").glob("runtap/v1/*.proto"):
        text = path.read_text().replace("string display_name = 7;", "int64 display_name = 7;")
        (copy / "runtap" / "v1" / path.name).write_text(text)
    (copy / "buf.yaml").write_text((ROOT / "proto" / "buf.yaml").read_text())
    done = subprocess.run(
        [generate.BUF, "breaking", "--against", ROOT / "proto" / "baseline.binpb"],
        cwd=copy,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "display_name" in done.stdout


def test_every_element_is_commented(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    bare = [f"{file.name}: {name}" for file in files for name, comment in _elements(file) if len(comment) < 6]
    assert bare == []


def test_unstable_means_not_built(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    for file in files:
        comments = dict(_elements(file))
        for service in file.service:
            built = BUILT.get(f"runtap.v1.{service.name}")
            for method in service.method:
                name = f"{service.name}.{method.name}"
                is_built = unbuilt.built_method(built, method.name) is not None
                assert is_built != ("Unstable:" in comments[name]), name


def test_every_service_of_the_contract_is_served(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    assert {f"runtap.v1.{s.name}" for file in files for s in file.service} == set(SERVICES)


def test_no_struct_in_the_contract() -> None:
    texts = [path.read_text() for path in (ROOT / "proto").glob("runtap/v1/*.proto")]
    assert not any("struct.proto" in text for text in texts)


@pytest.mark.parametrize(
    "name", sorted(p.stem for p in (ROOT / "clients/python/runtap/v1").glob("*_pb2*.py"))
)
def test_stubs_import_without_a_warning(name: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", f"import runtap.v1.{name}"], check=True)


def _elements(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """Yields every element of a file with its comment."""
    comments = {tuple(at.path): at.leading_comments.strip() for at in file.source_code_info.location}

    def of(*path: int) -> str:
        return comments.get(path, "")

    for m, message in enumerate(file.message_type):
        yield message.name, of(4, m)
        for f, field in enumerate(message.field):
            yield f"{message.name}.{field.name}", of(4, m, 2, f)
    for e, enum in enumerate(file.enum_type):
        yield enum.name, of(5, e)
        for v, value in enumerate(enum.value):
            yield f"{enum.name}.{value.name}", of(5, e, 2, v)
    for s, service in enumerate(file.service):
        yield service.name, of(6, s)
        for i, method in enumerate(service.method):
            yield f"{service.name}.{method.name}", of(6, s, 2, i)
