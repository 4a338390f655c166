"""`runtap runs`: the runs of a project, as a table or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from runtap.cli import run_columns
from runtap.cli.output import json_option, print_json_list, print_table

if TYPE_CHECKING:
    from runtap.cli.run_columns import Column
    from runtap.cli.run_stream import RunStream
    from runtap.session import Session

IN_TABLE = 50
"""Runs a table shows unless told otherwise."""


@click.command()
@click.argument("project", default="")
@click.option("--filter", "filter_json", default="", metavar="JSON", help="Only runs that match, as above.")
@click.option(
    "--order",
    default="-created_at",
    show_default=True,
    metavar="COLUMN",
    help="With its sign: + is smallest first, - largest first.",
)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(0),
    metavar="N",
    help="At most so many; 0: all.  [default: 50, and all as JSON]",
)
@click.option(
    "-c", "--column", "columns", multiple=True, metavar="COLUMN", help="One more column; may be repeated."
)
@json_option
def runs(
    project: str, filter_json: str, order: str, limit: int | None, columns: tuple[str, ...], as_json: bool
) -> None:
    """List the runs of a project.

    PROJECT is `entity/project`, the URL of its page, or a name alone with the default entity; without it, the default
    project of programs started here. The server and the key are those that such programs use.

    A COLUMN is a field such as state, created_at, group or tags, or a key: config.lr, summary.loss. The filter is
    MongoDB's, on the same columns:

    \b
      runtap runs team/vision --filter '{"state": "finished", "config.lr": {"$lt": 0.1}}'
      runtap runs team/vision --order +summary.loss -c config.optimizer

    What filter and order speak of becomes a column too. JSON has everything of each run, its config and its summary
    included; with -c only those columns.
    """
    from runtap.api import Api
    from runtap.cli.run_stream import RunStream

    wanted = [run_columns.named(name) for name in columns]
    session = Api().client
    size = (0 if as_json else IN_TABLE) if limit is None else limit
    stream = RunStream(
        session,
        named_project(project, session),
        filter_json,
        order,
        size,
        show_progress=not as_json or not sys.stdout.isatty(),
    )
    if as_json:
        print_json_list(_selected(stream, wanted) if wanted else _whole(stream))
        stream.check()
        return
    columns_of_query = run_columns.asked_about(filter_json, order)
    print_runs(stream, [*run_columns.usual(), *columns_of_query, *wanted])
    stream.check()


def named_project(project: str, session: Session) -> str:
    """The project that was named, or else the default one."""
    chosen = project or session.defaults().project
    if not chosen:
        raise click.UsageError("no project is named: give PROJECT, or set WANDB_PROJECT")
    return chosen


def print_runs(stream: RunStream, columns: Sequence[Column], title: str = "", if_none: str = "") -> None:
    """A table of these columns; one line when there are no runs."""
    columns = run_columns.distinct(columns)
    rows = []
    place = stream.project
    for documents in stream.documents(columns):
        rows.append([column.value(documents) for column in columns])
        place = f"{documents.message.entity}/{documents.message.project}"
    if not rows:
        what = "no run matches the filter in" if stream.filter_json else "there are no runs in"
        click.echo(if_none or f"{what} {place} at {stream.session.base_url}")
        return
    print_table(title or f"runs of {place}", *run_columns.filled(columns, rows))
    if stream.more:
        click.echo(f"{len(rows)} shown, there are more: `--limit 0` shows all")


def _selected(stream: RunStream, columns: Sequence[Column]) -> Iterator[dict[str, Any]]:
    for documents in stream.documents(columns):
        yield {"path": documents.message.path} | {column.title: column.value(documents) for column in columns}


def _whole(stream: RunStream) -> Iterator[dict[str, Any]]:
    from runtap.cli.run import as_dict

    for found in stream.runs():
        yield as_dict(found)
