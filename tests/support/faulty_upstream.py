"""The scripted upstream whose faults belong to one project, so that many readers can meet them at once.

Owns what goes wrong where; what a fault does on the wire is `upstream_faults`' and `upstream_http`'s.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.upstream import Request
from tests.support.upstream_faults import UpstreamFailure
from tests.support.upstream_sweeps import SweepingUpstream


@dataclass
class FaultyUpstream(SweepingUpstream):
    """A server where each operation in a troubled project (or entity, where it names none) goes wrong at first."""

    _planned: dict[str, Sequence[UpstreamFailure]] = field(default_factory=dict)
    _left: dict[tuple[str, str], deque[UpstreamFailure]] = field(default_factory=dict)
    _forever: dict[str, UpstreamFailure] = field(default_factory=dict)

    def trouble(self, place: str, failures: Sequence[UpstreamFailure]) -> None:
        """The next requests of each operation there go wrong so, one after the other."""
        with self._lock:
            self._planned[place] = failures

    def hopeless(self, place: str, failure: UpstreamFailure) -> None:
        """All requests there go wrong so."""
        with self._lock:
            self._forever[place] = failure

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        super().heal()
        with self._lock:
            self._planned.clear()
            self._left.clear()
            self._forever.clear()

    def take(self, request: Request) -> UpstreamFailure | None:
        """Notes a request and returns what shall go wrong with it."""
        found = super().take(request)
        place = place_of(request)
        with self._lock:
            if found is not None or place in self._forever:
                return found or self._forever[place]
            planned = self._planned.get(place, ())
            left = self._left.setdefault((place, request.operation), deque(planned))
            return left.popleft() if left else None

    def asked(self, place: str) -> Counter[str]:
        """How many requests there were of each operation in a project or entity."""
        with self._lock:
            return Counter(request.operation for request in self.requests if place_of(request) == place)


def place_of(request: Request) -> str:
    """The project that a request is about, or its entity."""
    return str(request.variables.get("project") or request.variables.get("entity") or "")
