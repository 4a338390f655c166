"""The journal of accepted writes: on disk before they are acknowledged, there until they are settled."""

from runtapd.journal.entry import Entry, NewWrite, WriteState
from runtapd.journal.journal import Journal

__all__ = ["Entry", "Journal", "NewWrite", "WriteState"]
