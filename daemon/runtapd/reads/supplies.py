"""What a source of a history's rows is: what is asked of it, what it gives and what it tells of itself.

Rows come straight from the server (`from_server.py`) or from the store (`from_store.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from runtapd.history.choose import Choice, Picked
from runtapd.history.growth import Told
from runtapd.history.table import Rows, joined
from runtapd.model.freshness import Freshness

if TYPE_CHECKING:
    from runtapd.history.table import Numbers

Resumed = tuple[str, int, int]
"""The generation of a stored history (empty: none), the place to go on at, and how many rows were seen before."""


@dataclass(frozen=True, slots=True)
class Range:
    """Which part of a history is wanted."""

    min_step: int | None = None
    max_step: int | None = None
    last_rows: int = 0

    @property
    def whole(self) -> bool:
        """Whether all rows are wanted."""
        return not (self.min_step or self.max_step is not None or self.last_rows)

    def rows_of(self, told: Told) -> int:
        """Returns about how many rows it has, were they evenly spread."""
        lines, end = told.line_count or 0, told.end
        begin = max(0, self.min_step or 0)
        stop = end if self.max_step is None else max(begin, min(end, self.max_step))
        share = lines * (stop - begin) // max(1, end)
        return min(share, self.last_rows) if self.last_rows else share


@dataclass(frozen=True, slots=True)
class Stretch:
    """Chosen rows that lie together, maybe none, and where a stream goes on behind each of them."""

    rows: Rows
    behind: int | None
    """Where it goes on behind all of them; None: nowhere."""
    first: int | None = None
    """The place of the first row looked at, where each row has one; None where only the end of all has."""
    places: Numbers | None = None
    """How far behind `first` each chosen row lies; None: all rows were chosen."""
    had: frozenset[str] = frozenset()
    """The keys asked for that the rows looked at have, even where none of them was chosen."""

    def place_behind(self, sent: int) -> int | None:
        """Returns where to go on when so many rows have been sent."""
        if sent == self.rows.length:
            return self.behind
        if self.first is None or not sent:
            return None
        return self.first + (sent if self.places is None else int(self.places[sent - 1]) + 1)


class Supply(Protocol):
    """A source of rows. What it tells of itself is right once its stretches have been gone through."""

    @property
    def storage_id(self) -> str:
        """The run's."""

    @property
    def generation(self) -> str:
        """Of the stored history; empty where rows come straight from the server."""

    @property
    def exact(self) -> bool:
        """Whether all rows were given."""

    @property
    def freshness(self) -> Freshness:
        """How fresh they are."""

    @property
    def seen(self) -> int:
        """Rows looked at so far."""

    async def prepare(self) -> None:
        """Returns once all rows are stored, or next in line for it, where that is done at all; raises what went wrong.
        The store works in order: who asks it then finds them.
        """

    def stretches(self, choice: Choice, resumed: Resumed | None) -> AsyncGenerator[Stretch, None]:
        """Yields the chosen rows in order."""


def last(picked: Sequence[Picked], count: int) -> Stretch:
    """The last so many of the chosen rows, with nothing behind them; 0: all."""
    rows = joined([part.rows for part in picked])
    if not rows.length or not count:
        return Stretch(rows, None, had=frozenset().union(*(part.had for part in picked)))
    rows = rows.slice(rows.length - count, rows.length).without_empty()
    return Stretch(rows, None, had=frozenset(rows.columns))
