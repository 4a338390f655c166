"""What a run's record says of its history, and whether that is young enough to read the history by. Pure.

Small on purpose: whoever reads many histories keeps these and not the records, which may take megabytes each.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtapd.history.growth import Told
from runtapd.model.freshness import Freshness, Source
from runtapd.model.paths import RunPath
from runtapd.reads.overlay import ShownRun

TRUSTED_S = 10.0
"""How long it is believed that a run that has ended has logged nothing more."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the history of a run stands at its server."""

    path: RunPath
    storage_id: str
    told: Told
    current_at: float
    """Unix seconds: when the server was asked."""
    freshness: Freshness

    @staticmethod
    def of(shown: ShownRun) -> Standing:
        """What the record says."""
        record = shown.record
        path = RunPath(record.entity, record.project, record.run_id)
        return Standing(path, record.storage_id, Told.by(record), record.current_at, shown.freshness)

    def is_current(self, now: float) -> bool:
        """Whether a history may be read by it.

        Of a run that logs the server must have been asked for this very reader, however fresh the record is otherwise:
        rows must not be missing without a word. One that has ended is trusted for a moment, since it may have been
        resumed.
        """
        asked = self.freshness.source is Source.UPSTREAM
        return (asked or self.told.ended) and 0 <= now - self.current_at < TRUSTED_S
