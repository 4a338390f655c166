"""A run as a server tells it, and a run as the cache keeps it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum


class DocumentKind(IntEnum):
    """The large parts of a run; the numbers are those of `runtap.v1.Document`."""

    CONFIG = 1
    SUMMARY = 2
    SYSTEM_METRICS = 3
    HISTORY_KEYS = 4
    NOTES = 5


@dataclass(frozen=True, slots=True)
class RunData:
    """One run as the server tells it. Documents are the server's own JSON texts, bare NaN tokens included."""

    storage_id: str
    entity: str
    project: str
    run_id: str
    display_name: str
    state: str
    created_at: str
    tags: tuple[str, ...] = ()
    notes: str | None = None
    description: str | None = None
    group: str | None = None
    job_type: str | None = None
    sweep_name: str | None = None
    commit: str | None = None
    username: str = ""
    user_name: str = ""
    heartbeat_at: str | None = None
    updated_at: str | None = None
    read_only: bool = False
    history_line_count: int | None = None
    config: str = "{}"
    summary: str = "{}"
    system_metrics: str | None = None
    history_keys: str | None = None
    project_id: str = ""

    @property
    def path(self) -> str:
        """`entity/project/run_id`."""
        return f"{self.entity}/{self.project}/{self.run_id}"

    def sign(self) -> str:
        """A digest of all but the documents: what a light page tells of a run, to notice that it has changed."""
        parts = (
            *(self.run_id, self.display_name, self.state, self.created_at, self.notes, self.description),
            *(self.group, self.job_type, self.sweep_name, self.commit, self.username, self.user_name),
            *(self.heartbeat_at, self.updated_at, self.read_only, self.history_line_count, self.tags),
        )
        return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()

    def etag(self) -> str:
        """A digest of everything a client can set, quoted as AIP-154 asks."""
        digest = hashlib.blake2b(digest_size=12)
        parts = (self.display_name, self.notes, self.description, self.group, self.job_type)
        for part in (*parts, *self.tags, None, self.config, self.summary):
            # A prefix keeps "absent" and "empty" apart, a length keeps neighbours apart.
            encoded = b"-" if part is None else b"+%d:" % len(part) + part.encode("utf-8", "surrogatepass")
            digest.update(encoded)
        return f'"{digest.hexdigest()}"'


@dataclass(frozen=True, slots=True)
class Record:
    """One run as the cache keeps it: the message that goes out, serialised, and what tells whether it is current."""

    storage_id: str
    entity: str
    project: str
    run_id: str
    state: str
    etag: str
    revision: int
    fetched_at: float
    """Unix seconds at which the request that brought it was sent; the run is no older than this."""
    body: bytes
    """A serialised `runtap.v1.Run`, without the documents in `oversize`."""
    sign: str = ""
    """See RunData.sign."""
    checked_at: float = 0.0
    """Unix seconds at which a page was asked for that told that `sign` is still right; 0 when never."""
    lacks_write: bool = False
    """True when an own write was under way as this was asked for, so that it may lack it: not used unasked."""
    updated_at: str | None = None
    heartbeat_at: str | None = None
    history_line_count: int | None = None
    last_step: int | None = None
    oversize: tuple[tuple[DocumentKind, int], ...] = ()
    """Documents left out of `body` because of their size, with their sizes in bytes."""
    documents: dict[DocumentKind, str] = field(default_factory=dict, compare=False, repr=False)
    """The texts of `oversize`, only on the way from the server to the store."""

    @property
    def path(self) -> str:
        """`entity/project/run_id`."""
        return f"{self.entity}/{self.project}/{self.run_id}"

    @property
    def current_at(self) -> float:
        """Unix seconds: the run was at the server, whole, as it is here, no earlier than that.

        Where a server tells when a run was last changed, having looked at that is as good as having read the run.
        """
        return self.fetched_at if self.updated_at is None else max(self.fetched_at, self.checked_at)
