"""What to do with a write, given the run as the server holds it. Pure.

The order of the questions matters:
1. Sent before, and the run holds all of it: it arrived. Asked first, because the write itself breaks its own etag.
2. A precondition does not hold: a conflict, nothing is sent.
3. The patch changes nothing: applied, nothing is sent.
4. Otherwise the merged run is sent, only the parts that differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from runtapd.faults import InvalidAnswer
from runtapd.journal import Entry, WriteState
from runtapd.model import patch as patches
from runtapd.model.patch import FIELDS, Conflict
from runtapd.model.run import RunData
from runtapd.upstream.api import RunChange


@dataclass(frozen=True, slots=True)
class Settle:
    """The write is over; nothing more is sent."""

    state: WriteState
    message: str = ""
    conflicts: tuple[Conflict, ...] = ()
    not_honoured: tuple[Conflict, ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """The change is to be sent; the conflicts are what it overwrites."""

    change: RunChange
    conflicts: tuple[Conflict, ...]


def plan(entry: Entry, run: RunData) -> Settle | Send:
    """Says what to do with an open write. Raises InvalidAnswer when the run's documents cannot be read."""
    if entry.storage_id and entry.storage_id != run.storage_id:
        return Settle(
            WriteState.FAILED,
            f"{entry.path} is another run now: the one this write was for was deleted, and its name used again",
        )
    with _readable(run):
        return _plan(entry, run)


def outcome(entry: Entry, answer: RunData) -> Settle:
    """Says how a write ended, given the run as the server holds it after the mutation. Raises as `plan` does."""
    with _readable(answer):
        kept_otherwise = tuple(patches.not_honoured(entry.patch, answer))
    if not kept_otherwise:
        return Settle(WriteState.APPLIED, conflicts=entry.conflicts)
    return Settle(
        WriteState.NOT_HONOURED,
        "the server took the write but keeps other values: "
        + "; ".join(
            f"{item.field} is {_shown(item.theirs_json)} instead of {_shown(item.mine_json)}"
            for item in kept_otherwise
        ),
        conflicts=entry.conflicts,
        not_honoured=kept_otherwise,
    )


@contextmanager
def _readable(run: RunData) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise InvalidAnswer(
            f"config or summary of {run.path}, as the server sent them, are not JSON: {error}"
        ) from error


def _plan(entry: Entry, run: RunData) -> Settle | Send:
    change = _difference(run, patches.apply(entry.patch, run))
    if entry.attempts and _arrived(change, run):
        return Settle(WriteState.APPLIED, conflicts=entry.conflicts)
    if broken := tuple(patches.broken_expectations(entry.patch, run)):
        return Settle(WriteState.CONFLICT, _conflict_message(broken), conflicts=broken)
    # What an earlier try found stays: its reader must hear of it even if a later look finds the write's own value.
    found = {
        conflict.field: conflict for conflict in (*entry.conflicts, *patches.conflicts(entry.patch, run))
    }
    conflicts = tuple(found.values())
    if change == RunChange():
        return Settle(WriteState.APPLIED, conflicts=conflicts)
    return Send(change, conflicts)


def _difference(before: RunData, after: RunData) -> RunChange:
    """Returns only what differs; a text that is empty and one that was never set are the same to servers."""
    texts = {
        name: getattr(after, name) or ""
        for name in FIELDS
        if (getattr(before, name) or "") != (getattr(after, name) or "")
    }
    return RunChange(
        **texts,
        tags=None if after.tags == before.tags else after.tags,
        config=None if after.config == before.config else after.config,
        summary=None if after.summary == before.summary else after.summary,
    )


def _arrived(change: RunChange, run: RunData) -> bool:
    """True when nothing is left to send. Servers keep tags in an order of their own."""
    same_tags = change.tags is None or set(change.tags) == set(run.tags)
    return same_tags and replace(change, tags=None) == RunChange()


def _conflict_message(broken: tuple[Conflict, ...]) -> str:
    if any(item.field == "etag" for item in broken):
        return "nothing was sent: the run has changed since its etag was read; read it again and decide anew"
    return "nothing was sent: " + "; ".join(
        f"{item.field} is {_shown(item.theirs_json)}, expected was {_shown(item.base_json)}"
        for item in broken
    )


def _shown(text: str | None) -> str:
    if text is None:
        return "absent"
    return text if len(text) <= 80 else text[:79] + "…"
