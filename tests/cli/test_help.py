"""Help texts: as accepted, complete, and quick to get."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from runtap.cli.main import COMMANDS as TABLE
from runtap.cli.main import runtap
from tests.cli.help_texts import COMMANDS, GOLDEN, golden_path, help_text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_text_is_the_accepted_one(command: str) -> None:
    assert help_text(command) == golden_path(command).read_text(), (
        "accept with: python -m tests.cli.help_texts"
    )


def all_commands(group: click.Group, words: str = "") -> list[str]:
    """Every command and group by its full name."""
    found = [words]
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        full = f"{words} {name}".strip()
        found += all_commands(command, full) if isinstance(command, click.Group) else [full]
    return found


def test_no_command_is_without_a_golden_text_and_no_text_without_a_command() -> None:
    assert set(COMMANDS) == set(all_commands(runtap))
    assert {path.name for path in GOLDEN.iterdir()} == {golden_path(command).name for command in COMMANDS}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_the_list_of_commands_says_what_the_command_says_itself(name: str) -> None:
    command = runtap.get_command(click.Context(runtap), name)
    assert command is not None
    assert command.get_short_help_str(200) == TABLE[name][1]


def test_every_leaf_has_json() -> None:
    for command in COMMANDS:
        if command not in ("", "local", "local user", "local team", "local member"):
            assert "--json" in golden_path(command).read_text(), command


def test_help_imports_no_more_than_click() -> None:
    code = (
        "import sys\n"
        "from runtap.cli.main import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit:\n"
        "    heavy = {'grpc', 'google', 'rich', 'requests', 'subprocess', 'runtapd'} & set(sys.modules)\n"
        "    sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
