"""Lists of runs: filtered, ordered, counted, cut into pages.

Lists without a filter in the order of a plain moment are SQLite's work; for all others the columns that the filter and
the order read are loaded for the whole project and judged by ``runtap_query``, and only the page is loaded in full.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from runtap_query import Filter, Order, compile_filter, parse_filter, parse_order, sort_documents

from .. import jsontext
from . import runs as run_store
from .tables import projects, runs, users

_BY_SQL: Final = {"created_at", "heartbeat_at", "updated_at"}
_MAX_PAGE_BYTES: Final = 32 * 1024 * 1024
_COLUMN_OF: Final = {"group": "group_name", "sweep": "sweep_name"}


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list is asked for: a filter and an order, understood."""

    filter: Filter
    order: Order

    @property
    def by_sql(self) -> bool:
        """Whether SQLite can answer it alone."""
        return self.filter.matches_all and self.order.column.root in _BY_SQL


def understand(filters: str | None, order: str | None) -> Listing:
    """Parse what the client sent. Raises QueryError."""
    return Listing(compile_filter(parse_filter(filters)), parse_order(order))


def count(connection: Connection, project_pk: int, listing: Listing) -> int:
    """How many runs the filter matches."""
    if listing.filter.matches_all:
        return run_store.count(connection, project_pk)
    return len(matching(connection, project_pk, listing))


def matching(connection: Connection, project_pk: int, listing: Listing) -> list[int]:
    """The rows of all runs that match, in order."""
    roots = listing.filter.roots | listing.order.roots
    documents = [
        document for document in _documents(connection, project_pk, roots) if listing.filter(document)
    ]
    return [document["pk"] for document in sort_documents(documents, listing.order)]


def page_by_sql(
    connection: Connection, project_pk: int, order: Order, offset: int, limit: int, heavy: Collection[str]
) -> tuple[list[Row[Any]], bool]:
    """A page of a list that SQLite can order, and whether there is more."""
    column = runs.c[order.column.root]
    by = (column.desc() if order.descending else column.asc(), runs.c.name.asc())
    statement = run_store.select_runs(heavy).where(runs.c.project_pk == project_pk)
    found = connection.execute(statement.order_by(*by).offset(offset).limit(limit + 1)).yield_per(100)
    rows = _within_bytes(found, heavy)
    return rows[:limit], len(rows) > limit or found.fetchone() is not None


def page_of(
    connection: Connection, pks: Sequence[int], offset: int, limit: int, heavy: Collection[str]
) -> tuple[list[Row[Any]], bool]:
    """A page of a list that was worked out before, and whether there is more."""
    rows = _within_bytes(run_store.by_pks(connection, pks[offset : offset + limit], heavy), heavy)
    return rows, offset + len(rows) < len(pks)


def _within_bytes(found: Iterable[Row[Any]], heavy: Collection[str]) -> list[Row[Any]]:
    """As many rows as fit into an answer, at least one: summaries full of histograms reach a megabyte each."""
    rows, size = [], 0
    for row in found:
        rows.append(row)
        size += sum(len(getattr(row, column) or "") for column in heavy)
        if size > _MAX_PAGE_BYTES:
            break
    return rows


def _documents(connection: Connection, project_pk: int, roots: Collection[str]) -> list[dict[str, Any]]:
    """The runs of a project as ``runtap_query`` takes them, with no more than the fields asked for."""
    fields = {"name": runs.c.name}
    for root in roots:
        if root == "username":
            fields[root] = users.c.name
        elif root in ("entity", "project"):
            fields[root] = projects.c["entity" if root == "entity" else "name"]
        elif root != "duration":
            fields[root] = runs.c[_COLUMN_OF.get(root, root)]
    columns = [runs.c.pk, *(column.label("f_" + field) for field, column in fields.items())]
    joined = runs.join(projects, projects.c.pk == runs.c.project_pk).join(users, users.c.pk == runs.c.user_pk)
    statement = select(*columns).select_from(joined).where(runs.c.project_pk == project_pk)
    names = ("pk", *fields)
    documents = [dict(zip(names, row, strict=True)) for row in connection.execute(statement)]
    for field in fields:
        decode = _DECODERS.get(field)
        if decode is not None:
            for document in documents:
                document[field] = decode(document[field])
    return documents


def _seconds(moment_us: int | None) -> float | None:
    return None if moment_us is None else moment_us / 1_000_000


def _json(text: str | None) -> Any:
    return jsontext.loads(text) if text else {}


def unwrapped_config(text: str | None) -> dict[str, Any]:
    """A config as people think of it: the values without their wrapping, the SDK's own keys left out."""
    config = _json(text)
    return {
        key: item["value"] if isinstance(item, dict) and "value" in item else item
        for key, item in config.items()
        if key not in ("_wandb", "wandb_version")
    }


def _keys(text: str | None) -> dict[str, Any]:
    return {"keys": _json(text)}


_DECODERS: Final[dict[str, Callable[[Any], Any]]] = {
    "created_at": _seconds,
    "heartbeat_at": _seconds,
    "updated_at": _seconds,
    "tags": lambda text: _json(text) or [],
    "config": unwrapped_config,
    "summary_metrics": _json,
    "system_metrics": _json,
    "history_keys": _keys,
}
