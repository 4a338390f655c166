"""What the verdicts on freshness do not complain of: known gaps between what is promised and what is done.

Each stands here with what happens and how far it reaches; whoever closes one removes it here, and the stories hold it.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtap_query import Filter
from tests.support.freshness_world import Answer, Asked, World
from tests.support.remembering_server import FOREVER, Stay, document


def slipped(world: World, matches: Filter, since: float) -> bool:
    """A run may be missing from a list that calls itself complete, or stand at its end whatever the order says.

    Cursors that count runs shift when a run leaves the list while it is read. The one that slips between two pages is
    looked for only when the server's counts show it: not when the run that left had been listed, nor when another came.
    One that is found by that second look comes last.
    """
    if world.kind.cursors != "offset" or world.kind.page_cap >= len(world.server.stays):
        return False

    def left(stays: Sequence[Stay], stay: Stay, behind: int) -> bool:
        if not since <= stay.until < FOREVER:
            return False
        return behind == len(stays) or (
            matches(document(stay.run)) and not matches(document(stays[behind].run))
        )

    return any(
        left(stays, stay, i + 1) for stays in world.server.stays.values() for i, stay in enumerate(stays)
    )


def held_for_a_write(world: World, asked: Asked, path: str) -> bool:
    """A run may be shown older than allowed, and says so.

    While an own write of it is sent, what a page brings of the run is not taken, however old what is held is.
    """
    return any(asked.begun <= moment <= asked.ended and at == path for moment, at in world.sent_writes)


def listed_unread(answer: Answer, path: str) -> bool:
    """A run that could not be read is told as an error, and an older version that is held is listed all the same, in
    lists that are judged here even twice."""
    return path in answer.unread


def answered_late(world: World, path: str, ended: float) -> float:
    """What came with the answer to an own write counts from when it was taken in, not from when the write was sent.

    Returns the true time since which that may have been at the server.
    """
    made = [
        write.applied_at
        for write in world.writes_made.values()
        if write.path == path and write.applied_at is not None and write.applied_at <= ended
    ]
    return max(made, default=FOREVER)
