"""`runtap start | stop | restart | flush`."""

from __future__ import annotations

import click

from runtap import channel, discovery, launch
from runtap.cli.output import json_option, print_json


@click.command()
@json_option
def start(as_json: bool) -> None:
    """Start the daemon, unless it runs.

    Programs start it by themselves; this is for editors and other languages, which learn from `--json` where it
    listens and which file holds the token that every call must carry.
    """
    _start(as_json, "start")


@click.command()
@json_option
def stop(as_json: bool) -> None:
    """Stop the daemon; unsent writes are kept.

    It takes no more calls and has five seconds to finish the open ones. A daemon that hangs is ended by force. When
    none runs there is nothing to do.
    """
    outcome = launch.stop(discovery.folders(), channel.shut_down)
    if as_json:
        print_json({"running": False, "outcome": outcome})
    else:
        words = {
            "stopped": "stopped",
            "killed": "did not answer; ended by force",
            "absent": "was not running",
        }
        click.echo(f"runtap {words[outcome]}")


@click.command()
@json_option
def restart(as_json: bool) -> None:
    """Stop the daemon and start it again.

    Unsent writes and cached data are kept.
    """
    launch.stop(discovery.folders(), channel.shut_down)
    _start(as_json, "restart")


@click.command()
@json_option
def flush(as_json: bool) -> None:
    """Make every program read anew what it reads next.

    Nothing fetched before this moment is used without asking the server. No data and no unsent write is dropped.
    """
    from runtap.v1 import daemon_pb2

    answer = channel.daemon().call("daemon.FlushCache", daemon_pb2.FlushCacheRequest())
    moment = answer.not_before.ToJsonString()
    if as_json:
        print_json({"not_before": moment})
    else:
        click.echo(f"Everything fetched before {moment} will be asked for again.")


def _start(as_json: bool, reason: str) -> None:
    where = discovery.folders()
    running = launch.find(where, channel.probe)
    connection = running or channel.connect(where, reason=reason, may_start=True)
    info = connection.info
    if as_json:
        print_json(
            {
                "endpoint": info.endpoint,
                "pid": info.pid,
                "token_file": where.info_path,
                "version": info.version,
                "instance_id": info.instance_id,
                "started": running is None,
            }
        )
    else:
        click.echo(
            f"runtap {'runs already' if running else 'started'} (pid {info.pid}, version {info.version})"
        )
