"""Programs that log at the same time. Argument: which of them to be."""

import sys
import time

from tests.local.scripts import kit

ROWS = 60


def doomed() -> None:
    """Log a little, and be killed; the next one goes on where this one was, by ``auto``."""
    run = kit.begin("side", resume="auto")
    kit.save("doomed.json", {"id": run.id, "resumed": run.resumed, "starting_step": run.starting_step})
    for number in range(5):
        run.log({"before": number})
        print(f"before {number}", flush=True)
    time.sleep(60)


def heir() -> None:
    """Started in the same folder after the kill."""
    run = kit.begin("side", resume="auto")
    kit.save("heir.json", {"id": run.id, "resumed": run.resumed, "starting_step": run.starting_step})
    for number in range(3):
        run.log({"after": number})
        print(f"after {number}", flush=True)
    run.finish()


def steady(name: str) -> None:
    """Log one of two runs that are logged at once."""
    run = kit.begin("side", name, config={"name": name})
    for number in range(ROWS):
        run.log({name: number, "both": number})
        print(f"{name} {number}", flush=True)
        time.sleep(0.05)
    run.finish()


def stopped() -> None:
    """Log until the server says stop, which comes as if somebody pressed Ctrl-C."""
    run = kit.begin("side", "stopped")
    for number in range(600):
        run.log({"n": number})
        time.sleep(0.1)


if __name__ == "__main__":
    which = sys.argv[1]
    if which in ("one", "two"):
        steady(which)
    else:
        {"doomed": doomed, "heir": heir, "stopped": stopped}[which]()
