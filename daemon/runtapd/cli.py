"""`runtapd`: runs the daemon in the foreground, or for a starter that waits at a pipe.

Owns the flags, the exit codes and what people read on a terminal. A start that fails is one line, never a traceback:

    0  ended in good order        3  another daemon holds the lock     6  cannot bind the socket
    1  any other failure          4  a folder is not private to us
    2  wrong flags or settings    5  the disk is full
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import runtapd
from runtapd.importing import without_pandas
from runtapd.settings import Settings, SettingsError
from runtapd.starting import Readiness, StartFailure


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the daemon until it ends; returns the exit code."""
    options = _parser().parse_args(argv)
    os.umask(0o077)
    ready = Readiness(options.ready_fd)
    try:
        return _run(Settings.from_environment(start_reason=options.start_reason), ready)
    except SettingsError as error:
        failure = StartFailure("usage", str(error))
    except StartFailure as error:
        failure = error
    except Exception as error:  # noqa: BLE001  # the top of the process; the log has the traceback
        failure = StartFailure("internal", f"the daemon failed: {type(error).__name__}: {error}")
    ready.failed(failure)
    with suppress(OSError):  # stderr may be a file on the full disk
        os.write(sys.stderr.fileno(), f"runtapd: {failure.message}\n".encode())
    return failure.exit_code


def _run(settings: Settings, ready: Readiness) -> int:
    without_pandas()
    # Imported late, so that wrong flags and --help do not wait for gRPC.
    from runtapd import app

    return asyncio.run(app.run(settings, ready))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runtapd",
        description="Runs the runtap daemon in the foreground. `runtap start` runs it in the background.",
    )
    parser.add_argument("--version", action="version", version=f"runtapd {runtapd.__version__}")
    parser.add_argument(
        "--ready-fd",
        type=_open_descriptor,
        metavar="FD",
        help="write one JSON line to this file descriptor once calls are answered, or why they never will be",
    )
    parser.add_argument("--start-reason", default="", metavar="WORD", help="shown by `runtap status`")
    return parser


def _open_descriptor(text: str) -> int:
    try:
        fd = int(text)
        os.fstat(fd)
    except (ValueError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is not an open file descriptor") from None
    return fd
