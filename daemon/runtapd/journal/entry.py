"""One accepted write as a value, and its parts as the texts the journal stores. No I/O, no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum

from runtapd.model import jsontext
from runtapd.model.patch import Conflict, Patch


class WriteState(IntEnum):
    """Where a write stands; the numbers are those of `runtap.v1.WriteState`."""

    ACCEPTED = 1
    SENDING = 2
    APPLIED = 3
    CONFLICT = 4
    FAILED = 5
    NOT_HONOURED = 6
    BLOCKED_AUTH = 7

    @property
    def final(self) -> bool:
        """True when nothing will change any more."""
        return self in _FINAL


_FINAL = frozenset({WriteState.APPLIED, WriteState.CONFLICT, WriteState.FAILED, WriteState.NOT_HONOURED})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWrite:
    """A write that wants to be accepted."""

    account_id: str
    request_id: str
    entity: str
    project: str
    run_id: str
    patch: Patch
    key_source: str = ""
    """Where the account's key comes from, in words; a key that came with a call is gone after a restart."""
    storage_id: str = ""
    """The run meant, where the caller knows it: another run of that name is not touched."""

    @property
    def path(self) -> str:
        """`entity/project/run_id`."""
        return f"{self.entity}/{self.project}/{self.run_id}"

    def body_hash(self) -> str:
        """A digest of what the write changes, to tell a repetition from another request under the same id."""
        body = f"{self.path}\n{self.patch.to_json()}".encode()
        return hashlib.blake2b(body, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A write in the journal."""

    seq: int
    """Order of acceptance, over all accounts."""
    write_id: str
    account_id: str
    request_id: str
    body_hash: str
    entity: str
    project: str
    run_id: str
    storage_id: str
    patch: Patch
    key_source: str
    state: WriteState
    accepted_at: float
    """Unix seconds."""
    settled_at: float | None = None
    attempts: int = 0
    """How often it was sent; above 0 in an open entry, the server may have it already."""
    message: str = ""
    conflicts: tuple[Conflict, ...] = ()
    not_honoured: tuple[Conflict, ...] = ()

    @property
    def path(self) -> str:
        """`entity/project/run_id`."""
        return f"{self.entity}/{self.project}/{self.run_id}"


def conflicts_to_json(conflicts: Iterable[Conflict]) -> str:
    """Conflicts as text for the journal; `conflicts_from_json` reads it back."""
    return jsontext.dumps([asdict(conflict) for conflict in conflicts])


def conflicts_from_json(text: str) -> tuple[Conflict, ...]:
    """Reads what `conflicts_to_json` wrote."""
    return tuple(Conflict(**raw) for raw in jsontext.loads(text))
