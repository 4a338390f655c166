"""Console output of every kind, and the ways in which a program ends. Argument: the way."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.local.scripts import kit

LONG = "L" * 30_000


def console(run: Any) -> None:
    """Both streams, rewritten lines, parts of lines, colours, a child's words, and no newline at the end."""
    print("hello")
    print("ünï 漢字 🎉")
    sys.stdout.write("in ")
    sys.stdout.write("parts\n")
    for percent in (0, 50, 100):
        sys.stdout.write(f"\rprogress {percent:3d}%")
        sys.stdout.flush()
        time.sleep(0.7)  # so that the line has been sent already when it is rewritten
    print()
    print("to stderr", file=sys.stderr)
    sys.stderr.write("\rbar 1\rbar 22\rbar 3")
    sys.stderr.write("\n")
    print(LONG)
    print("\033[31mred\033[0m")
    print("a\n\n  b\ttab ")
    print("END without a newline", end="")
    sys.stdout.flush()


def preempt(run: Any) -> None:
    """Say that the machine will be taken away, and end all the same."""
    run.mark_preempting()
    time.sleep(2.5)


WAYS: dict[str, Callable[[Any], Any]] = {
    "console": console,
    "raise": lambda run: 1 / 0,
    "exit": lambda run: sys.exit(3),
    "finish": lambda run: run.finish(exit_code=7),
    "interrupt": lambda run: os.kill(os.getpid(), signal.SIGINT),
    "preempt": preempt,
}

if __name__ == "__main__":
    way = sys.argv[1]
    active = kit.begin("ends", way)
    active.log({"row": way})
    WAYS[way](active)
