"""`runtap login | logout | whoami`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from runtap import channel
from runtap.cli.output import json_option, print_json, print_pairs
from runtap.environment import caller_environment
from runtap.errors import CommError

if TYPE_CHECKING:
    from runtap.v1 import accounts_pb2

CLOUD = "https://api.wandb.ai"
LOGIN_S = 15.0  # somebody sits and waits
_CLOUD_KEYS_PAGE = "https://wandb.ai/authorize"
_SOURCES = {
    "ARGUMENT": "given in a call; kept in the daemon's memory",
    "ENVIRONMENT": "the environment variable WANDB_API_KEY",
    "NETRC": "a netrc file",
    "SETTINGS": "a wandb settings file",
    "STORE": "runtap login",
    "LOCAL_SERVER": "the local server on this machine",
}

host_option = click.option(
    "--host",
    default="",
    metavar="URL",
    help="The server; `local` for the local one [default: as programs here see it].",
)


@click.command()
@host_option
@click.option("--key-stdin", is_flag=True, help="Read the key from standard input instead of asking.")
@click.option("--default", "make_default", is_flag=True, help="Also use it for calls that name no account.")
@click.option(
    "--netrc", "to_netrc", is_flag=True, help="Keep the key in the netrc file, where `wandb` looks too."
)
@json_option
def login(host: str, key_stdin: bool, make_default: bool, to_netrc: bool, as_json: bool) -> None:
    """Check an API key and keep it.

    Asks for the key without showing it, lets the server confirm it, and keeps it in a private file of the daemon. The
    key is never taken from the command line, where other users could see it.
    """
    from runtap.v1 import accounts_pb2

    surroundings = caller_environment()
    host = _with_scheme(host)
    server = host or surroundings["variables"].get("WANDB_BASE_URL") or CLOUD
    request = accounts_pb2.LoginRequest(
        base_url=host,
        api_key="" if host == "local" else _read_key(server, key_stdin),
        environment=accounts_pb2.CallerEnvironment(**surroundings),
        store=not to_netrc or make_default,
        make_default=make_default,
        verify=True,
    )
    account = channel.daemon().call("accounts.Login", request, timeout=LOGIN_S).account
    place = "a private file of the daemon"
    if to_netrc:
        from runtap.cli import netrc

        place = netrc.store(account.base_url, request.api_key, surroundings["variables"].get("NETRC", ""))
    if as_json:
        print_json(as_dict(account))
    else:
        default = "; it is the default account now" if account.is_default else ""
        click.echo(
            f"Logged in to {account.base_url} as {account.viewer.username}; the key is kept in {place}{default}"
        )
    if surroundings["variables"].get("WANDB_API_KEY", request.api_key) != request.api_key and host != "local":
        click.echo(
            "runtap: WANDB_API_KEY is set here and comes first; unset it to use the key just kept", err=True
        )


@click.command()
@click.option("--host", default="", metavar="URL", help="The server; `local` for the local one.")
@click.option("--user", default="", metavar="NAME", help="The login name.")
@click.option("--keep-cache", is_flag=True, help="Keep what was read with the account.")
@json_option
def logout(host: str, user: str, keep_cache: bool, as_json: bool) -> None:
    """Forget a stored key and the data cached with it.

    Which account, --host and --user say, as far as needed; without them it is the only one, or else the default one.
    Unsent writes are kept. Keys in the environment, netrc and settings files are not touched.
    """
    from runtap.v1 import accounts_pb2

    account = _choose(list_accounts(), _with_scheme(host), user)
    request = accounts_pb2.LogoutRequest(account_id=account.account_id, keep_cache=keep_cache)
    answer = channel.daemon().call("accounts.Logout", request)
    if as_json:
        print_json(
            {
                "account_id": account.account_id,
                "base_url": account.base_url,
                "username": account.viewer.username,
                "key_removed": answer.key_removed,
                "pending_writes": answer.pending_writes,
            }
        )
        return
    removed = "Removed the key" if answer.key_removed else "`runtap login` had stored no key"
    kept = "" if answer.key_removed else "; keys in the environment, netrc and settings files are not touched"
    click.echo(f"{removed} of {account.viewer.username} on {account.base_url}{kept}")
    if answer.pending_writes:
        click.echo(f"{answer.pending_writes} unsent writes wait until this account logs in again")


@click.command()
@host_option
@json_option
def whoami(host: str, as_json: bool) -> None:
    """Show the account that programs started here use.

    The key is looked for as such a program would: environment, netrc, settings files, `runtap login`. Exit code 4 when
    there is none.
    """
    from runtap.v1 import accounts_pb2

    request = accounts_pb2.LoginRequest(
        base_url=_with_scheme(host), environment=accounts_pb2.CallerEnvironment(**caller_environment())
    )
    answer = channel.daemon().call("accounts.Login", request, timeout=LOGIN_S)
    account = answer.account
    if as_json:
        print_json({**as_dict(account), "default_entity": answer.defaults.entity})
        return
    print_pairs(
        {
            "server": account.base_url,
            "user": account.viewer.username,
            "entity": answer.defaults.entity or account.viewer.entity,
            "teams": ", ".join(account.viewer.teams),
            "key from": _SOURCES.get(key_source(account).upper(), "unknown"),
            "default": "yes" if account.is_default else "",
            "trouble": "the server refused the key: `runtap login`" if account.blocked else "",
        }
    )


def as_dict(account: accounts_pb2.Account) -> dict[str, Any]:
    """An account for programs."""
    viewer = account.viewer
    return {
        "account_id": account.account_id,
        "base_url": account.base_url,
        "app_url": account.app_url,
        "username": viewer.username,
        "entity": viewer.entity,
        "email": viewer.email,
        "teams": list(viewer.teams),
        "key_source": key_source(account),
        "stored": account.stored,
        "is_default": account.is_default,
        "blocked": account.blocked,
    }


def key_source(account: accounts_pb2.Account) -> str:
    """Where the key comes from, as one lower-case word; empty when unknown."""
    from runtap.v1 import accounts_pb2

    word = accounts_pb2.KeySource.Name(account.key_source).removeprefix("KEY_SOURCE_")
    return "" if word == "UNSPECIFIED" else word.lower()


def _read_key(server: str, from_stdin: bool) -> str:
    if from_stdin:
        key = sys.stdin.readline().strip()
    elif sys.stdin.isatty():
        page = _CLOUD_KEYS_PAGE if server == CLOUD else f"{server.rstrip('/')}/authorize"
        key = click.prompt(f"API key for {server} (copy it from {page})", hide_input=True, err=True).strip()
    else:
        raise click.UsageError("there is no terminal to ask for the key on; use --key-stdin")
    if not key:
        raise click.UsageError("the key is empty")
    return str(key)


def list_accounts() -> list[accounts_pb2.Account]:
    """Every account the daemon knows."""
    from runtap.v1 import accounts_pb2

    found: list[accounts_pb2.Account] = []
    token = ""
    while True:
        request = accounts_pb2.ListAccountsRequest(page_size=1000, page_token=token)
        answer = channel.daemon().call("accounts.ListAccounts", request)
        found.extend(answer.accounts)
        token = answer.next_page_token
        if not token:
            return found


def _choose(accounts: list[accounts_pb2.Account], host: str, user: str) -> accounts_pb2.Account:
    """The one account that is meant."""
    fitting = [
        account
        for account in accounts
        if _is_host(account, host) and (not user or account.viewer.username == user)
    ]
    if not host and not user and len(fitting) > 1:
        fitting = [account for account in fitting if account.is_default] or fitting
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(f"{account.viewer.username} on {account.base_url}" for account in accounts)
    if not accounts:
        raise CommError("no account is known here, so there is nothing to forget")
    if not fitting:
        raise click.UsageError(f"no such account; known are: {known}")
    raise click.UsageError(f"which account? use --host and --user; known are: {known}")


def _is_host(account: accounts_pb2.Account, host: str) -> bool:
    if host == "local":
        return key_source(account) == "local_server"
    return not host or account.base_url == host.rstrip("/")


def _with_scheme(host: str) -> str:
    """People type `wandb.example.com`; the daemon wants a URL."""
    if not host or host == "local" or "://" in host:
        return host
    return f"https://{host}"
