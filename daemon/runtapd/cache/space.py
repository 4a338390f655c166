"""The space one file takes: when what lies in it was used, and getting rid of it, in slices of some milliseconds each.

Works on the tables that `store.py` fills, in the same thread. What has to go is decided by `eviction.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from runtapd.cache.eviction import SLICE_ROWS, Kept, victims
from runtapd.cache.tables import transaction
from runtapd.failpoints import failpoint

ALWAYS = 2**62
"""A minute that never comes: before it, everything was used."""
_SLICE_PAGES = 512
_OLDEST = """
SELECT u.name, r.storage_id IS NOT NULL,
  ifnull(length(r.body), 0) + ifnull(length(a.runs), 0) + ifnull(length(s.body), 0)
  + (SELECT ifnull(sum(length(d.body)), 0) FROM documents AS d WHERE d.storage_id = u.name)
FROM (SELECT name, used_in FROM uses WHERE used_in < ? ORDER BY used_in, name LIMIT ?) AS u
LEFT JOIN records AS r ON r.storage_id = u.name
LEFT JOIN answers AS a ON a.key = u.name
LEFT JOIN small_answers AS s ON s.key = u.name
ORDER BY u.used_in, u.name
"""
_PLACES = (
    ("records", "storage_id"),
    ("documents", "storage_id"),
    ("answers", "key"),
    ("small_answers", "key"),
    ("uses", "name"),
)


@dataclass(frozen=True, slots=True)
class Dropped:
    """How much had to go."""

    runs: int
    answers: int


class Space:
    """The space of one file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

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

    def filled(self) -> int:
        """Returns the bytes of the pages in use."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def drop(self, keep: int, before: int, pinned: Collection[str]) -> Dropped | None:
        """Drops a slice of what was last used before that minute; None when there is no more to drop.

        That is when no more than `keep` is filled, or when all that is left is pinned or was used later.
        """
        excess = self.filled() - keep
        if excess <= 0:
            return None
        rows = self._db.execute(_OLDEST, (before, SLICE_ROWS + len(pinned))).fetchall()
        chosen = victims(map(Kept._make, rows), excess, pinned)
        if not chosen:
            return None
        with transaction(self._db):
            for table, column in _PLACES:
                self._db.executemany(
                    f"DELETE FROM {table} WHERE {column} = ?", [(one.name,) for one in chosen]
                )
            failpoint("cache.dropping")
        runs = sum(one.is_run for one in chosen)
        return Dropped(runs, len(chosen) - runs)

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
