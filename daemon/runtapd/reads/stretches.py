"""Parts of a list that are known by name and still have to be read. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from runtapd.cache import policy
from runtapd.faults import Fault
from runtapd.model.run import Record
from runtapd.upstream.api import GlancePage

_PAGE_COUNTS = 10
"""A page counts for so many places at least: pages of next to nothing cost as much."""


@dataclass(frozen=True, slots=True)
class Row:
    """One place of a list."""

    storage_id: str
    run_id: str
    created_at: str
    cursor: str
    """The server's cursor behind it."""
    sign: str
    """See RunData.sign."""


@dataclass(slots=True)
class Stretch:
    """Rows that follow each other in a list, and those of them that have to be read first."""

    rows: list[Row]
    wanted: list[Row]
    tried: bool = False
    """Whether what it wants has failed once, alone or in a piece that is not cut any further."""

    def cut(self, count: int) -> list[Stretch]:
        """Returns it in two pieces, of which the first wants `count` rows."""
        if count >= len(self.wanted):
            return [self]
        at = self.rows.index(self.wanted[count])
        return [
            Stretch(self.rows[:at], self.wanted[:count]),
            Stretch(self.rows[at:], self.wanted[count:]),
        ]

    def around(self, suspects: Collection[str]) -> list[Stretch]:
        """Returns it in pieces such that each of these storage ids stands alone among what its piece wants."""
        for i, row in enumerate(self.wanted):
            if row.storage_id in suspects and len(self.wanted) > 1:
                first, rest = self.cut(i or 1)
                return [*first.around(suspects), *rest.around(suspects)]
        return [self]

    def halves(self) -> list[Stretch]:
        """Returns it in two pieces that want about as much each."""
        return self.cut((len(self.wanted) + 1) // 2)


@dataclass(frozen=True, slots=True)
class Unread:
    """A run that is listed and could not be read."""

    path: str
    fault: Fault
    at: float
    """Unix seconds: the list in which it could not be read was begun then."""


@dataclass(slots=True)
class Comb:
    """A second look through a list that came out too short, for runs that slipped between its pages.

    It goes on behind what it has seen last by the moment of creation, which does not shift as places do.
    """

    created_at: str = ""
    cursor: str | None = None
    over: bool = False
    looked_at: int = 0
    """About how many places it has seen, some of them twice."""

    def go_on(self, page: GlancePage, *, by_creation: bool, most: int) -> None:
        """Moves on behind a page; no further than `most` places, for some servers lead in circles."""
        self.looked_at += max(_PAGE_COUNTS, len(page.runs))
        if not page.has_next or not page.runs or self.looked_at > most:
            self.over = True
        elif by_creation and page.runs[-1].created_at not in ("", self.created_at):
            self.created_at, self.cursor = page.runs[-1].created_at, None
        else:  # more runs of one moment than a page holds
            self.over = page.cursors[-1] in ("", self.cursor)
            self.cursor = page.cursors[-1]


def rows_of(page: GlancePage) -> list[Row]:
    """Returns the places of a page."""
    return [
        Row(glance.storage_id, glance.run_id, glance.created_at, cursor, glance.sign)
        for glance, cursor in zip(page.runs, page.cursors, strict=True)
    ]


def still_right(record: Record | None, row: Row, whole_at: float, written_at: float) -> bool:
    """Whether a record need not be read again now that a glance has told `row`.

    Its documents must be no older than `whole_at`, unless the server's moment of the last change vouches for them.
    """
    return (
        record is not None
        and not record.lacks_write
        and record.sign == row.sign
        and record.fetched_at >= written_at
        and (record.fetched_at >= whole_at or policy.vouched(record.updated_at, record.fetched_at))
    )
