"""How commands print: JSON for programs, aligned lines and tables for people, and how far a long reading has come."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Adds `--json`, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def print_json(value: object) -> None:
    """One JSON document, with the contract's spelling of NaN and infinities, which JSON lacks."""
    click.echo(_json(value))


def print_json_list(items: Iterable[object]) -> None:
    """One JSON list, each item printed when it is there, so that long lists need no memory."""
    begun = False
    for item in items:
        text = _json(item).replace("\n", "\n  ")
        click.echo(f"{',' if begun else '['}\n  {text}", nl=False)
        begun = True
    click.echo("\n]" if begun else "[]")


def _json(value: object) -> str:
    from runtap.values import spelled

    return json.dumps(spelled(value), indent=2, ensure_ascii=False, allow_nan=False)


def print_pairs(pairs: Mapping[str, object]) -> None:
    """One `name  value` a line; what is empty is left out."""
    shown = {name: str(value) for name, value in pairs.items() if value not in ("", None)}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name:<{width}}  {value}")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table with a title; nothing when there are no rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    texts = [[Text(str(cell)) for cell in row] for row in rows]
    if not texts:
        return
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for text in texts:
        table.add_row(*text)
    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe has no width: fold nothing
        roomy = console.options.update(max_width=10_000)
        console.width = max(80, console.measure(table, options=roomy).maximum)
    console.print()
    console.print(table)


@contextlib.contextmanager
def progress(what: str, *, shown: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Gives a function that is told how many there are of how many; a bar when standard error is a terminal."""
    if not shown or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
