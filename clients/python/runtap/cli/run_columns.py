"""Columns of runs: which a table shows, what of a run they need, and how values look in a table. No I/O of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from runtap.documents import Documents, unwrapped
from runtap.spellings import snake

WIDEST = 60
"""Longer texts are cut in tables."""
_SUMMARY = ("summary.", "summary_metrics.")
_PLAIN = {
    "run": "run_id",
    "name": "display_name",
    "display_name": "display_name",
    "state": "state",
    "created_at": "created_at",
    "heartbeat_at": "heartbeat_at",
    "updated_at": "updated_at",
    "tags": "tags",
    "group": "group",
    "job_type": "job_type",
    "sweep": "sweep_name",
    "commit": "commit",
    "user": "user",
    "username": "user",
    "notes": "notes",
    "description": "description",
    "url": "url",
    "history_line_count": "history_line_count",
}
"""Columns that are fields of a run, by the names people give: the field of the message."""


@dataclass(frozen=True)
class Column:
    """One column: its title, what has to be read for it, and its value."""

    title: str
    mask: str
    value: Callable[[Documents], Any]
    optional: bool = False
    """True when it is left out of a table in which it is empty."""


def named(name: str) -> Column:
    """The column of a name, as in a filter: a field, `config.<key>` or `summary.<key>`."""
    plain = snake(name)
    if plain in _PLAIN:
        return _field(plain, _PLAIN[plain])
    for prefix, document in (*((prefix, "summary") for prefix in _SUMMARY), ("config.", "config")):
        key = name.removeprefix(prefix)
        if name.startswith(prefix) and key:
            # wandb writes orders by config as `config.lr.value`.
            return _keyed(document, key.removesuffix(".value") if document == "config" else key)
    raise click.BadParameter(
        f"{name!r} is no column: give config.<key>, summary.<key> or one of {', '.join(_PLAIN)}"
    )


def usual(*, of_sweep: bool = False) -> list[Column]:
    """What every table of runs shows; where all are of one sweep, that needs no column."""
    fields = [_field("run", "run_id"), _field("name", "display_name"), _field("state", "state")]
    fields.append(Column("created", "created_at", _created))
    optional = [("tags", "tags"), ("group", "group"), *([] if of_sweep else [("sweep", "sweep_name")])]
    return fields + [_field(title, field, optional=True) for title, field in optional]


def asked_about(filter_json: str, order: str) -> list[Column]:
    """The columns that a filter and an order speak of, as far as there are such: whoever asks wants to see them."""
    try:
        names = [*_keys(json.loads(filter_json or "{}")), order.lstrip("+-")]
    except (ValueError, RecursionError):
        return []  # the daemon says what is wrong with it
    found = []
    for name in names:
        try:
            found.append(named(name))
        except click.BadParameter:
            continue
    shown = {column.mask for column in usual()}
    return [column for column in distinct(found) if column.mask not in shown]


def distinct(columns: Iterable[Column]) -> list[Column]:
    """The columns, each once."""
    return list({column.title: column for column in columns}.values())


def filled(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> tuple[list[str], list[list[str]]]:
    """Titles and texts of a table, without the optional columns in which nothing stands."""
    kept = [
        number
        for number, column in enumerate(columns)
        if not column.optional or any(row[number] for row in rows)
    ]
    return [columns[number].title for number in kept], [
        [text(row[number]) for number in kept] for row in rows
    ]


def text(value: Any, widest: int | None = WIDEST) -> str:
    """A value as a table shows it: on one line, not too wide, numbers with six digits, harmless to terminals."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict) and "_type" in value:
        return f"({value['_type']})"
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = "".join(letter if letter.isprintable() else " " for letter in shown)
    return shown if widest is None or len(shown) <= widest else shown[: widest - 1] + "…"


def moment(iso: str | None) -> str | None:
    """A moment as servers write it, for people: to the second, in UTC."""
    return f"{iso[:19].replace('T', ' ')} UTC" if iso else None


def flat(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a document by their dotted keys, in order of the keys."""
    for key, value in sorted(document.items()):
        if isinstance(value, dict) and value and "_type" not in value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _created(documents: Documents) -> str | None:
    return moment(documents.message.created_at)


def _field(title: str, name: str, *, optional: bool = False) -> Column:
    def value(documents: Documents) -> Any:
        message = documents.message
        if name == "user":
            return message.user.username
        if name == "tags":
            return ", ".join(message.tags)
        if name == "notes":
            return documents.notes()
        present = not message.DESCRIPTOR.fields_by_name[name].has_presence or message.HasField(name)  # type: ignore[arg-type]
        return getattr(message, name) if present else None

    return Column(title, name, value, optional)


def _keyed(document: str, key: str) -> Column:
    def value(documents: Documents) -> Any:
        whole = documents.json(document)
        if document == "config":
            whole = {name: unwrapped(item) for name, item in whole.items()}
        return _found(whole, key.split("."))

    return Column(f"{document}.{key}", f"{document}_json.{key}", value)


def _found(document: Any, path: Sequence[str]) -> Any:
    """The value at a key path. Keys may hold dots themselves: the longest match wins, as in the daemon."""
    if not path:
        return document
    if not isinstance(document, dict):
        return None
    for length in range(len(path), 0, -1):
        key = ".".join(path[:length])
        if key in document and (value := _found(document[key], path[length:])) is not None:
            return value
    return None


def _keys(value: Any) -> Iterator[str]:
    """The names of columns in a filter."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not key.startswith("$"):
                yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)
