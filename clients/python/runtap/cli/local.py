"""`runtap local ...`: passes on to the local server's own program, and ties its account to the daemon."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import click

from runtap.cli.output import json_option, print_json
from runtap.environment import for_local_server
from runtap.errors import CommError

NEEDED = ("graphql", "sqlalchemy", "starlette", "uvicorn")


@click.group()
def local() -> None:
    """Run the local server: no account, no network.

    It speaks the Weights & Biases protocol well enough that the `wandb` SDK logs to it.
    """


@local.command()
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", help="Listen here from now on.")
@json_option
def start(port: int | None, as_json: bool) -> None:
    """Start the local server, unless it runs, and say how to log to it."""
    port_words = ["--port", str(port)] if port else []
    reach = ask("start", *port_words)
    if as_json:
        print_json(reach)
        return
    click.echo(
        f"The local server runs at {reach['url']} (pid {reach['pid']}); its entity is {reach['entity']}."
    )
    _say_how(reach)
    click.echo("To read from it: runtap.Api(base_url='local'), or `runtap local use` to make it the default.")


@local.command()
@json_option
def stop(as_json: bool) -> None:
    """Stop the local server; its data stays."""
    pass_on("stop", as_json=as_json)


@local.command()
@json_option
def status(as_json: bool) -> None:
    """Show whether the local server runs; exit code 3 when not."""
    pass_on("status", as_json=as_json)


@local.command()
@json_option
def use(as_json: bool) -> None:
    """Make the local server what runtap uses by default, starting it when needed.

    It then serves programs that name neither a server nor a key, such as a plain runtap.Api(). The lines it prints are
    for the wandb SDK. `runtap login --default` goes back to another server.
    """
    from runtap import channel
    from runtap.cli.accounts import as_dict
    from runtap.v1 import accounts_pb2

    reach = ask("start")
    request = accounts_pb2.LoginRequest(base_url="local", make_default=True, verify=True)
    account = channel.daemon().call("accounts.Login", request).account
    if as_json:
        print_json({**reach, "account": as_dict(account)})
        return
    click.echo(
        f"Programs that name neither a server nor a key now read {account.base_url} as {account.viewer.username}."
    )
    _say_how(reach)


@local.group()
def user() -> None:
    """Add, remove and list users of the local server."""


@user.command("add")
@click.argument("name")
@click.option("--api-key", metavar="KEY", help="The key to give them [default: a new one].")
@json_option
def add(name: str, api_key: str | None, as_json: bool) -> None:
    """Add a user, or another key to one, and print the key."""
    key_words = [f"--api-key={api_key}"] if api_key else []
    pass_on("user", "add", *key_words, as_json=as_json, last=("--", name))


@user.command("remove")
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Take all keys and memberships from a user; their runs stay.

    It works at once. `runtap local user add` lets them in again.
    """
    pass_on("user", "remove", as_json=as_json, last=("--", name))


@user.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the users."""
    pass_on("user", "list", as_json=as_json)


@local.group()
def team() -> None:
    """Add and list teams: entities that several users share."""


@team.command("add")
@click.argument("name")
@json_option
def add_team(name: str, as_json: bool) -> None:
    """Add a team, whose members log to an entity of its name.

    `runtap local member add` says who they are.
    """
    pass_on("team", "add", as_json=as_json, last=("--", name))


@team.command("list")
@json_option
def list_teams(as_json: bool) -> None:
    """List the teams."""
    pass_on("team", "list", as_json=as_json)


@local.group()
def member() -> None:
    """Say who else may use an entity, a team's or a user's own."""


@member.command("add")
@click.argument("entity")
@click.argument("user")
@json_option
def add_member(entity: str, user: str, as_json: bool) -> None:
    """Let a user read an entity and log to it."""
    pass_on("member", "add", as_json=as_json, last=("--", entity, user))


@member.command("remove")
@click.argument("entity")
@click.argument("user")
@json_option
def remove_member(entity: str, user: str, as_json: bool) -> None:
    """Take an entity away from a user again, at once; what they logged stays."""
    pass_on("member", "remove", as_json=as_json, last=("--", entity, user))


@member.command("list")
@click.argument("entity")
@json_option
def list_members(entity: str, as_json: bool) -> None:
    """List everybody who may use an entity."""
    pass_on("member", "list", as_json=as_json, last=("--", entity))


def ask(*words: str) -> dict[str, Any]:
    """Runs a command of the local server and returns its JSON answer; ends with its exit code when it fails."""
    done = _run([*words, "--json"], stdout=subprocess.PIPE)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CommError(f"the local server's command `{' '.join(words)}` did not answer with JSON")
    return answer


def pass_on(*words: str, as_json: bool, last: tuple[str, ...] = ()) -> None:
    """Runs a command of the local server on our own output."""
    _run([*words, *(["--json"] if as_json else []), *last], stdout=None)


def _run(words: list[str], stdout: int | None) -> subprocess.CompletedProcess[str]:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CommError(f"the local server needs {', '.join(missing)}: pip install 'runtap[local]'")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "runtap_local", *words],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=for_local_server(),
        text=True,
        check=False,
    )
    if done.stderr:
        click.echo(done.stderr.replace("Error: ", "runtap: ", 1).rstrip("\n"), err=True)
    if done.returncode:
        raise click.exceptions.Exit(done.returncode)
    return done


def _say_how(reach: dict[str, Any]) -> None:
    click.echo("To log to it with the wandb SDK:")
    click.echo(f"  export WANDB_BASE_URL={reach['url']}")
    click.echo(f"  export WANDB_API_KEY={reach['api_key']}")
