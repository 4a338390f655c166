"""What servers can do: learnt once per server, shared by its accounts, and kept in `servers.json` of the state folder.

Owns what is remembered and for how long: the fields that introspection told, the kinds of documents that were refused
with their optional fields, and how much of a query a server took. What follows from it is decided in `graphql.py` and
`pushdown.py`. Nothing here is secret, and nothing is lost with the file: it is learnt anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runtapd.upstream import private_file
from runtapd.upstream.documents import OPTIONAL_FIELDS

FILE_FORMAT = 1
DAY_S = 86_400.0
"""How long refusals are remembered; servers get updated."""
WEEK_S = 7 * DAY_S
"""How long what introspection told is believed."""
MOST_NAMES = 1000
_NAME: Final = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,99}")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Told:
    """The fields of one kind of thing, as introspection told them."""

    names: frozenset[str]
    until: float


@dataclass(slots=True)
class _Server:
    """What is known of one server. Moments are Unix seconds until which something holds."""

    told: dict[str, _Told] = field(default_factory=dict)
    silent_until: float = 0.0
    """It does not answer introspection."""
    refused_until: dict[str, float] = field(default_factory=dict)
    """It refused the optional fields of a kind, or one field by its full name (`Run.parquetHistory`)."""
    trust: int = 0
    trust_until: float = 0.0
    unsorted_until: float = 0.0
    proven: set[str] = field(default_factory=set)
    """The same, of what it has answered in this life of the daemon; not kept."""

    def moments(self) -> Iterator[float]:
        """All of them."""
        yield from (told.until for told in self.told.values())
        yield from self.refused_until.values()
        yield from (self.silent_until, self.trust_until, self.unsorted_until)


class ServerFeatures:
    """Remembers what servers can do, by their address. Lives on the loop; without a folder, only in memory."""

    def __init__(self, state_dir: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._file = state_dir / "servers.json" if state_dir else None
        self._clock = clock
        self._servers: dict[str, _Server] = {}
        self._saving: asyncio.Task[None] | None = None
        self._saved = ""
        self._load()

    # Fields

    def optional(self, server: str, kind: str, *, sure: bool = False) -> tuple[str, ...]:
        """Returns the optional fields to ask this server for; with `sure` only those that it is known to have."""
        known = self._servers.get(server) or _Server()
        if self._holds(known.refused_until.get(kind, 0.0)):
            return ()
        told = known.told.get(kind)
        if told is not None and self._holds(told.until):
            return tuple(name for name in OPTIONAL_FIELDS[kind] if name in told.names)
        return () if sure and kind not in known.proven else OPTIONAL_FIELDS[kind]

    def proven(self, server: str, kind: str) -> bool:
        """True when this server has answered this kind's optional fields, so that a refusal is about something else."""
        return kind in self._of(server).proven

    def took_all(self, server: str, kind: str) -> None:
        """Remembers that a server answered a document with optional fields."""
        self._of(server).proven.add(kind)

    def took_base_only(self, server: str, kind: str) -> None:
        """Remembers that a server refused a document with optional fields and answered it without them."""
        known = self._of(server)
        known.refused_until[kind] = self._clock() + DAY_S
        known.proven.discard(kind)
        if kind in known.told:
            known.told[kind].until = 0.0  # it told of fields it does not give
        self._changed()

    # Fields that a document of their own asks for

    def may_have(self, server: str, kind: str, name: str) -> bool:
        """Whether this server may have a field, so that it is worth a request."""
        known = self._servers.get(server) or _Server()
        if self._holds(known.refused_until.get(f"{kind}.{name}", 0.0)):
            return False
        told = known.told.get(kind)
        return told is None or not self._holds(told.until) or name in told.names

    def gave(self, server: str, kind: str, name: str) -> None:
        """Remembers that a server answered a document with this field."""
        self._of(server).proven.add(f"{kind}.{name}")

    def refused(self, server: str, kind: str, name: str) -> None:
        """Remembers that a server refused a document with this field; not when it has answered one before, since then
        the refusal is about something else."""
        known = self._of(server)
        if f"{kind}.{name}" not in known.proven:
            known.refused_until[f"{kind}.{name}"] = self._clock() + DAY_S
            self._changed()

    # Introspection

    def wants_introspection(self, server: str) -> bool:
        """True while this server's fields are not known, and it has not refused to tell them."""
        known = self._of(server)
        if self._holds(known.silent_until):
            return False
        return not all(kind in known.told and self._holds(known.told[kind].until) for kind in OPTIONAL_FIELDS)

    def told(self, server: str, kinds: Mapping[str, Collection[str]]) -> None:
        """Takes in what introspection told of each kind; of none when it was refused."""
        known = self._of(server)
        if not kinds:
            known.silent_until = self._clock() + DAY_S
        for kind, all_names in kinds.items():
            names = frozenset(name for name in sorted(all_names)[:MOST_NAMES] if _NAME.fullmatch(name))
            former = known.told.get(kind)
            if former is None or former.names != names:  # what was refused may not be asked for any more
                for refused in [each for each in known.refused_until if each.partition(".")[0] == kind]:
                    del known.refused_until[refused]
                known.proven.discard(kind)
            known.told[kind] = _Told(names, self._clock() + WEEK_S)
        self._changed()

    # Queries

    def trust(self, server: str) -> int | None:
        """How much of a query this server took after it had refused more; None when it has not."""
        known = self._servers.get(server) or _Server()
        return known.trust if self._holds(known.trust_until) else None

    def took_only(self, server: str, trust: int) -> None:
        """Remembers for a day how much of a query a server took."""
        known = self._of(server)
        known.trust, known.trust_until = trust, self._clock() + DAY_S
        self._changed()

    def sorts(self, server: str) -> bool:
        """False for a day after a server gave runs in another order than it was asked for."""
        known = self._servers.get(server)
        return known is None or not self._holds(known.unsorted_until)

    def does_not_sort(self, server: str) -> None:
        """Remembers that a server ignored the order."""
        self._of(server).unsorted_until = self._clock() + DAY_S
        self._changed()

    # On disk

    async def close(self) -> None:
        """Waits until what was learnt is on disk."""
        if self._saving is not None:
            await self._saving

    def _of(self, server: str) -> _Server:
        return self._servers.setdefault(server, _Server())

    def _holds(self, until: float) -> bool:
        now = self._clock()
        # Nothing is remembered for longer: a moment further off was set by a clock that was wrong.
        return now < until <= now + WEEK_S

    def _changed(self) -> None:
        if self._file is not None and (self._saving is None or self._saving.done()):
            self._saving = asyncio.get_running_loop().create_task(self._save(self._file))

    async def _save(self, file: Path) -> None:
        while (text := self._as_text()) != self._saved:
            try:
                await asyncio.to_thread(private_file.write, file, text)
            except OSError as error:
                log.warning("servers.json cannot be written", extra={"error": error.strerror})
                return
            self._saved = text

    def _as_text(self) -> str:
        servers = {
            address: {
                "told": {k: {"names": sorted(t.names), "until": t.until} for k, t in known.told.items()},
                "silent_until": known.silent_until,
                "refused_until": known.refused_until,
                "trust": known.trust,
                "trust_until": known.trust_until,
                "unsorted_until": known.unsorted_until,
            }
            for address, known in sorted(self._servers.items())
            if any(self._holds(moment) for moment in known.moments())
        }
        return json.dumps({"format": FILE_FORMAT, "servers": servers}, indent=1)

    def _load(self) -> None:
        if self._file is None:
            return
        try:
            raw = json.loads(private_file.read(self._file))
            if raw["format"] == FILE_FORMAT:
                self._servers = {str(name): _read(entry) for name, entry in raw["servers"].items()}
        except FileNotFoundError:
            return
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            log.warning("servers.json cannot be read", extra={"error": type(error).__name__})


def _read(entry: dict[str, Any]) -> _Server:
    return _Server(
        told={
            str(kind): _Told(frozenset(map(str, told["names"])), float(told["until"]))
            for kind, told in entry["told"].items()
        },
        silent_until=float(entry["silent_until"]),
        refused_until={str(kind): float(until) for kind, until in entry["refused_until"].items()},
        trust=int(entry["trust"]),
        trust_until=float(entry["trust_until"]),
        unsorted_until=float(entry["unsorted_until"]),
    )
