"""The command `runtap`: which commands there are, and how whatever goes wrong is told.

A command's module is imported when that command runs, so that `runtap --help` stays quick. Nobody sees a traceback:
what we understand is one line that says what to do; of what we do not, the traceback goes to a file that is named.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import click

from runtap.errors import AuthenticationError, CommError, NotRunningError, UsageError

FAILED, USAGE, NOT_RUNNING, NEEDS_LOGIN, INTERRUPTED = 1, 2, 3, 4, 130

COMMANDS = {
    "start": ("life", "Start the daemon, unless it runs."),
    "stop": ("life", "Stop the daemon; unsent writes are kept."),
    "restart": ("life", "Stop the daemon and start it again."),
    "status": ("status", "Show how the daemon is doing."),
    "logs": ("logs", "Show the daemon's log, also of one that has ended."),
    "flush": ("life", "Make every program read anew what it reads next."),
    "cache": ("cache", "Show how much of what was read is kept, and drop it."),
    "login": ("accounts", "Check an API key and keep it."),
    "logout": ("accounts", "Forget a stored key and the data cached with it."),
    "whoami": ("accounts", "Show the account that programs started here use."),
    "projects": ("projects", "List the projects of an entity."),
    "runs": ("runs", "List the runs of a project."),
    "run": ("run", "Show one run: what it is, its config, its summary."),
    "sweeps": ("sweeps", "List the sweeps of a project."),
    "sweep": ("sweeps", "Show one sweep: how far it is, its configuration, its runs."),
    "best-run": ("sweeps", "Show the best run of a sweep."),
    "local": ("local", "Run the local server: no account, no network."),
}
"""Every command: the module it lives in, under its own name with underscores, and its line in the list of commands."""

EPILOG = """\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the daemon is not running, 4 login needed.
The environment: RUNTAP_HOME moves all files; RUNTAP_AUTOSTART=0 never starts a daemon unasked.
"""


class Commands(click.Group):
    """The group that knows its commands by name and imports them when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"runtap.cli.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "terminal_width": 100},
)
@click.version_option(package_name="runtap", message="runtap %(version)s")
def runtap() -> None:
    """Read and update experiment data through one daemon per user.

    The daemon keeps logins, caches what was read and carries updates to the server. It starts by itself when a
    program needs it, and ends by itself after half an hour without use.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command line and ends the process with its exit code."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        code = runtap.main(arguments, prog_name="runtap", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except click.ClickException as error:
        code = _tell_usage(error)
    except CommError as error:
        code = _tell(error)
    except Exception as error:  # noqa: BLE001  # the last resort: no traceback reaches a user
        code = _tell_unexpected(error)
    sys.exit(code if isinstance(code, int) else 0)


def _tell(error: CommError) -> int:
    click.echo(f"runtap: {error.message}", err=True)
    if isinstance(error, NotRunningError):
        return NOT_RUNNING
    return NEEDS_LOGIN if isinstance(error, UsageError | AuthenticationError) else FAILED


def _tell_usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())
        return USAGE
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
    hint = f" (see `{path} --help`)" if path else ""
    click.echo(f"runtap: {error.format_message().rstrip('.')}{hint}", err=True)
    return error.exit_code


def _tell_unexpected(error: Exception) -> int:
    import traceback

    from runtap import discovery

    path = os.path.join(discovery.folders().state, "cli-error.log")
    place = "run `runtap logs` for the daemon's log"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
        place = f"details are in {path}"
    except OSError:
        pass  # no folder yet, or a full disk: the line must do
    first = (str(error).splitlines() or [""])[0]
    click.echo(f"runtap: unexpected {type(error).__name__}: {first}; {place}", err=True)
    return FAILED


def _show_warning(message: Warning | str, *_: object) -> None:
    click.echo(f"runtap: {message}", err=True)
