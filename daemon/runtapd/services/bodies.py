"""Runs as bytes that go out: masked where a caller wants less, and cut into what fits a message."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from runtapd.cache.policy import Wishes
from runtapd.model.run import DocumentKind
from runtapd.reads.answers import Answer
from runtapd.reads.documents import open_document
from runtapd.reads.overlay import ShownRun
from runtapd.reads.partitions import Partition
from runtapd.services import masks
from runtapd.upstream.api import Wait

_SAMPLES = 16
_AT_ONCE = 50
"""Runs masked in one go, in a thread: some need a millisecond each."""


async def of(
    part: Partition,
    runs: Sequence[ShownRun],
    mask: masks.Mask | None,
    wishes: Wishes,
    wait: Wait,
    *,
    enough: int | None = None,
) -> list[bytes]:
    """Returns the runs as they go out, in order; stops early once there are more than `enough` bytes."""
    if mask is None:
        return [shown.record.body for shown in runs]
    done: list[bytes] = []
    for start in range(0, len(runs), _AT_ONCE):
        piece = runs[start : start + _AT_ONCE]
        large = [await _large_documents(part, shown, mask, wishes, wait) for shown in piece]
        done += await asyncio.to_thread(_masked, mask, piece, large)
        if enough is not None and sum(map(len, done)) > enough:
            break
    return done


def likely(part: Partition, answer: Answer, offset: int, size: int, limit: int) -> int:
    """Returns about how many runs of a list fit one message, rather too many; more would be looked up for nothing."""
    start = offset - answer.first
    sizes = part.cache.sizes(answer.ids[start : start + size : max(1, size // _SAMPLES)])
    return min(size, 1 + limit * 11 // 10 * len(sizes) // sum(sizes)) if sizes else size


def fitting(runs: Sequence[bytes], limit: int) -> int:
    """Returns how many of these runs fit one message; at least one, if there is any."""
    size = 0
    for i, run in enumerate(runs):
        size += len(run) + 8
        if i and size > limit:
            return i
    return len(runs)


def cut(runs: Sequence[bytes], limit: int) -> list[Sequence[bytes]]:
    """Returns the runs in portions that fit a message each; one portion, empty, of no runs."""
    portions: list[Sequence[bytes]] = []
    while runs or not portions:
        count = fitting(runs, limit)
        portions.append(runs[:count])
        runs = runs[count:]
    return portions


def _masked(
    mask: masks.Mask, runs: Sequence[ShownRun], large: Sequence[dict[DocumentKind, bytes]]
) -> list[bytes]:
    return [
        masks.apply(mask, shown.record.body, documents) for shown, documents in zip(runs, large, strict=True)
    ]


async def _large_documents(
    part: Partition, shown: ShownRun, mask: masks.Mask, wishes: Wishes, wait: Wait
) -> dict[DocumentKind, bytes]:
    """Returns the documents outside the message of which the mask wants keys."""
    found = {}
    for kind in masks.wanted_oversize(mask, shown.record.oversize):
        if text := await open_document(part, shown, kind, wishes, wait):
            found[kind] = await text.piece(0, text.size)
    return found
