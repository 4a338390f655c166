"""Generates the stubs from the contract, checks them for drift, and moves the baseline.

    python proto/generate.py            write clients/python/runtap/v1 (`make proto`)
    python proto/generate.py --check    fail if what is committed differs, or if buf complains (`make check`)
    python proto/generate.py --accept   make today's contract the one that `buf breaking` compares with

The tools are pinned in pyproject.toml: stubs must be made by the lowest grpcio-tools we support, because
generated code refuses to run on anything older than what made it.
"""

from __future__ import annotations

import filecmp
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent
ROOT = PROTO.parent
STUBS = ROOT / "clients" / "python"
BASELINE = PROTO / "baseline.binpb"
BUF = Path(sys.executable).with_name("buf")


def sources() -> list[str]:
    """Returns the contract's files as protoc names them."""
    return sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("runtap/v1/*.proto"))


def run_protoc(*options: str) -> None:
    """Runs protoc over the contract; ends the program with its message when it fails."""
    include = str(resources.files("grpc_tools") / "_proto")
    if protoc.main(["protoc", f"-I{PROTO}", f"-I{include}", *options, *sources()]) != 0:
        sys.exit("protoc failed")


def generate(target: Path) -> None:
    """Writes all stubs below `target`."""
    out = str(target)
    # The mypy plugins are scripts of this very environment.
    plugins = [
        f"--plugin={name}={Path(sys.executable).with_name(name)}"
        for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    run_protoc(
        *plugins,
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}",
        f"--mypy_grpc_out=quiet:{out}",
    )


def drift() -> list[str]:
    """Returns the stubs that differ from what the contract gives today."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        made = {path.relative_to(fresh) for path in fresh.rglob("*_pb2*")}
        kept = {path.relative_to(STUBS) for path in STUBS.rglob("*_pb2*") if path.suffix in {".py", ".pyi"}}
        same = {p for p in made & kept if filecmp.cmp(fresh / p, STUBS / p, shallow=False)}
        return sorted(str(path) for path in (made | kept) - same)


def buf(*arguments: str) -> None:
    """Runs buf in the contract's folder; ends the program when it complains."""
    if subprocess.run([BUF, *arguments], cwd=PROTO, check=False).returncode != 0:
        sys.exit(f"buf {arguments[0]} found the above")


def stable_descriptors() -> descriptor_pb2.FileDescriptorSet:
    """Returns the contract without RPCs marked unstable and without the messages only they use.

    What is not in the baseline may still change freely; this is how unstable parts are exempt.
    """
    with tempfile.NamedTemporaryFile() as out:
        run_protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={out.name}")
        everything = descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes())
    ours = [file for file in everything.file if file.package == "runtap.v1"]
    messages = {f".runtap.v1.{m.name}": m for file in ours for m in file.message_type}
    roots: set[str] = set()
    unstable: set[str] = set()
    for file in ours:
        comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
        for s, service in enumerate(file.service):
            stable = []
            for m, method in enumerate(service.method):
                is_unstable = "Unstable:" in comments.get((6, s, 2, m), "")
                (unstable if is_unstable else roots).update((method.input_type, method.output_type))
                if not is_unstable:
                    stable.append(method)
            del service.method[:]
            service.method.extend(stable)

    def reach(names: set[str]) -> set[str]:
        seen: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in messages and name not in seen:
                seen.add(name)
                todo.extend(field.type_name for field in messages[name].field)
                todo.extend(f.type_name for nested in messages[name].nested_type for f in nested.field)
        return seen

    dropped = reach(unstable) - reach(roots)
    for file in ours:
        kept = [m for m in file.message_type if f".runtap.v1.{m.name}" not in dropped]
        del file.message_type[:]
        file.message_type.extend(kept)
        file.ClearField("source_code_info")
    return everything


def main(arguments: list[str]) -> None:
    """Does what the module's docstring says."""
    if arguments == ["--check"]:
        if changed := drift():
            sys.exit(f"stubs differ from the contract: {', '.join(changed)}. Run `make proto` and commit.")
        buf("lint")
        buf("breaking", "--against", str(BASELINE))
        print("contract: stubs match, buf is content")
    elif arguments == ["--accept"]:
        BASELINE.write_bytes(stable_descriptors().SerializeToString(deterministic=True))
        print(f"{BASELINE.name} moved; say in CHANGELOG.md what changed")
    elif not arguments:
        for stale in STUBS.rglob("*_pb2*.py*"):
            stale.unlink()
        generate(STUBS)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
