"""`runtap cache`: what the daemon keeps of what was read, and dropping it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from runtap import channel
from runtap.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from runtap.v1 import accounts_pb2, daemon_pb2

PRUNE_S = 600.0  # many GiB take their time
_SIZES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SPANS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Bytes, from the words of people."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmgt]?)(?:i?b)?", value.strip().lower(), re.ASCII)
    size = int(float(match[1]) * _SIZES[match[2]]) if match else -1
    if not 0 <= size < 2**63:
        raise click.BadParameter(f"{value!r} is not a size, such as 500M or 2G")
    return size


def _span(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Seconds, from the words of people."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+) *([smhdw])", value.strip().lower(), re.ASCII)
    span = int(match[1]) * _SPANS_S[match[2]] if match else -1
    if not 0 <= span < 2**36:
        raise click.BadParameter(f"{value!r} is not a span of time, such as 12h or 30d")
    return span


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def cache(ctx: click.Context, as_json: bool) -> None:
    """Show how much of what was read is kept, and drop it.

    Runs, lists and histories are kept on disk up to a limit over all accounts: 5 GiB or a tenth of the disk, or what
    RUNTAP_CACHE_LIMIT said when the daemon started, such as 500M. Unsent writes lie apart and are never dropped.

    When the disk is too full for the daemon to start, the folder `cache` may be deleted by hand; it lies in the one
    that `runtap status` calls data.
    """
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"--json comes after {ctx.invoked_subcommand}")
        return
    usage, accounts = _usage(), _accounts()
    if as_json:
        print_json(_as_dict(usage, accounts))
        return
    total = sum(account.disk_bytes for account in usage.accounts)
    click.echo(f"{in_words(total)} on disk, of at most {in_words(usage.limit_bytes)}")
    columns = ("account", "server", "user", "runs", "lists", "histories", "on disk", "in memory")
    rows = [_row(account, accounts.get(account.account_id)) for account in usage.accounts]
    print_table("Accounts", columns, rows)


@cache.command()
@click.option(
    "--account", default="", metavar="ACCOUNT", help="Only this one: its id or its user [default: all]."
)
@click.option(
    "--keep", callback=_size, default="0", metavar="SIZE", help="Keep at most so much, such as 500M."
)
@click.option(
    "--unused-for",
    callback=_span,
    metavar="DURATION",
    help="Drop only what was not used for so long, such as 30d.",
)
@json_option
def prune(account: str, keep: int, unused_for: int | None, as_json: bool) -> None:
    """Drop what was not used for the longest time; without options, everything.

    Programs go on: what they need is read again. Runs with unsent writes stay.
    """
    from runtap.v1 import daemon_pb2

    request = daemon_pb2.PruneCacheRequest(keep_bytes=keep)
    if account:
        request.account_id = _chosen(account)
    if unused_for is not None:
        request.unused_for.seconds = unused_for
    freed = channel.daemon().call("daemon.PruneCache", request, timeout=PRUNE_S).freed_bytes
    if as_json:
        print_json({"freed_bytes": freed})
    else:
        click.echo(f"Freed {in_words(freed)}.")


def in_words(size: int) -> str:
    """A number of bytes for people."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def _usage() -> daemon_pb2.GetCacheUsageResponse:
    from runtap.v1 import daemon_pb2

    answer: daemon_pb2.GetCacheUsageResponse = channel.daemon().call(
        "daemon.GetCacheUsage", daemon_pb2.GetCacheUsageRequest()
    )
    return answer


def _accounts() -> dict[str, accounts_pb2.Account]:
    """The accounts that the daemon knows by more than what they have left on disk."""
    from runtap.cli.accounts import list_accounts

    return {account.account_id: account for account in list_accounts()}


def _chosen(word: str) -> str:
    """The id of the account that is meant."""
    kept = {account.account_id for account in _usage().accounts}
    known = _accounts()
    fitting = {word} & kept or {i for i in kept if i in known and known[i].viewer.username == word}
    if len(fitting) == 1:
        return fitting.pop()
    if fitting:
        choice = ", ".join(sorted(fitting))
        raise click.UsageError(f"{word!r} is the user of several accounts; name one by its id: {choice}")
    choice = ", ".join(_with_user(i, known.get(i)) for i in sorted(kept)) or "none"
    raise click.UsageError(f"nothing is cached of {word!r}; accounts are: {choice}")


def _with_user(account_id: str, account: accounts_pb2.Account | None) -> str:
    return f"{account_id} ({account.viewer.username} at {account.base_url})" if account else account_id


def _as_dict(
    usage: daemon_pb2.GetCacheUsageResponse, accounts: dict[str, accounts_pb2.Account]
) -> dict[str, Any]:
    return {
        "limit_bytes": usage.limit_bytes,
        "disk_bytes": sum(account.disk_bytes for account in usage.accounts),
        "accounts": [
            {
                "account_id": one.account_id,
                "base_url": accounts[one.account_id].base_url if one.account_id in accounts else None,
                "username": accounts[one.account_id].viewer.username if one.account_id in accounts else None,
                "records": one.records,
                "answers": one.answers,
                "histories": one.histories,
                "disk_bytes": one.disk_bytes,
                "memory_bytes": one.memory_bytes,
            }
            for one in usage.accounts
        ],
    }


def _row(usage: daemon_pb2.AccountCacheUsage, account: accounts_pb2.Account | None) -> tuple[object, ...]:
    return (
        usage.account_id,
        account.base_url if account else "",
        account.viewer.username if account else "",
        usage.records,
        usage.answers,
        usage.histories,
        in_words(usage.disk_bytes),
        in_words(usage.memory_bytes),
    )
