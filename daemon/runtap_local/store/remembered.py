"""Lists that were worked out, kept for the next page: a client that reads 200 pages asks the same 200 times.

Each is kept with the revision of its project's runs and counts for nothing under another: what is remembered is what
would be found. Which lists may be kept is not known here: those that tell of runs alone.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from threading import Lock
from typing import Final

from sqlalchemy import Connection

from . import revisions

_MOST_PKS: Final = 4_000_000  # 8 bytes each


class Remembered:
    """Rows of runs by project and question. Any number of threads."""

    def __init__(self, most_pks: int = _MOST_PKS) -> None:
        self._most = most_pks
        self._held = 0
        self._kept: OrderedDict[Hashable, tuple[int, array[int]]] = OrderedDict()
        self._lock = Lock()

    def once(
        self, connection: Connection, project_pk: int, question: Hashable, make: Callable[[], Iterable[int]]
    ) -> Sequence[int]:
        """The answer to a question about a project, worked out where it is not known for this revision."""
        revision, key = revisions.of(connection, project_pk), (project_pk, question)
        with self._lock:
            found = self._kept.get(key)
            if found is not None and found[0] == revision:
                self._kept.move_to_end(key)
                return found[1]
        made = array("q", make())
        with self._lock:
            self._keep(key, revision, made)
        return made

    def _keep(self, key: Hashable, revision: int, made: "array[int]") -> None:
        before = self._kept.pop(key, None)
        if before is not None:
            self._held -= len(before[1])
            if before[0] > revision:  # worked out meanwhile by a request that sees more
                revision, made = before
        self._kept[key] = revision, made
        self._held += len(made)
        # The number of lists is bounded too: empty ones weigh something as well.
        while self._held > self._most or len(self._kept) > 1000:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._held -= len(dropped)
