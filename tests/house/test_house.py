"""The house stands as drawn: import floors, sizes, docstrings, who may use what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from runtap_local.settings import Settings

ROOT = Path(__file__).parents[2]
DAEMON = ROOT / "daemon"
CLIENT = ROOT / "clients/python/runtap"
LARGEST_MODULE = 400
LARGEST_FUNCTION = 60


def hand_written(*folders: Path) -> list[Path]:
    """Returns the modules people wrote."""
    found = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return [path for path in found if CLIENT / "v1" not in path.parents]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


MODULES = hand_written(DAEMON, ROOT / "clients")
EVERYTHING = [*MODULES, *hand_written(ROOT / "tests", ROOT / "proto")]


def imports_of(path: Path) -> Iterator[str]:
    """Yields the full names a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_import_floors_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]])
def test_format_and_lint(arguments: list[str]) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run([ruff, *arguments, "--no-cache", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_small_and_say_what_they_own(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LARGEST_MODULE, "a second room inside?"
    tree = ast.parse(text)
    assert len(ast.get_docstring(tree) or "") > 20, "the docstring says what the module owns"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LARGEST_FUNCTION, node.name


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("grpc", {"server.py", "interceptors", "services"}),
        ("requests", {"upstream/transport.py"}),
        ("sqlite3", {"cache/store.py", "cache/tables.py", "cache/space.py", "history/store.py", "journal"}),
        ("runtap.v1", {"server.py", "interceptors", "services", "model/encode.py"}),
    ],
)
def test_only_these_rooms_of_the_daemon_use(library: str, allowed: set[str]) -> None:
    daemon = DAEMON / "runtapd"
    users = {
        path.relative_to(daemon)
        for path in hand_written(daemon)
        if any(name == library or name.startswith(f"{library}.") for name in imports_of(path))
    }
    assert users, f"nobody uses {library}: the test looks in the wrong place"
    strangers = {u for u in users if str(u) not in allowed and u.parts[0] not in allowed}
    assert not strangers


@pytest.mark.parametrize(
    ("package", "reader"),
    [
        (DAEMON / "runtapd", "settings.py"),
        (DAEMON / "runtap_local", "settings.py"),
        (CLIENT, "environment.py"),
    ],
)
def test_one_module_reads_the_environment(package: Path, reader: str) -> None:
    readers = {
        str(path.relative_to(package))
        for path in hand_written(package)
        if re.search(r"os\.(environ|getenv)|from os import (environ|getenv)", path.read_text())
    }
    assert readers <= {reader}


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_nobody_mocks(path: Path) -> None:
    assert not [name for name in imports_of(path) if name.startswith(("unittest.mock", "mock"))]


@pytest.mark.parametrize("path", hand_written(DAEMON, ROOT / "clients"), ids=name_of)
def test_blind_excepts_are_explained_and_nothing_is_left_to_do(path: Path) -> None:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        assert not re.search(r"\b(TODO|FIXME|XXX)\b|NotImplementedError", line), f"line {number}"
        assert not re.match(r"\s*except:\s*$", line), f"line {number}"


@pytest.mark.parametrize("path", sorted(DAEMON.rglob("__init__.py")), ids=name_of)
def test_packages_hold_names_only(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        allowed = ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.Expr
        assert isinstance(node, allowed), f"line {node.lineno}"


def test_dependencies_have_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for line in re.findall(r'^    "[a-z][\w.\[\],-]*[<>=~].*$', text, re.M):
        assert "  # " in line, line


def test_no_path_of_a_machine_is_tracked() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix != ".binpb":
            found = re.search(r"(^|[^\w.])/(work|farm|root)/", path.read_text("utf-8", "replace"))
            assert not found, name


def test_environment_variables_are_documented() -> None:
    pages = (ROOT / "daemon/README.md").read_text() + (ROOT / "clients/README.md").read_text()
    used = set()
    for path in MODULES:
        used |= set(re.findall(r'"(RUNTAP_[A-Z_]+)"', path.read_text()))
    assert used, "the test looks in the wrong place"
    assert {name for name in used if name not in pages and not name.endswith("_")} == set()


def test_settings_of_the_local_server_are_documented_with_their_defaults() -> None:
    page = (ROOT / "daemon/runtap_local/README.md").read_text()
    shown: dict[str, str | int] = {}
    for names, default in re.findall(r"^\| (`RUNTAP_LOCAL_.*?) \| .* \| (.+?) \|$", page, re.M):
        shown.update(zip(re.findall(r"`(\w+)`", names), map(_read, default.split(", ")), strict=True))
    known = {
        f"RUNTAP_LOCAL_{one.name.upper()}": one.default for one in fields(Settings) if one.name != "home"
    }
    assert shown == known


def _read(shown: str) -> str | int:
    """A default as the page shows it."""
    number, _, unit = shown.strip("`").partition(" ")
    return (
        int(number) * {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit]
        if number.isdecimal()
        else number
    )
