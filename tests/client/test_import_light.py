"""`import runtap` is cheap, shows its names, and passes on those of the wandb SDK."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import runtap

HEAVY = (
    "grpc",
    "google",
    "pandas",
    "numpy",
    "pyarrow",
    "requests",
    "orjson",
    "wandb",
    "runtapd",
    "runtap_local",
)


def python(script: str, *folders: Path) -> str:
    """What a script prints in a process of its own, in which those folders hide installed packages."""
    lines = [f"import sys; sys.path[:0] = {[str(folder) for folder in folders]}", script]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fake_sdk(folder: Path, text: str) -> Path:
    """A folder in which `wandb` is this text."""
    (folder / "wandb.py").write_text(text)
    return folder


def test_import_runtap_imports_next_to_nothing() -> None:
    script = f"import runtap; print([name for name in {HEAVY} if name in sys.modules])"
    assert python(script) == "[]"


def test_the_classes_import_grpc_and_stubs_but_nothing_heavier() -> None:
    script = f"""
import runtap
for name in runtap.__all__: getattr(runtap, name)
import runtap.apis.public
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert python(script) == "['grpc', 'google', 'orjson']"


def test_the_first_call_of_a_script_imports_no_stub() -> None:
    script = """
import runtap
runtap.Api
print(all(f"runtap.v1.{name}_pb2_grpc" in sys.modules for name in ("accounts", "daemon", "runs")))
"""
    assert python(script) == "True"


def test_the_version_is_that_of_the_package() -> None:
    script = (
        "import importlib.metadata, runtap; print(runtap.__version__ == importlib.metadata.version('runtap'))"
    )
    assert python(script) == "True"


def test_every_name_of_all_resolves_and_is_shown() -> None:
    for name in runtap.__all__:
        assert getattr(runtap, name) is not None
        assert name in dir(runtap)
    assert runtap.__all__ == sorted(runtap.__all__)


def test_star_and_the_paths_scripts_use() -> None:
    public = importlib.import_module("runtap.apis.public")
    for name in public.__all__:
        assert getattr(public, name) is not None
    assert public.Api is runtap.Api
    assert public.Run is runtap.Run
    assert python("import runtap as wandb; print(wandb.errors.CommError is wandb.CommError)") == "True"
    assert python("import runtap as wandb; print(wandb.apis.public.Runs is wandb.Runs)") == "True"
    assert python("from runtap import *; print(Api.__name__, connect.__name__)") == "Api connect"


def test_connect_stays_a_function_however_its_module_was_imported() -> None:
    assert python("import runtap.connected, runtap; print(callable(runtap.connect))") == "True"


def test_other_names_are_the_sdks(tmp_path: Path) -> None:
    sdk = fake_sdk(tmp_path, "run = None\ndef init(): global run; run = 'a run'\n")
    script = (
        "import runtap as wandb; print(wandb.run); wandb.init(); print(wandb.run, wandb.config_ if 0 else '')"
    )
    assert python(script, sdk).split() == ["None", "a", "run"]


def test_own_modules_never_hide_names_of_the_sdk() -> None:
    script = """
import runtap
for name in runtap.__all__: getattr(runtap, name)
import runtap.apis.public, runtap.frames, runtap.channel
print([name for name in ("run", "config", "summary", "init", "log", "finish", "login") if name in vars(runtap)])
"""
    assert python(script) == "[]"


def test_without_the_sdk_the_error_says_so(tmp_path: Path) -> None:
    sdk = fake_sdk(tmp_path, "raise ImportError('No module named wandb')")
    script = """
import runtap
try:
    runtap.init
except AttributeError as error:
    print(error)
"""
    said = python(script, sdk)
    assert "runtap has no 'init'" in said
    assert "pip install wandb" in said


def test_a_name_nobody_has_says_where_was_looked(tmp_path: Path) -> None:
    sdk = fake_sdk(tmp_path, "")
    script = "import runtap\ntry: runtap.nonsense\nexcept AttributeError as error: print(error)"
    assert python(script, sdk) == "neither runtap nor the installed wandb SDK has a name 'nonsense'"


def test_standing_in_for_wandb_does_not_go_round_in_circles() -> None:
    script = """
import runtap
sys.modules["wandb"] = runtap
print(hasattr(runtap, "nonsense"))
"""
    assert python(script) == "False"


def test_private_names_and_own_modules_do_not_import_the_sdk(tmp_path: Path) -> None:
    sdk = fake_sdk(tmp_path, "raise SystemExit('imported')")
    script = "import runtap; print(hasattr(runtap, '_private'), hasattr(runtap, '__path__')); from runtap import v1"
    assert python(script, sdk) == "False True"
    with pytest.raises(AttributeError):
        runtap._private  # noqa: B018
