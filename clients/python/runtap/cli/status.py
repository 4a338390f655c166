"""`runtap status`: one RPC, its answer for programs or for people. Looks only: starts nothing, keeps nothing alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from runtap import discovery, launch
from runtap.cli.output import json_option, print_json, print_pairs, print_table
from runtap.errors import DaemonError

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from runtap.v1 import daemon_pb2

NOT_RUNNING = 3


@click.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show how the daemon is doing.

    Where its data and log lie, which accounts it knows and which keys were refused, who uses it, and what deserves
    attention. Starts nothing: exit code 3 when no daemon runs.
    """
    from runtap import channel

    where = discovery.folders()
    answer = launch.find(where, channel.probe_status)
    if answer is None:
        _say_absent(where, as_json)
        ctx.exit(NOT_RUNNING)
    if as_json:
        print_json(as_dict(answer))
    else:
        _print(answer)


def _say_absent(where: discovery.Folders, as_json: bool) -> None:
    info = discovery.read_info(where)
    if info is not None and discovery.is_same_process(info):
        raise DaemonError(
            f"the daemon (pid {info.pid}) runs but does not answer: `runtap restart` replaces it"
        )
    if as_json:
        print_json({"running": False})
    else:
        click.echo("runtap is not running; programs start it when they need it, or `runtap start`")
        print_pairs({"data": where.state})


def as_dict(answer: daemon_pb2.GetStatusResponse) -> dict[str, Any]:
    """The answer for programs; names stay as they are."""
    server = answer.server
    return {
        "running": True,
        "pid": server.pid,
        "version": server.version,
        "api_revision": server.api_revision,
        "capabilities": list(server.capabilities),
        "instance_id": server.instance_id,
        "executable": server.executable,
        "started_at": _moment(server.started_at),
        "endpoint": answer.endpoint,
        "state_directory": answer.state_directory,
        "log_path": answer.log_path,
        "log_level": answer.log_level,
        "accounts": [_account(account) for account in answer.accounts],
        "clients": [_client(client) for client in answer.clients],
        "pending_writes": answer.pending_writes,
        "blocked_writes": answer.blocked_writes,
        "open_calls": answer.open_calls,
        "calls_total": answer.calls_total,
        "calls_failed": answer.calls_failed,
        "upstream_requests": answer.upstream_requests,
        "cache_hits": answer.cache_hits,
        "cache_misses": answer.cache_misses,
        "loop_lag_s": answer.loop_lag.ToNanoseconds() / 1e9,
        "resident_bytes": answer.resident_bytes,
        "idle_exit_at": _moment(answer.idle_exit_at) if answer.HasField("idle_exit_at") else None,
        "start_reason": answer.start_reason,
        "last_exit_reason": answer.last_exit_reason,
        "warnings": list(answer.warnings),
    }


def _account(account: daemon_pb2.AccountStatus) -> dict[str, Any]:
    return {
        "account_id": account.account_id,
        "base_url": account.base_url,
        "username": account.username,
        "is_default": account.is_default,
        "blocked": account.blocked,
        "upstream_requests": account.upstream_requests,
        "pending_writes": account.pending_writes,
    }


def _client(client: daemon_pb2.ClientStatus) -> dict[str, Any]:
    return {
        "client": client.client,
        "open_calls": client.open_calls,
        "calls_total": client.calls_total,
        "attached": client.attached,
        "description": client.description,
    }


def _print(answer: daemon_pb2.GetStatusResponse) -> None:
    server = answer.server
    blocked = f" ({answer.blocked_writes} wait for a login)" if answer.blocked_writes else ""
    idle = _local_time(answer.idle_exit_at) if answer.HasField("idle_exit_at") else ""
    click.echo(f"runtap is running (pid {server.pid}, version {server.version})")
    print_pairs(
        {
            "since": f"{_local_time(server.started_at)}, reason: {answer.start_reason or 'unknown'}",
            "ends if idle until": idle,
            "endpoint": answer.endpoint,
            "data": answer.state_directory,
            "log": f"{answer.log_path} ({answer.log_level})",
            "pending writes": f"{answer.pending_writes}{blocked}",
            "calls": f"{answer.calls_total} answered, {answer.calls_failed} failed, {answer.open_calls} open",
            "reads": f"{answer.cache_hits} from the cache, {answer.cache_misses} asked the server",
            "requests to servers": answer.upstream_requests,
            "memory": f"{answer.resident_bytes / 1024**2:.0f} MiB",
        }
    )
    columns = ("server", "user", "requests", "pending writes", "")
    print_table("Accounts", columns, map(_account_row, answer.accounts))
    clients = ((one.client, one.calls_total, one.open_calls, one.description) for one in answer.clients)
    print_table("Clients", ("client", "calls", "open", ""), clients)
    for warning in answer.warnings:
        click.echo(f"! {warning}")


def _account_row(account: daemon_pb2.AccountStatus) -> tuple[object, ...]:
    words = [
        word
        for word, true in (("default", account.is_default), ("key refused, log in again", account.blocked))
        if true
    ]
    return (
        account.base_url,
        account.username,
        account.upstream_requests,
        account.pending_writes,
        ", ".join(words),
    )


def _moment(timestamp: Timestamp) -> str:
    return timestamp.ToJsonString()


def _local_time(timestamp: Timestamp) -> str:
    import datetime

    return timestamp.ToDatetime(datetime.UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
