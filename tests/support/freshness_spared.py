"""What the verdicts on freshness do not complain of: known gaps between what is promised and what is done.

Each stands here with what happens and how far it reaches; whoever closes one removes it here, and the stories hold it.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtap_query import Filter
from tests.support.freshness_world import World
from tests.support.remembering_server import FOREVER, Stay, document


def slipped(world: World, matches: Filter, since: float) -> bool:
    """A run may be missing from a list that calls itself complete, or stand at its end whatever the order says.

    Cursors that count runs shift when a run leaves the list while it is read. The one that slips between two pages is
    looked for only when the server's counts show it: not when another came at the same time. One that is found by that
    second look comes last.
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
