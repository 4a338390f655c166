"""Rows of a history that are known and not stored yet: so much of exports waits in memory that readers need not wait
for the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtapd.history.table import Rows

HELD_BYTES = 64 * 2**20
"""So much may wait in memory, of all histories together."""


@dataclass
class InMemory:
    """How much of all histories together waits in memory to be stored."""

    bytes: int = 0


class Unstored:
    """The rows of one history that wait."""

    def __init__(self, in_memory: InMemory) -> None:
        self._in_memory = in_memory
        self._rows: list[tuple[int, Rows]] = []
        """With the number of the first ones."""
        self._bytes = 0

    def __iter__(self) -> Iterator[Rows]:
        return (rows for _, rows in self._rows)

    @property
    def too_much(self) -> bool:
        """Whether no more is to be held before some is stored."""
        return self._in_memory.bytes > HELD_BYTES

    def add(self, first: int, rows: Rows) -> None:
        """Takes in rows, of which that is the number of the first one."""
        self._rows.append((first, rows))
        size = sum(column.values.nbytes for column in rows.columns.values())
        self._bytes += size
        self._in_memory.bytes += size

    def behind(self, row: int) -> Rows | None:
        """Returns rows from that one on, as many as lie together; None when it is not among these."""
        for first, rows in self._rows:
            if first <= row < first + rows.length:
                return rows.slice(row - first, rows.length)
        return None

    def clear(self) -> None:
        """Lets them go."""
        self.write_off()
        self._rows.clear()

    def write_off(self) -> None:
        """Counts them no more: nobody stores them. Who is reading them reads on."""
        self._in_memory.bytes -= self._bytes
        self._bytes = 0
