"""The command line: ``python -m runtap_local``, to which ``runtap local`` passes on. Errors are one line.

Exit codes: 0 done, 1 could not be done, 2 wrong usage, 3 (``status``) not running.
"""

import sys
from pathlib import Path
from typing import Any, Final

import click

from .. import __version__
from . import people_cli, process
from .home import Info
from .options import Setup, home_option, json_option, one_line_errors, print_json, set_up

_NOT_RUNNING: Final = 3

port_option = click.option("--port", type=click.IntRange(1, 65535), help="Listen here from now on.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="The data folder [default: $RUNTAP_HOME/local, or ~/.local/state/runtap/local].",
)
@click.version_option(__version__, prog_name="runtap_local")
@click.pass_context
def cli(context: click.Context, home: Path | None) -> None:
    """A local server for runs that speaks the Weights & Biases protocol."""
    context.obj = set_up(home)


@cli.command()
@port_option
@click.option("--ready-fd", type=int, help="Write one JSON line to this descriptor once ready.")
@home_option
@click.pass_obj
def serve(setup: Setup, port: int | None, ready_fd: int | None) -> None:
    """Serve in the foreground until told to stop."""
    from .serve import CannotServe, Readiness, set_up_logging
    from .serve import serve as run

    set_up_logging()
    try:
        run(setup.settings, port, Readiness(ready_fd))
    except CannotServe as error:
        raise click.ClickException(str(error)) from None


@cli.command()
@port_option
@json_option
@home_option
@click.pass_obj
def start(setup: Setup, port: int | None, as_json: bool) -> None:
    """Start the server in the background, unless it runs.

    Says how to reach it. The port and the first user's key stay the same from start to start.
    """
    info = _managed(lambda: process.start(setup.home(), setup.settings, port, _say))
    if as_json:
        print_json(_reach(info))
        return
    click.echo(f"The local server runs at {info.url} (pid {info.pid}).")
    click.echo(f"Log to it with:  export WANDB_BASE_URL={info.url} WANDB_API_KEY={info.api_key}")


@cli.command()
@json_option
@home_option
@click.pass_obj
def stop(setup: Setup, as_json: bool) -> None:
    """Stop the server; one that does not run is fine."""
    stopped = _managed(lambda: process.stop(setup.home(), setup.settings))
    if as_json:
        print_json({"stopped": stopped})
    else:
        click.echo("The local server has stopped." if stopped else "The local server was not running.")


@cli.command()
@json_option
@home_option
@click.pass_obj
def status(setup: Setup, as_json: bool) -> None:
    """Say whether the server runs, and where. Exits with 3 where it does not."""
    shown = _status(setup)
    if as_json:
        print_json(shown)
    elif shown["running"]:
        click.echo(f"The local server runs at {shown['url']} (pid {shown['pid']}) with {shown['runs']} runs.")
    else:
        click.echo(f"The local server is not running; it has {shown['runs']} runs in {shown['home']}.")
    if not shown["running"]:
        sys.exit(_NOT_RUNNING)


def _status(setup: Setup) -> dict[str, Any]:
    if not setup.settings.home.exists():
        shown: dict[str, Any] = {
            "running": False,
            "url": None,
            "entity": None,
            "pid": None,
            "port": None,
            "runs": 0,
        }
        return {**shown, "home": str(setup.settings.home)}
    home = setup.home()
    info, running = home.info(), home.is_served()
    runs = 0
    if home.database.exists():
        from .manage import count_runs

        with one_line_errors():
            runs = count_runs(home)
    return {
        "running": running,
        "url": info.url if info else None,
        "entity": info.entity if info else None,
        "pid": info.pid if info and running else None,
        "port": info.port if info else None,
        "runs": runs,
        "home": str(home.path),
        "version": info.version if info else None,
    }


for people in (people_cli.user, people_cli.team, people_cli.member):
    cli.add_command(people)


def _reach(info: Info) -> dict[str, Any]:
    return {"url": info.url, "api_key": info.api_key, "entity": info.entity, "pid": info.pid}


def _say(text: str) -> None:
    click.echo(f"{text} ...", err=True)  # what is printed otherwise may be for programs


def _managed(action: Any) -> Any:
    try:
        return action()
    except process.ProcessError as error:
        raise click.ClickException(str(error)) from None


def main() -> None:
    """Run the command line; the system's own errors become one line as well."""
    try:
        cli(prog_name="python -m runtap_local")
    except OSError as error:
        click.echo(f"Error: {error.strerror or error}: {error.filename or 'the data folder'}", err=True)
        sys.exit(1)
