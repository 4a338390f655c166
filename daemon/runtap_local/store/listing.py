"""Lists of runs: filtered, ordered, counted, cut into pages.

What SQL can judge it judges; the columns that the rest of a filter reads are loaded for the runs that are left and
judged by ``runtap_query``. What was worked out that way is remembered until a run of the project is written to, and
only the page is loaded in full.

The last cursor of a page names the last run on it: the next page holds what now lies behind that run's place, whether
the run is still there or not, so that a program may delete or change what it lists. A cursor from within a page is an
offset.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from runtap_query import (
    Filter,
    Order,
    compile_filter,
    parse_filter,
    parse_order,
    sort_values,
    value_getter,
)

from ..ids import Place
from . import runs as run_store
from .judging import documents
from .pushdown import sorting, split
from .remembered import Remembered
from .tables import runs

_MAX_PAGE_BYTES: Final = 32 * 1024 * 1024
_FIRST_PART, _LARGEST_PART = 10, 100
_NOT_OF_RUNS: Final = frozenset({"username", "entity", "project"})


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list is asked for: ``condition`` and ``sorting`` are SQL's part of it, ``rest`` and ``order`` ours."""

    condition: ColumnElement[bool]
    rest: Filter
    order: Order
    sorting: tuple[ColumnElement[Any], ...] | None
    filter_digest: bytes
    of_runs_alone: bool

    @property
    def by_sql(self) -> bool:
        """Whether SQL can say all alone which runs match."""
        return self.rest.matches_all


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs of a list, the offset of the first, and whether there are more behind them."""

    rows: list[Row[Any]]
    offset: int
    more: bool


def understand(filters: str | None, order: str | None) -> Listing:
    """Parse what the client sent. Raises QueryError."""
    node = parse_filter(filters)
    parts, wanted = split(node), parse_order(order)
    roots = compile_filter(node).roots | wanted.roots
    return Listing(
        condition=parts.condition,
        rest=compile_filter(parts.rest),
        order=wanted,
        sorting=sorting(wanted),
        filter_digest=blake2b((filters or "").encode("utf-8", "surrogatepass")).digest(),
        of_runs_alone=not roots & _NOT_OF_RUNS,
    )


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of one project in one snapshot."""

    connection: Connection
    remembered: Remembered
    project_pk: int

    def count(self, listing: Listing) -> int:
        """How many runs the filter matches."""
        if listing.by_sql:
            return self.connection.scalar(self._select(listing, func.count())) or 0
        return len(self._matching(listing))

    def page(self, listing: Listing, place: Place, limit: int, heavy: Collection[str]) -> Page:
        """The page behind a place. It ends early when it grows large."""
        offset, pks = self._behind(listing, place, limit + 1)
        rows = list(_within_bytes(self.connection, pks[:limit], heavy))
        return Page(rows, offset, more=len(rows) < len(pks))

    def end(self, listing: Listing, page: Page) -> Place:
        """Where the list goes on behind a page."""
        offset = page.offset + len(page.rows)
        if not page.rows:
            return Place(offset)
        name, value = self._sorted_by(listing.order, page.rows[-1].pk)
        return Place(offset, page.rows[-1].pk, name, value if isinstance(value, str | int | float) else None)

    def _behind(self, listing: Listing, place: Place, count: int) -> tuple[int, Sequence[int]]:
        """The offset of a place as the list now is, and the rows from there on."""
        if place.pk is None:
            return place.offset, self._cut(listing, place.offset, count)
        pks = self._cut(listing, place.offset - 1, count + 1)
        if pks and pks[0] == place.pk:
            return place.offset, pks[1:]
        ordered = self._ordered(listing)

        def lies_behind(pk: int) -> bool:
            name, value = self._sorted_by(listing.order, pk)
            both = [(name, value, True), (place.name, place.value, False)]
            return not sort_values(both, listing.order)[0]

        offset = bisect_left(ordered, True, key=lies_behind)
        return offset, ordered[offset : offset + count]

    def _sorted_by(self, order: Order, pk: int) -> tuple[str, Any]:
        """The name of a run and the value that it is sorted by."""
        document = next(documents(self.connection, self.project_pk, order.roots, runs.c.pk == pk))
        return document["name"], value_getter(order.column)(document)

    def _cut(self, listing: Listing, offset: int, count: int) -> Sequence[int]:
        if listing.by_sql and listing.sorting is not None:
            statement = self._select(listing, runs.c.pk).order_by(*listing.sorting)
            return self.connection.scalars(statement.offset(offset).limit(count)).all()
        return self._ordered(listing)[offset : offset + count]

    def _select(self, listing: Listing, what: Any) -> Select[Any]:
        return select(what).select_from(runs).where(runs.c.project_pk == self.project_pk, listing.condition)

    def _matching(self, listing: Listing) -> Sequence[int]:
        """The rows of all runs that match, in no order."""

        def judged() -> Iterator[int]:
            found = documents(self.connection, self.project_pk, listing.rest.roots, listing.condition)
            return (document["pk"] for document in found if listing.rest(document))

        return self._once(listing, None, judged)

    def _ordered(self, listing: Listing) -> Sequence[int]:
        """The rows of all runs that match, in order."""

        def ordered() -> Iterable[int]:
            matching = None if listing.by_sql else frozenset(self._matching(listing))
            if listing.sorting is not None:
                pks = self.connection.scalars(self._select(listing, runs.c.pk).order_by(*listing.sorting))
                return (pk for pk in pks if matching is None or pk in matching)
            found = documents(self.connection, self.project_pk, listing.order.roots, listing.condition)
            value = value_getter(listing.order.column)
            return sort_values(
                (
                    (document["name"], value(document), document["pk"])
                    for document in found
                    if matching is None or document["pk"] in matching
                ),
                listing.order,
            )

        return self._once(listing, str(listing.order), ordered)

    def _once(self, listing: Listing, order: str | None, make: Callable[[], Iterable[int]]) -> Sequence[int]:
        # What the names of users and projects decide, no revision of runs tells of.
        remembered = self.remembered if listing.of_runs_alone else Remembered()
        question = (listing.filter_digest, order)
        return remembered.once(self.connection, self.project_pk, question, make)


def _within_bytes(connection: Connection, pks: Sequence[int], heavy: Collection[str]) -> Iterator[Row[Any]]:
    """As many rows as fit into an answer, at least one: summaries full of histograms reach a megabyte each."""
    done = size = 0
    part = _FIRST_PART
    while done < len(pks):
        for row in run_store.by_pks(connection, pks[done : done + part], heavy):
            yield row
            size += sum(len(getattr(row, column) or "") for column in heavy)
            if size > _MAX_PAGE_BYTES:
                return
        done += part
        # Heavy runs are loaded a few at a time, lest most of what was loaded be thrown away.
        part = max(1, min(_LARGEST_PART, (_MAX_PAGE_BYTES - size) * done // (size + 1)))
