"""Who is calling, how much each client has open, and when that is too much.

Owns the ledger of open calls: the interceptors enter and leave it, `services/daemon.py` shows it, `life.py` asks it
whether anybody is there. Lives on the daemon's one loop, so a method is a critical section as long as it does not
await, and none does. Knows nothing of gRPC.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from runtapd.faults import Busy

SEEN_RECENTLY_S = 60.0
RETRY_AFTER_S = 0.5
_CLIENT_NAME_LENGTH = 120


@dataclass(eq=False)
class OpenCall:
    """One call between its arrival and its answer."""

    client: str
    method: str
    streaming: bool
    passive: bool
    """Looks on only: does not count as use of the daemon."""
    task: asyncio.Task[object] | None = None
    cut_off: bool = False
    """Set before `task` is cancelled because the grace of a drain is over."""


@dataclass
class Client:
    """A client as the ledger sees it."""

    name: str
    last_seen: float
    calls: set[OpenCall] = field(default_factory=set)
    calls_total: int = 0
    attachments: int = 0
    description: str = ""
    """What it said of itself when it last attached."""

    @property
    def streams(self) -> int:
        return sum(call.streaming for call in self.calls)


class Ledger:
    """Every call that is open now, by client, and how many there were."""

    def __init__(
        self,
        *,
        max_open_calls_per_client: int,
        max_streams_per_client: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_calls = max_open_calls_per_client
        self._max_streams = max_streams_per_client
        self._clock = clock
        self._clients: dict[str, Client] = {}
        self._next_sweep = clock() + SEEN_RECENTLY_S
        self.calls_total = 0
        self.calls_failed = 0
        self.last_use = clock()
        """When a call that counts as use last began or ended."""

    def enter(self, client: str, method: str, *, streaming: bool, passive: bool = False) -> OpenCall:
        """Records a call that begins, or raises Busy if its client has too much open."""
        self._forget_the_gone()
        entry = self._client(client)
        self._check(entry, streaming=streaming)
        call = OpenCall(entry.name, method, streaming, passive)
        entry.calls.add(call)
        self._touch(call)
        return call

    def leave(self, call: OpenCall, *, failed: bool) -> None:
        """Records that a call ended."""
        entry = self._client(call.client)
        entry.calls.discard(call)
        entry.calls_total += 1
        self.calls_total += 1
        self.calls_failed += failed
        self._touch(call)

    @contextmanager
    def attachment(self, client: str, description: str = "") -> Iterator[None]:
        """Shows the client as attached for as long as the block lasts."""
        entry = self._client(client)
        entry.attachments += 1
        entry.description = description or entry.description
        try:
            yield
        finally:
            entry.attachments -= 1

    def clients(self) -> list[Client]:
        """Those with something open or seen in the last minute, by name."""
        self._forget_the_gone(now=True)
        return sorted(self._clients.values(), key=lambda client: client.name)

    def open_calls(self) -> list[OpenCall]:
        """All calls that are open now."""
        return [call for client in self._clients.values() for call in client.calls]

    def quiet_s(self) -> float:
        """Seconds since a call that counts as use last began or ended."""
        return self._clock() - self.last_use

    def in_use(self) -> bool:
        """True while a call is open that counts as use."""
        return any(not call.passive for client in self._clients.values() for call in client.calls)

    def others_than(self, client: str) -> int:
        """How many calls are open besides the one that asks and its client's own attachments."""
        own = self._client(client).attachments
        return sum(not call.passive for call in self.open_calls()) - own - 1

    def _check(self, entry: Client, *, streaming: bool) -> None:
        if len(entry.calls) >= self._max_calls:
            raise _busy(entry.name, "calls", self._max_calls)
        if streaming and entry.streams >= self._max_streams:
            raise _busy(entry.name, "streams", self._max_streams)

    def _client(self, name: str) -> Client:
        name = name[:_CLIENT_NAME_LENGTH] or "unnamed"
        if name not in self._clients:
            self._clients[name] = Client(name, self._clock())
        return self._clients[name]

    def _touch(self, call: OpenCall) -> None:
        now = self._clock()
        self._clients[call.client].last_seen = now
        if not call.passive:
            self.last_use = now

    def _forget_the_gone(self, *, now: bool = False) -> None:
        clock = self._clock()
        if not now and clock < self._next_sweep:
            return
        self._next_sweep = clock + SEEN_RECENTLY_S
        gone = [
            name
            for name, client in self._clients.items()
            if not client.calls and not client.attachments and clock - client.last_seen > SEEN_RECENTLY_S
        ]
        for name in gone:
            del self._clients[name]


def _busy(client: str, what: str, limit: int) -> Busy:
    return Busy(
        f"client {client!r} has {limit} {what} open, which is the most the daemon allows one client; "
        f"wait for some to end, or close them",
        metadata={"client": client, "limit": str(limit), "kind": what},
        retry_after_s=RETRY_AFTER_S,
    )
