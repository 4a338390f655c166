"""What all commands share: the data folder, the settings, and how answers and errors are printed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ..faults import Fault
from ..settings import Settings, SettingsError, load
from .home import Home, HomeError, open_home

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Setup:
    """What all commands share."""

    settings: Settings

    def home(self) -> Home:
        """The data folder, checked. Raises a one-line error."""
        try:
            return open_home(self.settings.home)
        except HomeError as error:
            raise click.ClickException(str(error)) from None


def set_up(home: Path | None) -> Setup:
    """Read the settings. Raises a one-line error."""
    try:
        return Setup(load(home))
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def _use_home(context: click.Context, _parameter: click.Parameter, home: Path | None) -> None:
    if home is not None:
        context.obj = set_up(home)


# Where people look for it first: behind the command as well as before it.
home_option = click.option(
    "--home",
    type=click.Path(path_type=Path),
    callback=_use_home,
    expose_value=False,
    is_eager=True,
    help="The data folder.",
)


def name_argument(name: str) -> Callable[[F], F]:
    """An argument that names somebody or something: text, since nothing is named by bytes that are none."""

    def checked(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise click.ClickException(f"{name} {value[:100]!r} is not valid UTF-8") from None
        return value

    return click.argument(name, callback=checked)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What goes wrong with the database or with what was asked for is told in one line."""
    from sqlalchemy.exc import DBAPIError

    from ..store.database import DatabaseError

    try:
        yield
    except (Fault, DatabaseError) as error:
        raise click.ClickException(str(error)) from None
    except DBAPIError as error:
        raise click.ClickException(f"cannot use the database: {error.orig}") from None


def print_json(value: Any) -> None:
    """Print an answer for programs."""
    click.echo(json.dumps(value))
