"""The space one file takes: when what lies in it was used, and getting rid of it, in slices of some milliseconds each.

Works on the tables that the stores fill, in their threads. What has to go is decided by `eviction.py`.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from runtapd.cache.eviction import SLICE_ROWS, Kept, victims
from runtapd.cache.tables import transaction
from runtapd.failpoints import failpoint

ALWAYS = 2**62
"""A minute that never comes: before it, everything was used."""
_SLICE_PAGES = 512
_OLDEST = "SELECT name, used_in FROM uses WHERE used_in < ? ORDER BY used_in, name LIMIT ?"


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in a kind of file, as far as dropping it goes. Each thing in it has a row in its table `uses`."""

    details: str
    """SQL that makes rows (name, what, size) of those of `u`, which has names and when they were used."""
    places: Sequence[tuple[str, str]]
    """The tables to delete from, and the columns with the names."""


_RECORDS = """
SELECT u.name, iif(r.storage_id IS NULL, 'lists', 'runs'),
  ifnull(length(r.body), 0) + ifnull(length(a.runs), 0) + ifnull(length(s.body), 0)
  + (SELECT ifnull(sum(length(d.body)), 0) FROM documents AS d WHERE d.storage_id = u.name)
FROM u
LEFT JOIN records AS r ON r.storage_id = u.name
LEFT JOIN answers AS a ON a.key = u.name
LEFT JOIN small_answers AS s ON s.key = u.name
"""
RECORDS = Contents(
    _RECORDS,
    (
        ("records", "storage_id"),
        ("documents", "storage_id"),
        ("answers", "key"),
        ("small_answers", "key"),
        ("uses", "name"),
    ),
)


@dataclass(frozen=True, slots=True)
class Look:
    """How full a file is, and what could go first."""

    filled: int
    """The bytes of the pages in use."""
    oldest: int | None
    """The minute in which what may go was last used, the longest ago; None when nothing may."""


class Space:
    """The space of one file."""

    def __init__(self, db: sqlite3.Connection, contents: Contents) -> None:
        self._db = db
        self._contents = contents

    def note(self, uses: Mapping[str, int]) -> None:
        """Notes in which minute things were last used; what is not here any more stays away."""
        with transaction(self._db):
            self._db.executemany(
                "UPDATE uses SET used_in = ? WHERE name = ?",
                [(minute, name) for name, minute in uses.items()],
            )

    def no_later_than(self, minute: int) -> None:
        """Takes back uses in times to come: the clock was set back since, and they would outlast everything."""
        with transaction(self._db):
            self._db.execute("UPDATE uses SET used_in = ? WHERE used_in > ?", (minute, minute))

    def look(self, before: int, pinned: Collection[str]) -> Look:
        """Looks how full the file is, and at what may go: what was last used before that minute and is not pinned."""
        filled = (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")
        uses = self._db.execute(_OLDEST, (before, 1 + len(pinned)))
        return Look(filled, next((minute for name, minute in uses.fetchall() if name not in pinned), None))

    def drop(self, excess: int, before: int, pinned: Collection[str]) -> Counter[str]:
        """Drops a slice of what may go, up to so many bytes; returns how many of what, nothing when all that is left
        is pinned or was used later."""
        query = f"WITH u AS ({_OLDEST}) {self._contents.details} ORDER BY u.used_in, u.name"
        rows = self._db.execute(query, (before, SLICE_ROWS + len(pinned))).fetchall()
        chosen = victims(map(Kept._make, rows), excess, pinned)
        if chosen:
            with transaction(self._db):
                for table, column in self._contents.places:
                    self._db.executemany(
                        f"DELETE FROM {table} WHERE {column} = ?", [(one.name,) for one in chosen]
                    )
                failpoint("cache.dropping")
        return Counter(one.what for one in chosen)

    def give_back(self) -> bool:
        """Gives a slice of free pages back to the disk; returns whether there are more."""
        before = self._pragma("freelist_count")
        # Not by `execute`, which takes one step of it: one page.
        self._db.executescript(f"PRAGMA incremental_vacuum({_SLICE_PAGES})")
        failpoint("cache.shrinking")
        return 0 < self._pragma("freelist_count") < before

    def settle(self) -> None:
        """Moves what the log holds into the file and empties it: only then does the file get shorter."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
