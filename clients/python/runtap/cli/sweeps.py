"""`runtap sweeps | sweep | best-run`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from runtap.cli.output import json_option, print_json, print_pairs, print_table
from runtap.cli.run_columns import Column, moment, named, text, usual
from runtap.errors import CommError

if TYPE_CHECKING:
    from runtap.best_run import BestRun
    from runtap.sweep_objects import Sweep

SHOWN_RUNS = 20
"""Runs of a sweep in a table unless told otherwise."""


@click.command()
@click.argument("project", default="")
@json_option
def sweeps(project: str, as_json: bool) -> None:
    """List the sweeps of a project.

    PROJECT is `entity/project`, the URL of its page, or a name alone with the default entity; without it, the default
    project of programs started here.
    """
    from runtap.api import Api
    from runtap.cli.runs import named_project

    api = Api()
    found = api.project(named_project(project, api.client)).sweeps()
    if as_json:
        print_json([as_dict(sweep) for sweep in found])
        return
    rows = [
        (
            sweep.id,
            text(sweep.name),
            sweep.state,
            sweep.method,
            _goal(sweep),
            _count(sweep),
            text(sweep.best_loss),
        )
        for sweep in found
    ]
    if not rows:
        click.echo(f"there are no sweeps in {found.project} at {api.client.base_url}")
        return
    print_table(
        f"sweeps of {found.project}", ("sweep", "name", "state", "method", "metric", "runs", "best"), rows
    )


@click.command()
@click.argument("path")
@click.option(
    "-n", "--limit", type=click.IntRange(0), default=SHOWN_RUNS, show_default=True, metavar="N",
    help="At most so many of its runs; 0: all.",
)  # fmt: skip
@json_option
def sweep(path: str, limit: int, as_json: bool) -> None:
    """Show one sweep: how far it is, its configuration, its runs.

    PATH is `entity/project/sweep_id`, the URL of its page, or shorter with the defaults of programs started here. The
    best runs by the sweep's own metric come first; without a metric the newest. JSON has the sweep alone; its runs are
    `runtap runs PROJECT --filter '{"sweep": "<sweep_id>"}' --json`.
    """
    from runtap.api import Api
    from runtap.cli.run_stream import RunStream
    from runtap.cli.runs import print_runs

    api = Api()
    found = api.sweep(path)
    if as_json:
        print_json(as_dict(found))
        return
    click.echo(f"{text(found.name)} ({found.state or 'state unknown'})")
    print_pairs(
        {
            "path": found.path,
            "page": found.url,
            "created": moment(found.created_at),
            "method": found.method,
            "metric": _goal(found),
            "best": text(found.best_loss),
            "runs": _count(found),
        }
    )
    click.echo(f"\nconfiguration\n{_indented(found.config_yaml)}")
    stream = RunStream(
        api.client,
        "/".join(found.path[:2]),
        json.dumps({"sweep": found.id}),
        found.order or "-created_at",
        limit,
        show_progress=True,
    )
    title = "runs, the best first" if found.order else "runs, the newest first"
    print_runs(stream, _columns(found), title, if_none="\nit has no runs yet")
    stream.check()


@click.command("best-run")
@click.argument("sweep")
@click.option(
    "--order", default="", metavar="COLUMN", help="Another metric or column, such as -acc or +config.lr."
)
@click.option(
    "--pick", type=click.Choice(["last", "min", "max"]), default="last", show_default=True,
    help="Which of a run's values counts: the one in its summary, or one of its whole history.",
)  # fmt: skip
@json_option
@click.pass_context
def best_run(ctx: click.Context, sweep: str, order: str, pick: Any, as_json: bool) -> None:
    """Show the best run of a sweep.

    The best by the metric and the goal in the sweep's configuration. SWEEP is `entity/project/sweep_id`, the URL of
    its page, or shorter with the defaults of programs started here. Runs without the metric, or with NaN, never win;
    exit code 1 when no run has it. Of a sweep without a metric the newest run is shown.
    """
    from runtap.api import Api
    from runtap.best_run import best, order_key
    from runtap.cli.run import as_dict as run_as_dict
    from runtap.cli.run import print_run

    api = Api()
    found = api.sweep(sweep)
    answer = best(api.client, str(found.path), order, pick)
    if as_json:
        print_json(
            {
                "sweep": str(found.path),
                "value": answer.value,
                "warning": answer.warning,
                "run": run_as_dict(answer.run) if answer.run else None,
            }
        )
    elif answer.run is not None:
        print_run(answer.run, {"best": _why(answer, order_key(order) if order else found.order or "")})
    if answer.warning:
        click.echo(f"runtap: {answer.warning}", err=True)
    if answer.run is None:
        ctx.exit(1)


def as_dict(sweep: Sweep) -> dict[str, Any]:
    """A sweep for programs."""
    return {
        "id": sweep.id,
        "entity": sweep.entity,
        "project": sweep.project,
        "path": str(sweep.path),
        "url": sweep.url,
        "storage_id": sweep.storage_id,
        "name": sweep.name,
        "state": sweep.state,
        "method": sweep.method,
        "order": sweep.order,
        "best_loss": sweep.best_loss,
        "run_count": sweep.run_count,
        "expected_run_count": sweep.expected_run_count,
        "created_at": sweep.created_at,
        "config": _config(sweep),
        "config_yaml": sweep.config_yaml,
    }


def _config(sweep: Sweep) -> dict[str, Any] | None:
    """The configuration in plain values; None when there is no sense in it."""
    from runtap.values import plain, spelled

    try:
        return dict(spelled(plain(sweep.config, "config")))
    except CommError:
        return None


def _why(answer: BestRun, order: str) -> str | None:
    if answer.value is None:
        return None
    extreme = "largest" if order.startswith("-") else "smallest"
    return f"{text(answer.value)}, the {extreme} {text(_metric(order))}"


def _metric(order: str) -> str:
    return order.lstrip("+-").removeprefix("summary_metrics.")


def _goal(sweep: Sweep) -> str:
    if not sweep.order:
        return ""
    return f"{text(_metric(sweep.order))} ({'maximize' if sweep.order.startswith('-') else 'minimize'})"


def _count(sweep: Sweep) -> str:
    if sweep.run_count is None:
        return ""
    return str(sweep.run_count) + (f" of {sweep.expected_run_count}" if sweep.expected_run_count else "")


def _columns(sweep: Sweep) -> list[Column]:
    """The parameters that are searched, and the metric."""
    keys = [f"config.{key}" for key in _searched((_config(sweep) or {}).get("parameters"))]
    return [
        *usual(of_sweep=True),
        *map(named, [*keys, *([f"summary.{_metric(sweep.order)}"] if sweep.order else [])]),
    ]


def _searched(parameters: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of parameters that take more than one value."""
    for key, what in parameters.items() if isinstance(parameters, dict) else ():
        inner = what.get("parameters") if isinstance(what, dict) else None
        if inner:
            yield from _searched(inner, f"{prefix}{key}.")
        elif not isinstance(what, dict) or "value" not in what:
            yield f"{prefix}{key}"


def _indented(yaml_text: str) -> str:
    lines = yaml_text.strip().splitlines() or ["(empty)"]
    return "\n".join(f"  {text(line, widest=None)}" for line in lines)
