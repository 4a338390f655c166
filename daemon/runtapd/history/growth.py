"""Whether a stored history is still what the server has, and what has to be done about it. Pure.

A server tells of a run how many rows it has, its last step, when it was last heard of, and its state. In the ordinary
course of things rows are only added behind; a run that was rewound, resumed at an earlier step or made again has fewer
rows, an earlier last step, or other rows at its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from runtapd.cache.policy import LIVE_STATES
from runtapd.history.kept import Kept, Mark
from runtapd.history.table import Rows, joined, parsed_cells
from runtapd.model.run import Record

OVERLAP = 16
"""So many of the stored rows are read once more together with what was added behind them."""
LAST_ROWS = 500
"""So many are compared when a run was heard of since, but has no more rows than before."""
SAMPLED_ROWS = 500
BEYOND_ALL_STEPS = 2**53
"""Behind every step, where a server does not say which is the last."""


class Need(Enum):
    """What a stored history needs."""

    NOTHING = "nothing"
    COMPARING = "comparing"
    """As many rows as before; they may be others."""
    MORE = "more"
    """Rows were added, or not all were fetched yet."""
    ALL = "all"
    """Nothing is stored, or not this."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the server says of a run's history."""

    line_count: int | None
    last_step: int | None
    heartbeat_at: str
    state: str

    @staticmethod
    def by(record: Record) -> Told:
        """What a run's record says."""
        return Told(record.history_line_count, record.last_step, record.heartbeat_at or "", record.state)

    @staticmethod
    def when(mark: Mark) -> Told:
        """What it said when that was marked."""
        return Told(mark.line_count, mark.last_step, mark.heartbeat_at, mark.state)

    @property
    def end(self) -> int:
        """The step behind the last one."""
        if self.last_step is not None:
            return self.last_step + 1
        # No history keys, and still rows: older servers and runs just begun. Their steps must be searched for.
        return 0 if self.line_count == 0 else BEYOND_ALL_STEPS

    @property
    def ended(self) -> bool:
        """Whether nothing more is expected."""
        return self.state not in LIVE_STATES

    def mark(self, *, next_step: int, now: float, whole: bool, shortfall: int = 0) -> Mark:
        """What to remember of a history that is stored as told; `whole`: all its rows are."""
        return Mark(
            line_count=self.line_count,
            last_step=self.last_step,
            heartbeat_at=self.heartbeat_at,
            state=self.state,
            next_step=next_step,
            checked_at=now if whole else 0.0,
            settled=whole and self.ended,
            shortfall=shortfall,
        )


def is_whole(kept: Kept) -> bool:
    """Whether all rows were stored once; otherwise fetching them was interrupted."""
    return kept.mark.checked_at > 0


def is_younger(kept: Kept | None, asked_at: float, now: float) -> bool:
    """Whether all of it was right at a later time than that. What was heard then must not undo it: of two answers that
    are under way at once, the older one may be the last to come."""
    return kept is not None and asked_at < kept.mark.checked_at <= now  # or the clock was set back since


def need(kept: Kept | None, told: Told) -> Need:
    """Returns what the stored history needs to be what the server tells of."""
    if kept is None or _is_less(told.last_step, kept.mark.last_step):
        return Need.ALL
    if _is_less(told.line_count, kept.mark.line_count):
        return Need.ALL
    if not is_whole(kept):
        return Need.MORE
    if (told.last_step, told.line_count) != (kept.mark.last_step, kept.mark.line_count):
        return Need.MORE  # neither is less; or the server tells now what it did not tell before
    if told.line_count is None and told.last_step is None and not told.ended:
        return Need.MORE  # such a server does not tell whether there are more
    return Need.NOTHING if told.heartbeat_at == kept.mark.heartbeat_at else Need.COMPARING


def _is_less(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and one < other


def missing_rows(kept: Kept | None, told: Told) -> int | None:
    """About how many rows are still to be fetched; None when nobody knows."""
    if told.line_count is None:
        return None
    return max(0, told.line_count - (kept.rows + kept.mark.shortfall if kept else 0))


def adds_up(kept: Kept, before: Mark | None, told: Told) -> bool:
    """Whether as many rows were added behind as the server counts more than before.

    If not, some were added among those that were stored already. `before` is the mark of a whole history, or None when
    the rest of one was fetched that had been begun earlier.
    """
    if told.line_count is None:
        return True
    known = 0 if before is None or before.line_count is None else before.shortfall
    return kept.rows + known >= told.line_count


def shortfall(kept: Kept, told: Told) -> int:
    """How many rows the server counts besides those that are stored; one that does not count tells of none."""
    return max(0, (told.line_count or 0) - kept.rows)


def same_rows(stored: Rows, fetched: Rows) -> bool:
    """Whether these are the same rows. A logged null and a missing cell count as the same: not every way of reading
    tells them apart."""
    if stored.length != fetched.length:
        return False
    if not stored.length:
        return True
    both = joined([stored, fetched])
    for column in both.columns.values():
        cells = parsed_cells(column) if column.json else column.values.to_pylist()
        if not all(map(_same, cells[: stored.length], cells[stored.length :])):
            return False
    return True


def at_steps_of(sample: Rows, rows: Rows) -> Rows:
    """Returns the rows whose step occurs in the sample."""
    import numpy as np

    return rows.filter(np.isin(rows.steps, sample.steps))


def agree(stored: Rows, sample: Rows) -> bool:
    """Whether each row of a sample is stored as it is there; `stored` are all rows of these steps."""
    return same_rows(_alone(stored, sample), _alone(sample, stored))


def _alone(rows: Rows, others: Rows) -> Rows:
    """The rows that share their step with no other row here or there: of several, nobody knows which is which."""
    import numpy as np

    twice = []
    for steps in (rows.steps, others.steps):
        distinct, counts = np.unique(steps, return_counts=True)
        twice.append(distinct[counts > 1])
    return rows.filter(~np.isin(rows.steps, np.concatenate(twice)))


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or (one != one and other != other)
