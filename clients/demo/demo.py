"""`make demo`: real runs, logged by the real wandb SDK, come out of the daemon through the Python client.

Starts the local server and the daemon (and stops what it started), trains a few small networks, and then does what
the import/export guide does: a CSV of all runs, a comparison of two, a whole history, and an update.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from picture import curve
from rich.console import Console
from rich.table import Table

import runtap

PROJECT = "runtap-demo"
HERE = Path(__file__).resolve().parent
console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """The story, step by step."""
    options = argparse.ArgumentParser(description="runtap's demonstration")
    options.add_argument("--runs", type=int, default=6, help="how many networks to train (at most 6)")
    options.add_argument("--epochs", type=int, default=40)
    asked = options.parse_args()
    if asked.runs < 2 or asked.epochs < 5:
        options.error("it takes two runs to compare, and five epochs to see a curve")
    began = time.monotonic()
    with ExitStack() as stack:
        heading("1. A server for runs on this machine, and the daemon")
        entity = stack.enter_context(local_server())
        stack.enter_context(daemon())
        heading("2. Training, logged by the real wandb SDK")
        train(asked.runs, asked.epochs)
        api = runtap.Api()
        api.flush()  # a list may be ten seconds old; these runs are younger
        path = f"{entity}/{PROJECT}"
        heading("3. All runs to a CSV, as in the guide")
        runs = table_of_runs(api, path)
        heading("4. Two runs compared")
        compare(runs[0], runs[-1])
        heading("5. A whole history, unsampled")
        best = max(runs, key=lambda run: run.summary.get("accuracy", 0))
        show_history(best)
        heading("6. An update, after the run has finished")
        update(api, best)
        heading("What the daemon did")
        show_status()
        how_to_go_on(entity, time.monotonic() - began)


def heading(text: str) -> None:
    """Begins a step."""
    console.print(f"\n[bold cyan]{text}[/]")


def command(*arguments: str) -> dict[str, object]:
    """Runs `runtap ... --json` and returns what it prints; its own words when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "runtap", *arguments, "--json"], capture_output=True, text=True
    )
    # `status` has its own exit code for "not running" and still answers.
    try:
        answer: dict[str, object] = json.loads(done.stdout)
    except ValueError:
        sys.exit(done.stderr.strip() or f"runtap {' '.join(arguments)} failed")
    return answer


@contextmanager
def local_server() -> Iterator[str]:
    """Starts the local server if it does not run, and points this process at it; yields its entity."""
    was_running = command("local", "status").get("running")
    found = command("local", "start")
    # From here on this is any machine with a server and a key: nothing below knows that the server is local.
    os.environ["WANDB_BASE_URL"] = str(found["url"])
    os.environ["WANDB_API_KEY"] = str(found["api_key"])
    console.print(f"  local server   {found['url']}" + ("   (was running)" if was_running else ""))
    try:
        yield str(found["entity"])
    finally:
        if not was_running:
            command("local", "stop")


@contextmanager
def daemon() -> Iterator[None]:
    """Starts the daemon if it does not run."""
    found = command("start")
    console.print(f"  daemon         {found['endpoint']}" + ("" if found["started"] else "   (was running)"))
    try:
        yield
    finally:
        if found["started"]:
            command("stop")


def train(runs: int, epochs: int) -> None:
    """Runs the training script as its own program, as users do."""
    folder = Path(os.environ.get("WANDB_DIR", HERE.parents[1] / ".venv" / "demo"))
    folder.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_DIR": str(folder)}
    arguments = ["--project", PROJECT, "--runs", str(runs), "--epochs", str(epochs)]
    if subprocess.run([sys.executable, str(HERE / "train.py"), *arguments], env=env).returncode:
        sys.exit("training failed; the lines above say why")


def table_of_runs(api: runtap.Api, path: str) -> list[runtap.Run]:
    """The guide's recipe, and a table of what it found."""
    runs = api.runs(path)
    summary_list, config_list, name_list = [], [], []
    for run in runs:
        summary_list.append(run.summary._json_dict)
        config_list.append({k: v for k, v in run.config.items() if not k.startswith("_")})
        name_list.append(run.name)
    runs_df = pd.DataFrame({"summary": summary_list, "config": config_list, "name": name_list})
    runs_df.to_csv("project.csv")

    table = Table(box=None, padding=(0, 1))
    for column in ("run", "state", "learning_rate", "hidden", "loss", "accuracy"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right", no_wrap=True)
    best = max(runs, key=lambda run: run.summary.get("accuracy", 0))
    for run in list(runs)[:12]:
        config, summary = run.config, run.summary
        cells = [run.name, run.state, f"{config['learning_rate']:g}", str(config["hidden"])]
        cells += [f"{summary['loss']:.4f}", f"{summary['accuracy']:.3f}"]
        table.add_row(*cells, style="green" if run.id == best.id else None)
    console.print(table)
    if len(runs) > 12:
        console.print(f"  ... and {len(runs) - 12} more")
    console.print(f"  {len(runs)} runs in {Path('project.csv').resolve()}")
    console.print(f"  best: [green]{best.name}[/]  accuracy {best.summary['accuracy']:.3f}  {best.url}")
    return list(runs)


def compare(run1: runtap.Run, run2: runtap.Run) -> None:
    """The guide's recipe: what differs between two runs."""
    df = pd.DataFrame([run1.config, run2.config]).transpose()
    df.columns = [run1.name, run2.name]
    differing = df[df[run1.name] != df[run2.name]]
    console.print("  " + str(differing).replace("\n", "\n  "))


def show_history(run: runtap.Run) -> None:
    """The guide's recipe: all the losses, and a picture of them."""
    losses = [row["loss"] for row in run.scan_history(keys=["loss"])]
    console.print(f"  loss of {run.name}, {len(losses)} rows (logarithm to base 10)")
    for line in curve([math.log10(loss) for loss in losses]):
        console.print(f"  {line}")


def update(api: runtap.Api, run: runtap.Run) -> None:
    """The guide's recipe: a metric and a histogram, set afterwards; then read back from the server."""
    losses = np.array([row["loss"] for row in run.scan_history(keys=["loss"])])
    run.summary["best_loss"] = float(losses.min())
    run.summary["loss_histogram"] = runtap.Histogram(losses)
    run.summary.update()
    api.flush()
    fresh = api.run(str(run.path))
    bins = len(fresh.summary["loss_histogram"]["values"])
    console.print(
        f"  best_loss = {fresh.summary['best_loss']:.4f} and a histogram of {bins} bins, on the server"
    )


def show_status() -> None:
    """What GetStatus says."""
    status = command("status")
    answered = f"{status['calls_total']} calls answered, {status['cache_hits']} reads from its cache"
    console.print(f"  {answered}, {status['upstream_requests']} requests to the server")


def how_to_go_on(entity: str, seconds: float) -> None:
    """What to type next."""
    runtap_command = Path(sys.executable).with_name("runtap")
    shown = os.path.relpath(runtap_command) if runtap_command.is_relative_to(Path.cwd()) else "runtap"
    heading("How to go on")
    console.print(
        f"  {shown} local start            # the server again, with these runs; prints the lines to export"
    )
    console.print("  export WANDB_BASE_URL=... WANDB_API_KEY=...")
    console.print("  python your_training.py        # logs there with the wandb SDK, nothing else to change")
    console.print(f"  python -c \"import runtap; print(len(runtap.Api().runs('{entity}/{PROJECT}')))\"")
    console.print(f"\nDone in {seconds:.0f} s; everything the demo started has been stopped.")


if __name__ == "__main__":
    main()
