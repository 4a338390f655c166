"""Runs as documents for ``runtap_query``: loaded for a whole project, with no more columns than are asked for."""

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, select

from .. import jsontext
from .tables import projects, runs, users

_COLUMN_OF: Final = {"group": "group_name", "sweep": "sweep_name"}
_PART: Final = 500
_OWN_KEYS: Final = ("_wandb", "wandb_version")


def documents(
    connection: Connection, project_pk: int, roots: Collection[str], condition: ColumnElement[bool]
) -> Iterator[dict[str, Any]]:
    """The runs of a project for which the condition holds, each with ``pk``, ``name`` and the fields of ``roots``.

    One at a time: all documents of a project are many times what their texts are.
    """
    fields: dict[str, ColumnElement[Any]] = {"name": runs.c.name}
    for root in roots:
        if root == "username":
            fields[root] = users.c.name
        elif root in ("entity", "project"):
            fields[root] = projects.c["entity" if root == "entity" else "name"]
        elif (
            _COLUMN_OF.get(root, root) in runs.c
        ):  # else it is worked out from others, or nobody keeps it here
            fields[root] = runs.c[_COLUMN_OF.get(root, root)]
    source: Any = runs
    if "username" in roots:
        source = source.join(users, users.c.pk == runs.c.user_pk)
    if "entity" in roots or "project" in roots:
        source = source.join(projects, projects.c.pk == runs.c.project_pk)
    columns = [runs.c.pk, *(column.label("f_" + field) for field, column in fields.items())]
    statement = select(*columns).select_from(source).where(runs.c.project_pk == project_pk, condition)
    names = ("pk", *fields)
    decoders = [(field, _DECODERS[field]) for field in fields if field in _DECODERS]
    for rows in connection.execute(statement).partitions(_PART):
        for row in rows:
            document = dict(zip(names, row, strict=True))
            for field, decode in decoders:
                document[field] = decode(document[field])
            yield document


def _seconds(moment_us: int | None) -> float | None:
    return None if moment_us is None else moment_us / 1_000_000


def _json(text: str | None) -> Any:
    return jsontext.loads(text) if text else {}


class _Config(dict[str, Any]):
    """A config as people think of it: the values without their wrapping, the SDK's own keys left out.

    Unwrapped only where it is looked at: a filter reads one key of dozens, in thousands of runs.
    """

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) and key not in _OWN_KEYS

    def __getitem__(self, key: str) -> Any:
        if key in _OWN_KEYS:
            raise KeyError(key)
        item = super().__getitem__(key)
        return item["value"] if isinstance(item, dict) and "value" in item else item

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default."""
        try:
            return self[key]
        except KeyError:
            return default


def _keys(text: str | None) -> dict[str, Any]:
    return {"keys": _json(text)}


_DECODERS: Final[dict[str, Callable[[Any], Any]]] = {
    "created_at": _seconds,
    "heartbeat_at": _seconds,
    "updated_at": _seconds,
    "tags": lambda text: _json(text) or [],
    "config": lambda text: _Config(_json(text)),
    "summary_metrics": _json,
    "system_metrics": _json,
    "history_keys": _keys,
}
