"""`runtap logs`: shows the daemon's log, a JSON line per event in a file that rotates."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator

import click

from runtap import discovery
from runtap.errors import CommError

BACKUPS = 3
_POLL_S = 0.2
_FIXED = ("time", "level", "logger", "message", "traceback")


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until interrupted.")
@click.option(
    "-n",
    "--lines",
    default=50,
    show_default=True,
    metavar="N",
    type=click.IntRange(0),
    help="So many of the last lines.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they are, one JSON object each.")
def logs(follow: bool, lines: int, as_json: bool) -> None:
    """Show the daemon's log, also of one that has ended.

    Times are in UTC. API keys and tokens are never in the log.
    """
    where = discovery.folders()
    info = discovery.read_info(where)
    path = info.log_path if info and info.log_path else os.path.join(where.state, "daemon.log")
    if not os.path.exists(path) and not follow:
        raise CommError(f"there is no log yet at {path}; the daemon makes it when it starts (`runtap start`)")
    for line in tail(path, lines):
        click.echo(line if as_json else readable(line))
    if follow:
        for line in new_lines(path):
            click.echo(line if as_json else readable(line))


def readable(line: str) -> str:
    """One event for people; a line that is no JSON stays as it is."""
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if not isinstance(event, dict):
        return line
    moment = str(event.get("time", "")).replace("T", " ").rstrip("Z")
    extra = " ".join(
        f"{key}={value}" for key, value in event.items() if key not in _FIXED and value not in ("", None)
    )
    words = f"{moment} {event.get('level', ''):<7} {event.get('message', '')}"
    if extra:
        words += f"  [{extra}]"
    if event.get("traceback"):
        words += "\n    " + str(event["traceback"]).replace("\n", "\n    ")
    return words


def tail(path: str, count: int) -> list[str]:
    """The last lines of the log, the older files of its rotation included."""
    found: list[str] = []
    for name in (path, *(f"{path}.{number}" for number in range(1, BACKUPS + 1))):
        if len(found) >= count:
            break
        try:
            with open(name, encoding="utf-8", errors="replace") as file:
                found = file.read().splitlines() + found
        except FileNotFoundError:
            continue
    return found[len(found) - count :] if count < len(found) else found


def new_lines(path: str) -> Generator[str, None, None]:
    """Lines written from now on, for ever; goes on in the new file when the log rotates."""
    file = None
    rest = ""
    at_end = os.path.exists(path)
    try:
        while True:
            if file is None and os.path.exists(path):
                file = open(path, encoding="utf-8", errors="replace")  # noqa: SIM115  # closed below
                if at_end:
                    file.seek(0, os.SEEK_END)
            if file is not None:
                rest += file.read()
                *whole, rest = rest.split("\n")
                yield from whole
                if _is_replaced(path, file.fileno()):
                    file.close()
                    file, at_end = None, False
                    continue
            time.sleep(_POLL_S)
    finally:
        if file is not None:
            file.close()


def _is_replaced(path: str, handle: int) -> bool:
    try:
        return os.stat(path).st_ino != os.fstat(handle).st_ino
    except FileNotFoundError:  # between the renaming and the new file
        return False
